//! The inputs that fuzzing begins with: a few valid ones for each target, from which libFuzzer
//! makes others. A test writes them to `corpus/`.

use bytes::Bytes;
use twqr_journal::{Entry, embedded::stored_form};
use twqr_order::{
    Alphabet, CancelRequest, Command, Effect, EffectId, HoldRecord, MovementOutcome, Nonce, Order, Outcome, Pay,
    Policy, PolicyChange, Position, Query, Record, ReplyTo, Route, RouteTarget, TaskResult, apply,
};
use twqr_types::{Field, Issuer, KeyName, OrderKey, PayForm, RawPay, ShardId, UnixMs};
use twqr_wire::convert::{
    DeadLetter, ReplyContent, ReplyRecord, encode_dead_letter, encode_order, encode_order_state, encode_record,
    encode_reply, encode_reply_record, encode_task,
};

/// When the records of the inputs are written.
const AT: UnixMs = UnixMs(1_790_000_000_000);

/// Valid inputs of a target; none for a name that no target has, and for those whose inputs are
/// only files.
pub fn seeds(target: &str) -> Vec<Bytes> {
    let Some(form) = pay_form() else { return Vec::new() };
    let records = records(&form);
    match target {
        "orders" => records.iter().map(encode_record).collect(),
        "replies" => {
            let conflict = ReplyContent::Conflict(vec![Field::TradeAmount.pos_name().to_owned()]);
            let mut replies: Vec<_> = [conflict, ReplyContent::Replayed, ReplyContent::Forget(form.key.clone())]
                .into_iter()
                .map(|content| encode_reply_record(&ReplyRecord::broadcast(content)))
                .collect();
            let (order, effects) = applied(&records);
            replies.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Reply(reply) => Some(encode_reply(reply, order.as_ref(), Some(&Policy::default()))),
                Effect::Task(_) | Effect::Forward(_) => None,
            }));
            replies
        }
        "states" => applied(&records).0.iter().map(|order| encode_order_state(5, 9, order).1).collect(),
        "tasks" => applied(&records)
            .1
            .iter()
            .filter_map(|effect| match effect {
                Effect::Task(task) => Some(encode_task(task)),
                Effect::Reply(_) | Effect::Forward(_) => None,
            })
            .collect(),
        "stored" => applied(&records).0.iter().map(|order| encode_order(order).into()).collect(),
        "dead_letters" => {
            let [topic, reason] = ["orders", "not protobuf"].map(str::to_owned);
            let payload = Bytes::from_static(b"\xff");
            vec![encode_dead_letter(&DeadLetter { topic, partition: 1, offset: 2, payload, reason, at: AT })]
        }
        "journal" => {
            let entries = [Entry::plain(Bytes::from_static(b"value")), Entry::plain(Bytes::new())];
            entries.iter().map(|entry| stored_form(entry).into()).collect()
        }
        _ => Vec::new(),
    }
}

fn pay_form() -> Option<PayForm> {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 120,
        send_time: "20250310090807".into(),
        ..RawPay::default()
    };
    PayForm::parse(raw).ok()
}

/// A record of each kind that a caller, a worker or an operator causes.
fn records(form: &PayForm) -> Vec<Record> {
    let reply_to = ReplyTo { partition: 1, correlation: 7, until: AT };
    let commands = [
        Command::Pay(Box::new(Pay { form: form.clone(), reply_to: Some(reply_to) })),
        Command::Query(Query { key: form.key.clone(), reply_to, watch: true, keep: false }),
        Command::Cancel(Box::new(CancelRequest { form: form.clone(), reply_to: Some(reply_to) })),
        Command::Due(form.key.clone()),
        Command::CloseBooks(AT),
        Command::Hold(HoldRecord::Claim { owner: "router-0".into(), nonce: 5, replaces: Some(3) }),
        Command::Policy(Box::new(policy_change())),
        Command::Outcome(Box::new(outcome(&form.key))),
    ];
    let nonce = Nonce { digest: [7; Nonce::LEN], until: AT };
    commands.map(|command| Record { at: AT, signed_by: key_name(), nonce: Some(nonce), command }).into()
}

fn key_name() -> Option<KeyName> {
    KeyName::parse("2026-07".to_owned()).ok()
}

fn policy_change() -> PolicyChange {
    PolicyChange { version: 1, policy: policy(), who: "alice".into(), why: "a seed".into(), at: AT }
}

fn policy() -> Policy {
    let target = RouteTarget::Issuer(Issuer::Wallet);
    let alphabet = Alphabet::Printable;
    let route = Route { prefix: "22".into(), target, code_lengths: vec![18], alphabet };
    Policy { routes: vec![route], ..Policy::default() }
}

fn outcome(key: &OrderKey) -> Outcome {
    let task = EffectId { shard: ShardId(0), offset: 0, n: 0 };
    let movement = MovementOutcome::Charge(TaskResult::Unknown("no answer".into()));
    Outcome { key: key.clone(), task, movement }
}

/// The order that the records make, and their effects.
fn applied(records: &[Record]) -> (Option<Order>, Vec<Effect>) {
    let (mut order, mut effects, policy) = (None, Vec::new(), policy());
    for (offset, record) in (0..).zip(records) {
        apply(&mut order, record, Position { shard: ShardId(0), offset }, Some(&policy), &mut effects);
    }
    (order, effects)
}
