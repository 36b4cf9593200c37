//! Queries, watches and calls that wait for a result (`proto/README.md`, section Inquiries), and
//! invariant I5.

use super::{
    check,
    fixtures::{OTHER, WALLET, approved, declined_by, refunded_result, reversed, unknown},
};
use crate::{CALLS_MAX, DeclineKind, Step, WATCHES_MAX};

#[test]
fn queries_and_watchers() {
    check(&[
        ("a Query finds an order from its acceptance on; before, nothing", |w| {
            w.query("T", false);
            assert_eq!(w.received(), "not found");
            w.pay("T", WALLET, 100);
            assert_eq!(w.query("T", false), Step::Queried);
            assert_eq!(w.received(), "order");
        }),
        ("a Query finds a refund under its own number, and a cancel before its payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.query("R", false);
            assert_eq!(w.received(), "order");
            w.cancel("C", WALLET, 100);
            w.query("C", true);
            assert_eq!(w.received(), "order");
        }),
        ("a Query changes nothing; a watch receives every change until the order is at rest", |w| {
            w.pay("T", WALLET, 100);
            w.query("T", false);
            let queried = w.caller;
            w.query("T", true);
            let watches = w.caller;
            w.cancel("T", WALLET, 100);
            w.charged("T", unknown());
            w.charged("T", approved(100));
            w.reversed("T", reversed());
            assert_eq!(
                (w.replies_to(queried).as_str(), w.replies_to(watches).as_str()),
                ("order", "order, order, order, order, order")
            );
            assert!(w.payment("T").subscribers.is_empty());
        }),
        ("a watch with `keep` receives refunds, cancels and contradictions after the order was at rest", |w| {
            w.paid("T", OTHER, 100);
            w.watch_for_ever("T");
            let watches = w.caller;
            w.charged("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.replies_to(watches), "order, order", "the contradiction");
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.replies_to(watches), "order, order, order, order", "the refund begins and ends");
            w.cancel("T", OTHER, 100);
            w.reversed("T", reversed());
            assert_eq!(w.replies_to(watches), "order, order, order, order, order, order", "the cancel, too");
            w.query("T", true);
            assert_eq!(w.received(), "order", "a watch without `keep` of an order at rest gets one reply");
        }),
        ("a call that waits for a payment's result receives nothing after it", |w| {
            w.pay("T", WALLET, 100);
            let payer = w.caller;
            w.cancel("T", WALLET, 100);
            w.charged("T", approved(100));
            w.reversed("T", reversed());
            assert_eq!(w.replies_to(payer), "order");
        }),
        ("a watch of a refund receives its end", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.query("R", true);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.received(), "order, order");
        }),
        ("an order has a limited number of watches", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.query("T", true);
                assert_eq!(w.received(), "order");
            }
            w.query("T", true);
            assert_eq!(w.received(), "full");
            let before = w.replies.len();
            w.charged("T", approved(100));
            assert_eq!(w.replies.len() - before, 1 + WATCHES_MAX);
        }),
        ("a subscriber whose time is over receives nothing, and its place is free", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.query("T", true);
            }
            w.at += 12_001;
            w.query("T", true);
            assert_eq!(w.received(), "order");
            w.charged("T", approved(100));
            assert_eq!((w.received().as_str(), w.replies_to(1).as_str()), ("order, order", ""));
        }),
        ("watches take no place of a call: a repeat, a cancel and a refund receive their ends", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.watch_for_ever("T");
            }
            w.pay("T", WALLET, 100);
            let payer = w.caller;
            w.cancel("T", WALLET, 100);
            w.charged("T", approved(100));
            w.reversed("T", reversed());
            assert_eq!(
                (w.replies_to(payer).as_str(), w.received().as_str()),
                ("order rep, order rep", "order, order, order")
            );
        }),
        ("a repeat when all places of calls are taken gets the order as it is", |w| {
            for _ in 0..CALLS_MAX {
                w.pay("T", WALLET, 100);
            }
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            w.charged("T", approved(100));
            assert_eq!(w.received(), "order rep");
        }),
        ("the caller of a cancel receives the refusal", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.received(), "order, order");
        }),
        ("a watch of an order at rest is answered and not kept", |w| {
            w.paid("T", WALLET, 100);
            w.query("T", true);
            assert_eq!((w.received().as_str(), w.payment("T").subscribers.len()), ("order", 0));
        }),
    ]);
}
