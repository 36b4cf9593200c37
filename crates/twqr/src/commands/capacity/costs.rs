//! The costs of a payment, each with the command that measured it (`load-tests/README.md`). The
//! sizes of records are measured by a test of this module.

/// The highest rate on Apache Kafka at which the costs below were measured, in payments per second:
/// `make bench-kafka`, 4 shards and 1 task partition on two cores.
pub(super) const MEASURED_RATE: u64 = 4_000;
/// The payments per second that a shard, and a task partition, had then. More is possible: the
/// machine was full, not the partitions.
pub(super) const RATE_PER_SHARD: u64 = 1_000;
pub(super) const RATE_PER_TASK_PARTITION: u64 = 4_000;

/// CPU of each service for a payment, in µs: 262 together (`make bench-kafka` at 4,000/s), divided
/// as `make load SCENARIO=services` divided 820 at 1,000/s, where each record costs a request.
/// Other work used a third of the machine meanwhile, so the division is a hint.
pub(super) const INGRESS_US: u64 = 75;
pub(super) const ROUTER_US: u64 = 103;
pub(super) const WALLET_WORKER_US: u64 = 33;
pub(super) const FISC_WORKER_US: u64 = 33;
pub(super) const TRACKER_US: u64 = 18;
/// CPU of the broker for a payment with one copy, in µs: `make bench-kafka` at 4,000/s.
pub(super) const BROKER_US: u64 = 88;

/// The bytes of the records of one payment.
pub(super) const PAY_BYTES: u64 = 215;
pub(super) const TASK_BYTES: u64 = 200;
pub(super) const OUTCOME_BYTES: u64 = 110;
pub(super) const REPLY_BYTES: u64 = 205;
pub(super) const STATE_BYTES: u64 = 235;
/// How often the state of a payment is written: when it is accepted and when it is final, unless
/// both fall into one checkpoint.
pub(super) const STATES_PER_PAYMENT: u64 = 2;
/// The bytes that the broker adds to a record: its own header, and a share of the batch header. A
/// bound: a record alone in its batch has 61 bytes more, and then the rate is low.
pub(super) const FRAME_BYTES: u64 = 24;
/// The bytes of an order in a router's local store: `twqr-lab bench restore --orders 300000`
/// printed 289 as `store_bytes_per_order`.
pub(super) const STORE_BYTES: u64 = 300;
/// The bytes of an order in the tracker's read model, with its entries in the indexes, and those of
/// its two rows in the timeline: `load-tests/read-model-bytes` printed 460 for 100,000 payments
/// whose first state was final, and 674 for payments that were stored in progress first.
pub(super) const READ_MODEL_ROW_BYTES: u64 = 470;
pub(super) const READ_MODEL_TIMELINE_BYTES: u64 = 210;

#[cfg(test)]
mod tests {
    use twqr_card_keys::CardKeys;
    use twqr_order::{
        Alphabet, Approval, Command, Effect, MovementOutcome, Outcome, Pay, PaymentType, Policy, Position, Record,
        ReplyTo, Route, RouteTarget, TaskResult, apply,
    };
    use twqr_types::{Issuer, PayForm, RawPay, RecordedToken, ShardId, UnixMs};
    use twqr_wire::convert::{encode_order, encode_order_state, encode_outcome, encode_pay, encode_reply, encode_task};

    use super::*;

    const AT: UnixMs = UnixMs(1_790_000_000_000);
    const READ_MODEL_SCRIPT: &str = include_str!("../../../../../load-tests/read-model-bytes");

    /// The bytes of a paid payment's state with which `load-tests/read-model-bytes` measures.
    fn state_bytes_of_script() -> u64 {
        let line = READ_MODEL_SCRIPT.lines().find_map(|line| line.strip_prefix("PAID_BYTES = "));
        line.unwrap().parse().unwrap()
    }

