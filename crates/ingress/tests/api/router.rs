//! The real order machine over the test's journal, and an issuer that does what the amount tells it.

use std::{collections::HashMap, sync::Arc};

use prost::Message;
use twqr_journal::{Entry, Partition, Record, Topic};
use twqr_order::{
    Approval, Decline, DeclineKind, Effect, Outcome, Payment, PaymentType, Policy, Position, Resolution, Route,
    StatusCodes, TaskKind, TaskResult,
};
use twqr_types::{Issuer, OrderKey, ShardId, UnixMs};
use twqr_wire::convert;

use crate::journal::{FakeJournal, SHARDS};

/// The issuer declines: balance too low.
pub const DECLINED: i64 = 928;
/// The issuer never says anything.
pub const SILENT: i64 = 408;
/// Nobody knows what came of it.
pub const UNKNOWN: i64 = 982;

/// Decides every order until it is dropped.
pub async fn route(journal: Arc<FakeJournal>) {
    let policy = policy();
    let mut orders: HashMap<OrderKey, Payment> = HashMap::new();
    let mut next = [0_u64; SHARDS as usize];
    let mut changes = journal.changes();
    loop {
        changes.mark_unchanged();
        for index in 0..SHARDS {
            let partition = Partition { topic: Topic::Orders, index };
            for record in journal.read(partition, next[index as usize]) {
                next[index as usize] = record.offset + 1;
                apply(&journal, &policy, &mut orders, partition, record);
            }
        }
        FakeJournal::changed(&mut changes).await;
    }
}

fn apply(
    journal: &FakeJournal,
    policy: &Policy,
    orders: &mut HashMap<OrderKey, Payment>,
    partition: Partition,
    Record { offset, entry }: Record,
) {
    use twqr_order::Command;
    let record = convert::decode_record(entry.value.unwrap()).unwrap();
    let key = match &record.command {
        Command::Pay(pay) => pay.form.key.clone(),
        Command::Query(query) => query.key.clone(),
        Command::Outcome(outcome) => outcome.key.clone(),
        Command::Due(key) => key.clone(),
        Command::Claim { .. } | Command::Policy(_) => return,
    };
    let mut order = orders.remove(&key);
    let mut effects = Vec::new();
    let cause = Position { shard: ShardId(partition.index as u16), offset };
    twqr_order::apply(&mut order, &record, cause, Some(policy), &mut effects);
    for effect in effects {
        match effect {
            Effect::Reply(reply) => {
                let to = Partition { topic: Topic::Replies, index: reply.to.partition };
                let bytes = convert::reply_out(&reply, order.as_ref()).encode_to_vec();
                journal.write(to, vec![Entry::plain(bytes)]);
            }
            Effect::Task(task) => {
                let TaskKind::Charge(charge) = task.kind else { continue };
                let amount = charge.trade_amount.twd();
                let result = match amount {
                    SILENT => continue,
                    UNKNOWN => TaskResult::Unknown("no answer".into()),
                    DECLINED => declined(),
                    _ => approved(task.issuer, amount),
                };
                journal.write(partition, vec![outcome(task.key, task.id, result)]);
            }
        }
    }
    orders.extend(order.map(|order| (key, order)));
}

/// The entry that says what came of a task.
pub fn outcome(key: OrderKey, task: twqr_order::EffectId, result: TaskResult) -> Entry {
    Entry::plain(convert::outcome_record(UnixMs(1_741_568_887_999), &Outcome { key, task, result }))
}

pub fn approved(issuer: Issuer, amount: i64) -> TaskResult {
    let payment_type = if issuer == Issuer::Wallet { PaymentType::StoredValue } else { PaymentType::OtherIssuer };
    TaskResult::Approved(Approval {
        payment_type,
        debit_amount: amount,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "/ABC1234".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "I1".into(),
    })
}

fn declined() -> TaskResult {
    let kind = DeclineKind::Wallet;
    TaskResult::Declined(Decline { kind, code: "928".into(), reason: "balance too low".into() })
}

fn policy() -> Policy {
    let route = |prefix: &str, institution: &str, length| Route {
        prefix: prefix.into(),
        issuer: Issuer::parse(institution).unwrap(),
        code_lengths: vec![length],
        resolution: Resolution::DEFAULT,
    };
    Policy {
        name: "test".into(),
        routes: vec![route("22", "", 18), route("IP", "391", 20)],
        status_codes: StatusCodes::default(),
        send_within_ms: 5_000,
    }
}
