//! The records of `wallet-tasks` and `fisc-tasks`: calls for a worker to make, the claims, releases
//! and intents by which workers agree on the holders of the partitions; and the metadata that a
//! worker commits with its position.

mod calls;

use bytes::Bytes;
use prost::Message;
use twqr_order::{EffectId, HoldRecord, Limits, Process, Subject, Task, TaskKind};
use twqr_types::{MerchantTradeNo, UnixMs};

use super::{
    alive::{alive_from, alive_out, process_from, process_out},
    fault::{RecordFault, check_version, need},
    hop_times::HopTimes,
    ids::{effect_id_from, effect_id_out, issuer_from, key_from, key_out, merchant_trade_no_from, trade_no_from},
    policy::{limits_from, limits_out},
    witness::{LogWitness, witness_from, witness_out},
};
use crate::{
    RECORD_VERSION,
    bus::{self, task::Kind, tasks_record::Body},
};

use calls::{charge_from, charge_out, refund_from, refund_out, reversal_from, reversal_out};

/// A record of a task partition.
#[derive(Clone, Debug)]
pub enum TaskRecord {
    /// A worker takes the partition, gives it back, or shows that it works.
    Hold(HoldRecord),
    /// A call for the holder to make.
    Task(Box<Task>),
}

/// The metadata that a worker commits with its position on a task partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPosition {
    /// For each shard, the highest identity of a task that was read.
    pub highest: Vec<EffectId>,
    /// The offset of the claim that held the partition at the position, if one did.
    pub holder: Option<u64>,
    /// The offset of the newest claim before the position that counts, released or not; `None` if
    /// it is unknown.
    pub newest: Option<u64>,
    /// A record that was read, by which the log is recognised.
    pub witness: Option<LogWitness>,
}

/// Writes a record of a task partition.
pub fn encode_task_record(record: &TaskRecord) -> Bytes {
    match record {
        TaskRecord::Hold(hold) => encode(hold_out(hold)),
        TaskRecord::Task(task) => encode_task(task),
    }
}

fn hold_out(hold: &HoldRecord) -> Body {
    match hold {
        HoldRecord::Claim { owner, nonce, replaces } => {
            Body::Claim(bus::WorkerClaim { owner: owner.to_string(), nonce: *nonce, replaces: *replaces })
        }
        HoldRecord::Release { claim } => Body::Release(bus::WorkerRelease { claim: *claim }),
        HoldRecord::Intent(by) => Body::Intent(bus::WorkerIntent { owner: by.name.to_string(), process: by.nonce }),
        HoldRecord::Alive(alive) => Body::Alive(alive_out(alive)),
        HoldRecord::Doubt(by) => Body::Doubt(bus::Doubt { by: Some(process_out(by)) }),
    }
}

fn encode(body: Body) -> Bytes {
    bus::TasksRecord { version: RECORD_VERSION, body: Some(body), hops: None }.encode_to_vec().into()
}

/// Reads a record of a task partition.
pub fn decode_task_record(bytes: Bytes) -> Result<TaskRecord, RecordFault> {
    decode_task_record_with_hops(bytes).map(|(record, _)| record)
}

/// Reads a record of a task partition, and the hops of its call if that asked for them.
pub fn decode_task_record_with_hops(bytes: Bytes) -> Result<(TaskRecord, Option<HopTimes>), RecordFault> {
    let record = bus::TasksRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let body = match need(record.body, "body")? {
        Body::Claim(bus::WorkerClaim { owner, nonce, replaces }) => {
            TaskRecord::Hold(HoldRecord::Claim { owner: owner.into(), nonce, replaces })
        }
        Body::Release(release) => TaskRecord::Hold(HoldRecord::Release { claim: release.claim }),
        Body::Intent(bus::WorkerIntent { owner, process }) => {
            TaskRecord::Hold(HoldRecord::Intent(Process { name: owner.into(), nonce: process }))
        }
        Body::Alive(alive) => TaskRecord::Hold(HoldRecord::Alive(alive_from(alive)?)),
        Body::Doubt(doubt) => TaskRecord::Hold(HoldRecord::Doubt(process_from(doubt.by)?)),
        Body::Task(task) => TaskRecord::Task(Box::new(task_from(task)?)),
    };
    Ok((body, record.hops.map(HopTimes::from)))
}

