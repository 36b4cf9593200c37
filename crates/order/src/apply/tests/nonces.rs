//! Replays of signed requests: every request that may move money claims its nonce at its order, and
//! a second one with it changes nothing. An inquiry claims none.

use twqr_types::UnixMs;

use super::{
    check,
    fixtures::{self, WALLET},
    world::World,
};
use crate::{NONCES_MAX, Nonce, Order, Step};

/// How long the nonces of these tests are kept, in ms.
const KEPT_MS: i64 = 360_000;

#[allow(clippy::unnecessary_wraps, reason = "a record has it so")]
fn nonce(w: &World, number: u8) -> Option<Nonce> {
    Some(Nonce { digest: [number; Nonce::LEN], until: UnixMs(w.at + KEPT_MS) })
}

type Request = fn(&mut World) -> Step;

/// Every request that may move money of a merchant's payment PAID and its refund R.
const REQUESTS: [(&str, Request); 4] = [
    ("pay", |w| w.pay("PAID", WALLET, 100)),
    ("pay with another amount", |w| w.pay("PAID", WALLET, 99)),
    ("refund", |w| w.refund("R", "PAID", 10)),
    ("cancel", |w| w.cancel("PAID", WALLET, 100)),
];

fn refuse_replay(w: &mut World, what: &str, request: Request) {
    let before = (w.order("PAID").cloned(), w.order("R").cloned(), w.tasks.len(), w.forwards.len());
    assert_eq!((request(w), w.received().as_str()), (Step::Replayed, "replayed"), "{what}");
    let after = (w.order("PAID").cloned(), w.order("R").cloned(), w.tasks.len(), w.forwards.len());
    assert!(before == after, "{what}");
}

#[test]
fn a_replay_of_any_request_changes_nothing_whatever_happened_since() {
    check(&[("each request, repeated at once, after a refund and after the cancel", |w| {
        w.nonce = nonce(w, 0);
        w.paid("PAID", WALLET, 100);
        for (number, (what, request)) in (1..).zip(REQUESTS) {
            w.nonce = nonce(w, number);
            assert_ne!(request(w), Step::Replayed, "{what}");
            refuse_replay(w, what, request);
        }
        for (number, (what, request)) in (1..).zip(REQUESTS) {
            w.at += 1_000;
            w.nonce = nonce(w, number);
            refuse_replay(w, what, request);
        }
        w.nonce = nonce(w, 100);
        assert_eq!(w.pay("PAID", WALLET, 100), Step::Repeated, "a repeat that is signed anew is answered");
    })]);
}

#[test]
fn an_early_cancel_and_the_payment_after_it_keep_the_nonce() {
    check(&[("the cancel is not applied to the payment a second time", |w| {
        w.nonce = nonce(w, 1);
        w.cancel("T", WALLET, 100);
        w.nonce = nonce(w, 2);
        assert_eq!(w.pay("T", WALLET, 100), Step::Refused);
        for number in [1, 2] {
            w.nonce = nonce(w, number);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Replayed);
        }
    })]);
}

#[test]
fn nonces_are_kept_until_their_time_and_no_more_than_the_maximum() {
    check(&[("the oldest make room once they are over", |w| {
        for number in 0..=NONCES_MAX as u8 {
            w.nonce = nonce(w, number);
            let step = w.pay("T", WALLET, 100);
            assert_eq!(step == Step::Replayed, usize::from(number) == NONCES_MAX, "{number}: {step:?}");
        }
        w.at += KEPT_MS;
        w.nonce = nonce(w, 0);
        assert_eq!(w.pay("T", WALLET, 100), Step::Replayed, "at its time it still counts");
        w.at += 1;
        w.nonce = nonce(w, 200);
        assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
        assert_eq!(w.order("T").map(|order| order.nonces().as_slice().len()), Some(1));
    })]);
}

#[test]
fn inquiries_claim_no_nonce_and_keep_no_cancel_out() {
    check(&[("more inquiries than an order keeps nonces, each sent twice", |w| {
        w.nonce = nonce(w, 0);
        w.paid("PAID", WALLET, 100);
        let before = w.order("PAID").cloned();
        for number in 1..=NONCES_MAX as u8 + 1 {
            w.nonce = nonce(w, number);
            let steps = [w.query("PAID", false), w.query("PAID", false)];
            assert!(!steps.contains(&Step::Replayed), "{number}: {steps:?}");
        }
        assert!(w.order("PAID").cloned() == before, "an inquiry changes no state");
        assert_ne!(w.cancel("PAID", WALLET, 100), Step::Replayed);
        assert_eq!(w.cancel("PAID", WALLET, 100), Step::Replayed, "the cancel claimed the last inquiry's nonce");
    })]);
}

#[test]
fn before_protocol_version_3_a_nonce_decides_nothing() {
    let mut w = World::new(fixtures::policy_with(|policy| policy.protocol_version = 2));
    w.nonce = nonce(&w, 1);
    assert_eq!((w.pay("T", WALLET, 100), w.pay("T", WALLET, 100)), (Step::Accepted, Step::Repeated));
    assert!(w.order("T").map(Order::nonces).is_some_and(|nonces| nonces.as_slice().is_empty()));
}

#[test]
fn without_a_nonce_a_replay_moves_no_money_also_after_a_refund_and_a_cancel() {
    check(&[("each request of a payment that was refunded and cancelled, sent once more", |w| {
        w.paid("PAID", WALLET, 100);
        w.refund("R", "PAID", 10);
        w.settle_forwards();
        w.refunded("PAID", "R", fixtures::refunded_result(10));
        w.settle_forwards();
        replay_all_but_the_cancel(w);
        w.cancel("PAID", WALLET, 100);
        w.reversed("PAID", fixtures::reversed());
        let cancelled = (w.tasks.len(), w.order("PAID").cloned());
        assert_eq!(w.cancel("PAID", WALLET, 100), Step::Repeated);
        assert!((w.tasks.len(), w.order("PAID").cloned()) == cancelled);
        replay_all_but_the_cancel(w);
    })]);
}

fn replay_all_but_the_cancel(w: &mut World) {
    let state = |w: &World| (w.tasks.len(), w.payment("PAID").refunds.clone(), w.payment("PAID").cancel.clone());
    let before = state(w);
    for (what, request) in REQUESTS.into_iter().take(REQUESTS.len() - 1) {
        request(w);
        w.settle_forwards();
        assert!(before == state(w), "{what}");
    }
}
