//! The hops of a call pass through the routers: beside the task of its payment, and beside the
//! reply that the outcome causes, whichever router decides.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, form, pause, policy, sim, start_by};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::Faults;
use twqr_order::{Decline, DeclineKind, MovementOutcome, Outcome, Policy, ReplyTo, TaskResult};
use twqr_service::{Clock, SystemClock};
use twqr_wire::{
    convert::{
        HopTimes, TaskRecord, decode_reply, decode_task_record_with_hops, encode_outcome, encode_pay, with_hops,
    },
    hops::Hop,
};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };
const CALLER: u64 = 7;
/// How far a sum of stamps may be off, in µs: stamps and stays are read one after the other.
const ROUNDING_US: i64 = 50_000;

#[tokio::test(start_paused = true)]
async fn a_payment_keeps_its_hops_when_another_router_takes_over() {
    let sim = sim(Faults { session_timeout_ms: 6_000, ..Faults::default() });
    let policy = Policy { protocol_version: 1, ..policy() };
    let first = start_by(&sim, "router-0", policy.clone());
    let _second = start_by(&sim, "router-1", policy);
    pause(3_000).await;
    first.session.crash();

    let (journal, now) = (sim.session("ingress"), SystemClock.now());
    let reply_to = ReplyTo { partition: 0, correlation: CALLER, until: now.plus(60_000) };
    let asked = HopTimes::new(CALLER, SystemClock.now_us());
    let pay = |number, to| encode_pay(now, &form(number), to);
    let records = [with_hops(&pay("T1", Some(reply_to)), &asked), pay("T2", None)];
    journal.append(ORDERS, records.map(Entry::plain).into()).await.unwrap();
    pause(1_500).await;

    let decode = |record: twqr_journal::Record| match decode_task_record_with_hops(record.entry.value?).ok()? {
        (TaskRecord::Task(task), hops) => Some((task, hops)),
        (TaskRecord::Hold(_), _) => None,
    };
    let tasks: Vec<_> = sim.records(TASKS).into_iter().filter_map(decode).collect();
    let [(task, Some(times)), (_, None)] = &tasks[..] else { unreachable!("{tasks:?}") };
    assert_eq!(times.correlation, CALLER);
    // The way so far is the time between the two stamps, whatever part of it was the take-over.
    let way = times.us(Hop::OrdersWait) + times.us(Hop::Router);
    let expected = times.appended_us - asked.appended_us;
    assert!((way - expected).abs() < ROUNDING_US, "{way} of {expected}");

    let decline = Decline { kind: DeclineKind::Wallet, code: "928".into(), reason: "".into() };
    let movement = MovementOutcome::Charge(TaskResult::Declined(decline));
    let outcome = Outcome { key: task.key.clone(), task: task.id, movement };
    let mut behind = *times;
    behind.appended_us = SystemClock.now_us();
    behind.add(Hop::Backend, 1_234);
    let record = with_hops(&encode_outcome(now, &outcome), &behind);
    journal.append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
    pause(500).await;

    let read = sim.records(REPLIES).into_iter().map(|record| decode_reply(record.entry.value.unwrap()).unwrap());
    let reply = read.into_iter().find(|reply| reply.correlation == CALLER).unwrap();
    let hops = reply.hops.unwrap();
    assert_eq!((hops.us(Hop::Backend), hops.us(Hop::OrdersWait)), (1_234, times.us(Hop::OrdersWait)));
    assert!(hops.us(Hop::Router) >= times.us(Hop::Router));
    let back = hops.us(Hop::OutcomesWait) + hops.us(Hop::Router) - times.us(Hop::Router);
    let expected = hops.appended_us - behind.appended_us;
    assert!((back - expected).abs() < ROUNDING_US, "{back} of {expected}");
}