/// Writes what is committed with a position on a task partition.
pub fn encode_worker_position(position: &WorkerPosition) -> Bytes {
    let highest = position.highest.iter().map(|id| effect_id_out(*id)).collect();
    let (holder, newest, witness) = (position.holder, position.newest, position.witness.map(witness_out));
    bus::WorkerPosition { highest, holder, newest, witness }.encode_to_vec().into()
}

/// Reads what was committed with a position on a task partition.
pub fn decode_worker_position(bytes: Bytes) -> Result<WorkerPosition, RecordFault> {
    let position = bus::WorkerPosition::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    let highest = position.highest.into_iter().map(|id| effect_id_from(Some(id))).collect::<Result<_, _>>()?;
    let (holder, newest, witness) = (position.holder, position.newest, position.witness.map(witness_from));
    Ok(WorkerPosition { highest, holder, newest, witness })
}

fn task_from(task: bus::Task) -> Result<Task, RecordFault> {
    let kind = match need(task.kind, "kind of the task")? {
        Kind::Charge(charge) => TaskKind::Charge(Box::new(charge_from(charge)?)),
        Kind::Refund(refund) => TaskKind::Refund(Box::new(refund_from(refund)?)),
        Kind::Reversal(reversal) => TaskKind::Reverse(Box::new(reversal_from(reversal)?)),
        Kind::Inquire(inquire) => TaskKind::Inquire(subject_from(inquire.subject)?),
    };
    Ok(Task {
        id: effect_id_from(task.id)?,
        key: key_from(task.key)?,
        trade_no: trade_no_from(&task.trade_no)?,
        issuer: issuer_from(&task.institution)?,
        send_by: UnixMs(task.send_by_ms),
        absent_after: UnixMs(task.absent_after_ms),
        limits: task.limits.map_or_else(Limits::default, limits_from),
        is_idempotent: task.idempotent,
        protocol_version: task.protocol_version,
        kind,
    })
}

/// Writes a task.
pub fn encode_task(task: &Task) -> Bytes {
    let kind = match &task.kind {
        TaskKind::Charge(charge) => Kind::Charge(charge_out(charge)),
        TaskKind::Refund(refund) => Kind::Refund(refund_out(refund)),
        TaskKind::Reverse(reversal) => Kind::Reversal(reversal_out(reversal)),
        TaskKind::Inquire(subject) => Kind::Inquire(bus::InquireTask { subject: subject_out(subject) }),
    };
    let task = bus::Task {
        id: Some(effect_id_out(task.id)),
        key: Some(key_out(&task.key)),
        trade_no: task.trade_no.as_str().to_owned(),
        institution: task.issuer.as_wire().to_owned(),
        send_by_ms: task.send_by.0,
        absent_after_ms: task.absent_after.0,
        limits: Some(limits_out(task.limits)),
        idempotent: task.is_idempotent,
        protocol_version: task.protocol_version,
        kind: Some(kind),
    };
    encode(Body::Task(task))
}

/// Encodes which movement of a payment is meant; the charge is encoded as an absent subject.
pub(crate) fn subject_out(subject: &Subject) -> Option<bus::Subject> {
    let subject = match subject {
        Subject::Charge => return None,
        Subject::Refund { number, trade_no } => bus::subject::Subject::Refund(bus::RefundNumber {
            merchant_trade_no: number.as_str().to_owned(),
            trade_no: trade_no.as_str().to_owned(),
        }),
        Subject::Reversal => bus::subject::Subject::Reversal(bus::ReversalSubject {}),
    };
    Some(bus::Subject { subject: Some(subject) })
}

/// Decodes which movement of a payment is meant; an absent subject is the charge.
fn subject_from(subject: Option<bus::Subject>) -> Result<Subject, RecordFault> {
    Ok(match subject.and_then(|subject| subject.subject) {
        None => Subject::Charge,
        Some(bus::subject::Subject::Refund(refund)) => Subject::Refund {
            number: merchant_trade_no_from(refund.merchant_trade_no)?,
            trade_no: trade_no_from(&refund.trade_no)?,
        },
        Some(bus::subject::Subject::Reversal(_)) => Subject::Reversal,
    })
}

