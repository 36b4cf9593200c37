//! The machine, as tables of records and what they do, and as seeded histories that must keep the invariants.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use twqr_types::{InstitutionCode, Issuer, OrderKey, PayForm, RawPay, ShardId, UnixMs};

use super::*;
use crate::{
    Approval, Decline, DeclineKind, EffectId, Outcome, Pay, PaymentType, Query, ReplyTo, Resolution, Route,
    StatusCodes, TaskKind, TaskResult,
};

fn policy() -> Policy {
    let resolution = Resolution { window_ms: 3_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };
    let route = |prefix: &str, issuer| Route { prefix: prefix.into(), issuer, code_lengths: vec![6], resolution };
    let other = Issuer::Institution(InstitutionCode::parse("391").unwrap());
    Policy {
        name: "test".into(),
        routes: vec![route("22", Issuer::Wallet), route("IP", other)],
        status_codes: StatusCodes::default(),
        send_within_ms: 2_000,
    }
}

fn form(token: &str, amount: i64) -> PayForm {
    let raw = RawPay {
        merchant_id: "M".into(),
        merchant_trade_no: "T".into(),
        card_token: token.into(),
        trade_amount: amount,
        un_redeem: 7,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

fn pay(token: &str, amount: i64) -> Command {
    let reply_to = ReplyTo { partition: 0, correlation: 1, until: UnixMs(12_000) };
    Command::Pay(Box::new(Pay { form: form(token, amount), reply_to: Some(reply_to) }))
}

fn key() -> OrderKey {
    form("22abcd", 100).key
}

fn query(correlation: u64, watch: bool) -> Command {
    Command::Query(Query { key: key(), reply_to: ReplyTo { partition: 0, correlation, until: UnixMs(60_000) }, watch })
}

fn approved(debit_amount: i64) -> TaskResult {
    TaskResult::Approved(Approval {
        payment_type: PaymentType::StoredValue,
        debit_amount,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    })
}

fn declined() -> TaskResult {
    TaskResult::Declined(Decline { kind: DeclineKind::Wallet, code: "928".into(), reason: "".into() })
}

/// A shard with one order, at the next offset.
struct World {
    order: Option<Payment>,
    offset: u64,
    policy: Policy,
    charges: u32,
    replies: Vec<ReplyBody>,
}

impl World {
    fn new() -> Self {
        Self { order: None, offset: 0, policy: policy(), charges: 0, replies: Vec::new() }
    }

    fn apply(&mut self, at: i64, command: Command) -> Step {
        let mut effects = Vec::new();
        let cause = Position { shard: ShardId(1), offset: self.offset };
        let before = self.order.clone();
        let record = Record { at: UnixMs(at), command };
        let applied = apply(&mut self.order, &record, cause, Some(&self.policy), &mut effects);
        assert!(applied.changed || before == self.order, "a change that was not said");
        let mut again = (before, Vec::new());
        apply(&mut again.0, &record, cause, Some(&self.policy), &mut again.1);
        assert_eq!(
            format!("{:?}{:?}", again.0, again.1),
            format!("{:?}{effects:?}", self.order),
            "not a pure function"
        );
        for (n, effect) in effects.into_iter().enumerate() {
            let id = EffectId { shard: ShardId(1), offset: self.offset, n: n as u32 };
            match effect {
                Effect::Task(task) => {
                    assert_eq!(task.id, id);
                    self.charges += u32::from(matches!(task.kind, TaskKind::Charge(_)));
                }
                Effect::Reply(reply) => {
                    assert_eq!(reply.id, id);
                    self.replies.push(reply.body);
                }
            }
        }
        self.offset += 1;
        applied.step
    }

    fn outcome(&mut self, at: i64, task_offset: u64, result: TaskResult) -> Step {
        let task = EffectId { shard: ShardId(1), offset: task_offset, n: 0 };
        self.apply(at, Command::Outcome(Box::new(Outcome { key: key(), task, result })))
    }

    fn phase(&self) -> &'static str {
        match self.order.as_ref().map(|order| &order.phase) {
            None => "none",
            Some(Phase::Paying { .. }) => "paying",
            Some(Phase::Unresolved { .. }) => "unresolved",
            Some(Phase::Asking { .. }) => "asking",
            Some(Phase::Paid(_)) => "paid",
            Some(Phase::Failed(_)) => "failed",
        }
    }
}

#[test]
fn what_comes_of_the_charge() {
    let why = || "why".into();
    for (result, step, phase) in [
        (approved(100), Step::Paid, "paid"),
        (declined(), Step::Failed(Evidence::Declined), "failed"),
        (TaskResult::NotSent(why()), Step::Failed(Evidence::NotSent), "failed"),
        (TaskResult::Unknown(why()), Step::Unresolved, "unresolved"),
        (TaskResult::Absent, Step::Failed(Evidence::Absent), "failed"),
    ] {
        let mut world = World::new();
        assert_eq!(world.apply(0, pay("22abcd", 100)), Step::Accepted);
        assert_eq!(world.outcome(10, 0, result.clone()), step, "{result:?}");
        assert_eq!((world.phase(), world.replies.len()), (phase, 1), "{result:?}");
    }
}

#[test]
fn only_evidence_counts_for_a_task_that_is_not_open() {
    let why = || "why".into();
    for (result, phase) in [
        (approved(100), "paid"),
        (declined(), "failed"),
        (TaskResult::NotSent(why()), "asking"),
        (TaskResult::Unknown(why()), "asking"),
        (TaskResult::Absent, "asking"),
    ] {
        let mut world = World::new();
        world.apply(0, pay("22abcd", 100));
        world.outcome(10, 0, TaskResult::Unknown(why()));
        assert_eq!(world.apply(60_000, Command::Due(key())), Step::Asked);
        world.outcome(60_010, 0, result.clone());
        assert_eq!(world.phase(), phase, "{result:?} of the charge while the inquiry is open");
    }
}

#[test]
fn a_due_record_asks_only_when_it_is_time() {
    let mut world = World::new();
    world.apply(0, pay("22abcd", 100));
    assert_eq!(world.apply(4_999, Command::Due(key())), Step::Ignored, "send_by 2000 and window 3000");
    assert_eq!(world.apply(5_000, Command::Due(key())), Step::Asked);
    assert_eq!(world.apply(9_000, Command::Due(key())), Step::Ignored, "the inquiry is out");
    assert_eq!(world.outcome(9_001, 2, TaskResult::Unknown("".into())), Step::Unresolved);
    assert_eq!(world.apply(9_002, Command::Due(key())), Step::Ignored, "before the next check time");
}

#[test]
fn repeats_conflicts_and_codes_that_nobody_knows() {
    let mut world = World::new();
    world.apply(0, pay("IPabcd", 100));
    assert_eq!(world.apply(1, pay("IPabcd", 100)), Step::Repeated);
    for (token, amount, field) in [("IPabcd", 101, "TradeAmount"), ("IPabce", 100, "CardToken")] {
        assert_eq!(world.apply(2, pay(token, amount)), Step::Conflicted);
        let Some(ReplyBody::Conflict(fields)) = world.replies.last() else { panic!("no conflict") };
        assert_eq!(fields.iter().map(|field| field.pos_name()).collect::<Vec<_>>(), [field]);
    }
    assert_eq!((world.charges, world.phase()), (1, "paying"));
    assert_eq!(world.order.as_ref().unwrap().terms.un_redeem.twd(), 0, "UnRedeem is 0 for other issuers");
    for token in ["99abcd", "22abc"] {
        let mut world = World::new();
        assert_eq!(world.apply(0, pay(token, 100)), Step::Refused, "{token}");
        assert_eq!((world.charges, world.phase()), (0, "failed"), "{token}");
    }
}

#[test]
fn contradictions_are_kept_and_change_nothing_that_was_told() {
    for (first, second, phase) in [(approved(100), declined(), "paid"), (declined(), approved(100), "failed")] {
        let mut world = World::new();
        world.apply(0, pay("22abcd", 100));
        world.outcome(1, 0, first);
        assert_eq!(world.outcome(2, 0, second), Step::Contradicted);
        assert_eq!(world.phase(), phase);
        assert!(world.order.unwrap().contradiction.is_some());
    }
    let mut world = World::new();
    world.apply(0, pay("22abcd", 100));
    world.outcome(1, 0, approved(99));
    assert!(world.order.unwrap().contradiction.is_some(), "amounts that do not add up");
}

#[test]
fn queries_and_watchers() {
    let mut world = World::new();
    world.apply(0, query(9, false));
    assert_eq!(world.replies, [ReplyBody::NotFound]);
    world.apply(1, pay("22abcd", 100));
    for watcher in 0..SUBSCRIBERS {
        world.apply(2, query(100 + watcher, true));
    }
    assert_eq!(world.replies.last(), Some(&ReplyBody::Order));
    world.apply(3, query(99, true));
    assert_eq!(world.replies.last(), Some(&ReplyBody::TooManyWatchers));
    let before = world.replies.len();
    world.outcome(4, 1, approved(100));
    assert_eq!(world.replies.len() - before, crate::SUBSCRIBERS_MAX, "everybody hears of it");
}

/// The first Pay waits too.
const SUBSCRIBERS: u64 = crate::SUBSCRIBERS_MAX as u64 - 1;

/// splitmix64: seeded, and the same everywhere.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn in_any_history_one_charge_goes_out_and_a_final_state_stays() {
    for seed in 0..20_000 {
        let mut random = seed;
        let (mut world, mut at, mut end) = (World::new(), 0, None);
        for _ in 0..12 {
            at += (next(&mut random) % 4_000).cast_signed();
            let task = next(&mut random) % 12;
            match next(&mut random) % 9 {
                0 | 1 => drop(world.apply(at, pay("22abcd", 100))),
                2 => drop(world.apply(at, pay("22abcd", 101))),
                3 => drop(world.apply(at, query(next(&mut random) % 20, true))),
                4 => drop(world.apply(at, Command::Due(key()))),
                5 => drop(world.outcome(at, task, TaskResult::Unknown("".into()))),
                6 => drop(world.outcome(at, task, TaskResult::Absent)),
                7 => drop(world.outcome(at, task, declined())),
                _ => drop(world.outcome(at, task, approved(100))),
            }
            assert!(world.charges <= 1, "seed {seed}: I1");
            let phase = world.order.as_ref().map(|order| order.phase.clone());
            match (&end, phase) {
                (Some(end), phase) => assert_eq!(Some(end), phase.as_ref(), "seed {seed}: I3, a final state changed"),
                (None, Some(phase)) if phase.is_final() => end = Some(phase),
                (None, _) => {}
            }
        }
    }
}