    fn form() -> PayForm {
        let raw = RawPay {
            merchant_id: "M10000001".into(),
            merchant_trade_no: "20261129103000000123".into(),
            store_id: "STORE00001".into(),
            pos_id: "POS01".into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 1_250,
            ..RawPay::default()
        };
        let form = PayForm::parse(raw).unwrap();
        let RecordedToken::Clear(token) = &form.card_token else { unreachable!() };
        let protected = CardKeys::in_memory(AT, 1).protect(token, &form.key, AT).unwrap();
        PayForm { card_token: RecordedToken::Protected(Box::new(protected)), ..form }
    }

    fn approval() -> Approval {
        Approval {
            payment_type: PaymentType::StoredValue,
            debit_amount: 1_250,
            redeem_name: "".into(),
            redeem_amount: 0,
            store_redeem_amount: 0,
            invoice_vehicle: "/ABC1234".into(),
            mer_mem_token: "".into(),
            card_name: "".into(),
            card_no_masked: "".into(),
            issuer_trade_no: "W0123456789012345678".into(),
        }
    }

    /// A record's constant and its size, which may differ by a fifth: names have other lengths.
    struct Size {
        name: &'static str,
        constant: u64,
        measured: usize,
    }

    impl Size {
        fn is_right(&self) -> bool {
            (self.measured as f64 - self.constant as f64).abs() <= 0.2 * self.constant as f64
        }
    }

    #[test]
    fn the_bytes_of_records_are_those_of_an_encoded_payment() {
        let route = Route {
            prefix: "22".into(),
            target: RouteTarget::Issuer(Issuer::Wallet),
            code_lengths: vec![18],
            alphabet: Alphabet::Printable,
        };
        let policy = Policy { routes: vec![route], ..Policy::default() };
        let (mut order, mut effects) = (None, Vec::new());
        let mut take = |command: Command, offset: u64, effects: &mut Vec<Effect>| {
            let record = Record { at: AT, signed_by: None, nonce: None, command };
            let cause = Position { shard: ShardId(3), offset };
            apply(&mut order, &record, cause, Some(&policy), effects);
            order.clone().unwrap()
        };
        let reply_to = Some(ReplyTo { partition: 3, correlation: 123_456_789, until: AT });
        let pay = encode_pay(AT, &form(), reply_to).len();
        let accepted = take(Command::Pay(Box::new(Pay { form: form(), reply_to })), 123_456_789, &mut effects);
        let task = effects.iter().find_map(|effect| match effect {
            Effect::Task(task) => Some(task.clone()),
            Effect::Reply(_) | Effect::Forward(_) => None,
        });
        let task = task.unwrap();
        let movement = MovementOutcome::Charge(TaskResult::Done(approval()));
        let outcome = Outcome { key: task.key.clone(), task: task.id, movement };
        let encoded_outcome = encode_outcome(AT, &outcome).len();
        effects.clear();
        let paid = take(Command::Outcome(Box::new(outcome)), 123_456_999, &mut effects);
        let reply = effects.iter().find_map(|effect| match effect {
            Effect::Reply(reply) => Some(encode_reply(reply, Some(&paid), None).len()),
            Effect::Task(_) | Effect::Forward(_) => None,
        });
        let stored = encode_order(&paid).len();
        let states = [accepted, paid].map(|order| encode_order_state(123_456_700, 123_457_000, &order));
        let state = states.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() / states.len();
        let size = |name, constant, measured| Size { name, constant, measured };
        let sizes = [
            size("PAY_BYTES", PAY_BYTES, pay),
            size("TASK_BYTES", TASK_BYTES, encode_task(&task).len()),
            size("OUTCOME_BYTES", OUTCOME_BYTES, encoded_outcome),
            size("REPLY_BYTES", REPLY_BYTES, reply.unwrap()),
            size("STATE_BYTES", STATE_BYTES, state),
            size("PAID_BYTES of read-model-bytes", state_bytes_of_script(), stored),
        ];
        let wrong: Vec<String> = sizes
            .iter()
            .filter(|size| !size.is_right())
            .map(|size| {
                format!("{}: a record has {} bytes, the constant is {}", size.name, size.measured, size.constant)
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