/// Encodes the refund with this number in an outcome, where its TradeNo is left empty: the router
/// finds the refund by its number alone.
pub(crate) fn refund_subject(number: &MerchantTradeNo) -> bus::Subject {
    let refund = bus::RefundNumber { merchant_trade_no: number.as_str().to_owned(), trade_no: String::new() };
    bus::Subject { subject: Some(bus::subject::Subject::Refund(refund)) }
}

#[cfg(test)]
mod tests {
    use twqr_order::{ChargeCall, RefundCall, ReversalCall};
    use twqr_types::{Issuer, OrderKey, PayForm, RawPay, ShardId, TradeNo};

    use super::*;

    fn form() -> PayForm {
        let raw = RawPay {
            merchant_id: "M1".into(),
            merchant_trade_no: "T1".into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 100,
            ..RawPay::default()
        };
        PayForm::parse(raw).unwrap()
    }

    fn task(issuer: &str, kind: TaskKind) -> Task {
        let id = EffectId { shard: ShardId(3), offset: 7, n: 1 };
        let key: OrderKey = form().key;
        let trade_no = TradeNo::new(ShardId(3), 7, UnixMs(1_790_000_000_000));
        let (send_by, absent_after) = (UnixMs(1_790_000_001_000), UnixMs(1_790_000_009_000));
        let issuer = Issuer::from_wire(issuer).unwrap();
        let limits = Limits::default();
        let (is_idempotent, protocol_version) = (false, 1);
        Task { id, key, trade_no, issuer, send_by, absent_after, limits, is_idempotent, protocol_version, kind }
    }

    fn kinds() -> Vec<TaskKind> {
        let form = form();
        let charge = ChargeCall {
            card_token: form.card_token.spendable(),
            store_id: form.store_id.clone(),
            store_name: form.store_name.clone(),
            pos_id: form.pos_id.clone(),
            trade_amount: form.trade_amount,
            un_redeem: form.un_redeem,
            remark: form.remark.clone(),
        };
        let refund = RefundCall {
            number: MerchantTradeNo::parse("R1".into()).unwrap(),
            trade_no: TradeNo::new(ShardId(1), 9, UnixMs(1_790_000_002_000)),
            store_id: form.store_id.clone(),
            store_name: form.store_name,
            pos_id: form.pos_id,
            trade_amount: form.trade_amount,
            remark: form.remark.clone(),
        };
        let subject = Subject::Refund { number: refund.number.clone(), trade_no: refund.trade_no };
        let reversal = ReversalCall { store_id: form.store_id, amount: 40, remark: form.remark };
        vec![
            TaskKind::Charge(Box::new(charge)),
            TaskKind::Refund(Box::new(refund)),
            TaskKind::Reverse(Box::new(reversal)),
            TaskKind::Inquire(Subject::Charge),
            TaskKind::Inquire(subject),
            TaskKind::Inquire(Subject::Reversal),
        ]
    }

    #[test]
    fn a_task_that_is_read_and_written_again_has_the_same_bytes() {
        for kind in kinds() {
            for (issuer, is_idempotent) in [("", true), ("397", false)] {
                let bytes = encode_task(&Task { is_idempotent, ..task(issuer, kind.clone()) });
                let record = decode_task_record(bytes.clone()).unwrap();
                assert_eq!(encode_task_record(&record), bytes, "{record:?}");
            }
        }
    }

    #[test]
    fn a_task_without_the_field_is_not_idempotent() {
        let with_field = encode_task(&Task { is_idempotent: true, ..task("", kinds().remove(0)) });
        let mut record = bus::TasksRecord::decode(with_field).unwrap();
        let Some(Body::Task(written)) = &mut record.body else { unreachable!() };
        assert!(std::mem::take(&mut written.idempotent));
        let TaskRecord::Task(read) = decode_task_record(record.encode_to_vec().into()).unwrap() else { unreachable!() };
        assert!(!read.is_idempotent);
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let of_another_version =
            bus::TasksRecord { version: RECORD_VERSION + 1, body: None, hops: None }.encode_to_vec();
        assert_eq!(decode_task_record(of_another_version.into()).unwrap_err(), RecordFault::Version(2));
    }
}