#[test]
fn a_code_with_which_the_wallet_does_not_know_is_never_a_failure() {
    let decline = |kind, code: &str| TaskResult::Declined(Decline { kind, code: code.into(), reason: "".into() });
    for (token, kind, code, fails) in [
        ("22abcd", DeclineKind::Wallet, "301", false),
        ("22abcd", DeclineKind::Wallet, "801", false),
        ("22abcd", DeclineKind::Wallet, "901", false),
        ("22abcd", DeclineKind::Wallet, "909", false),
        ("22abcd", DeclineKind::Wallet, "916", false),
        ("22abcd", DeclineKind::Wallet, "000", false),
        ("22abcd", DeclineKind::Wallet, "9O9", false),
        ("22abcd", DeclineKind::Wallet, "928", true),
        ("IPabcd", DeclineKind::Issuer, "301", true),
    ] {
        let mut world = World::new();
        let task = EffectId { shard: ShardId(1), offset: world.offset, n: 0 };
        let apply_one = |world: &mut World, at: i64, command: Command| {
            let record = Record { at: UnixMs(at), command };
            let cause = Position { shard: ShardId(1), offset: world.offset };
            world.offset += 1;
            let policy = world.policy.clone();
            apply(&mut world.order, &record, cause, Some(&policy), &mut Vec::new())
        };
        apply_one(&mut world, 0, pay(token, 100));
        let outcome = Outcome { key: key(), task, result: decline(kind, code) };
        apply_one(&mut world, 10, Command::Outcome(Box::new(outcome)));
        let phase = &world.order.as_ref().unwrap().phase;
        assert_eq!(phase.is_final(), fails, "{kind:?} {code}: {phase:?}");
        assert_eq!(matches!(phase, Phase::Unresolved { .. }), !fails, "{kind:?} {code}: {phase:?}");
    }
}
