//! A cancel makes an ingress discard its cached answer to the payment if the ingress asked for one,
//! and writes nothing to the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, cancel, form, pause, policy, sim, start_by};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim, SimSession};
use twqr_order::{Policy, ReplyTo};
use twqr_service::{Clock, SystemClock};
use twqr_wire::convert::{ReplyContent, decode_reply, encode_pay};

/// Appends a payment of the ingress with this partition of `replies`.
async fn pay_from(journal: &SimSession, partition: u32, number: &str) {
    let now = SystemClock.now();
    let to = ReplyTo { partition, correlation: 1, until: now.plus(60_000) };
    journal.append(ORDERS, vec![Entry::plain(encode_pay(now, &form(number), Some(to)))]).await.unwrap();
}

/// The partitions of `replies` that were asked to forget the payment with this number.
fn asked_to_forget(sim: &Sim, number: &str) -> Vec<u32> {
    let is_asked = |index: &u32| {
        let records = sim.records(Partition { topic: Topic::Replies, index: *index });
        let mut contents = records.into_iter().map(|record| decode_reply(record.entry.value.unwrap()).unwrap().content);
        contents.any(|content| matches!(content, ReplyContent::Forget(key) if key == form(number).key))
    };
    (0..16).filter(is_asked).collect()
}

/// The partitions that are asked to forget a payment which ingresses 2, 5 and 2 requested.
async fn forgetting(protocol_version: u32) -> Vec<u32> {
    let sim = sim(Faults::default());
    let _router = start_by(&sim, "router-0", Policy { protocol_version, ..policy() });
    pause(1_000).await;
    let caller = sim.session("ingress");
    for partition in [2, 5, 2] {
        pay_from(&caller, partition, "T1").await;
    }
    cancel(&*caller, "T1").await;
    // Without a payment there is no answer that could be remembered.
    cancel(&*caller, "T2").await;
    pay_from(&caller, 7, "T3").await;
    pause(2_000).await;
    let others = ["T2", "T3"].map(|number| asked_to_forget(&sim, number));
    assert!(others.iter().all(Vec::is_empty), "version {protocol_version}: {others:?}");
    asked_to_forget(&sim, "T1")
}

#[tokio::test(start_paused = true)]
async fn only_ingresses_that_may_remember_an_answer_are_asked_to_forget_it() {
    assert_eq!(forgetting(2).await, [2, 5]);
    assert_eq!(forgetting(1).await, (0..16).collect::<Vec<u32>>(), "payments of version 1 keep no list");
}
