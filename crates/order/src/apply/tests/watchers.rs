//! Queries and those who wait: POS API, section 4, and invariant I5.

use super::{
    check,
    given::{OTHER, WALLET, approved, declined_by, given_back, reversed, unknown},
};
use crate::{CALLS_MAX, DeclineKind, Step, WATCHES_MAX};

#[test]
fn queries_and_watchers() {
    check(&[
        ("4 a Query finds what was accepted, from that moment; before, nothing", |w| {
            w.query("T", false);
            assert_eq!(w.told(), "not found");
            w.pay("T", WALLET, 100);
            assert_eq!(w.query("T", false), Step::Queried);
            assert_eq!(w.told(), "order");
        }),
        ("4 a Query finds a refund under its own number, and a cancel before its payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.query("R", false);
            assert_eq!(w.told(), "order");
            w.cancel("C", WALLET, 100);
            w.query("C", true);
            assert_eq!(w.told(), "order");
        }),
        ("4 a Query changes nothing; a watch hears every change until all is at rest", |w| {
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
                (w.told_to(queried).as_str(), w.told_to(watches).as_str()),
                ("order", "order, order, order, order, order")
            );
            assert!(w.payment("T").subscribers.is_empty());
        }),
        ("7 whoever keeps watching hears refunds, cancels and contradictions after the end", |w| {
            w.paid("T", OTHER, 100);
            w.keep_watching("T");
            let watches = w.caller;
            w.charged("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.told_to(watches), "order, order", "the contradiction");
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.told_to(watches), "order, order, order, order", "the refund begins and ends");
            w.cancel("T", OTHER, 100);
            w.reversed("T", reversed());
            assert_eq!(w.told_to(watches), "order, order, order, order, order, order", "the cancel, too");
            w.query("T", true);
            assert_eq!(w.told(), "order", "who does not keep watching is told once");
        }),
        ("4 who waits for a payment's result hears no more once it is there", |w| {
            w.pay("T", WALLET, 100);
            let payer = w.caller;
            w.cancel("T", WALLET, 100);
            w.charged("T", approved(100));
            w.reversed("T", reversed());
            assert_eq!(w.told_to(payer), "order");
        }),
        ("4 a watch of a refund hears its end", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.query("R", true);
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.told(), "order, order");
        }),
        ("4 so many watch an order, and not one more", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.query("T", true);
                assert_eq!(w.told(), "order");
            }
            w.query("T", true);
            assert_eq!(w.told(), "full");
            let before = w.replies.len();
            w.charged("T", approved(100));
            assert_eq!(w.replies.len() - before, 1 + WATCHES_MAX);
        }),
        ("4 nobody is told after the time until which it waits, and its place is free", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.query("T", true);
            }
            w.at += 12_001;
            w.query("T", true);
            assert_eq!(w.told(), "order");
            w.charged("T", approved(100));
            assert_eq!((w.told().as_str(), w.told_to(1).as_str()), ("order, order", ""));
        }),
        ("4 those who watch take no place of a call: a repeat, a cancel and a refund hear their ends", |w| {
            w.pay("T", WALLET, 100);
            for _ in 0..WATCHES_MAX {
                w.keep_watching("T");
            }
            w.pay("T", WALLET, 100);
            let payer = w.caller;
            w.cancel("T", WALLET, 100);
            w.charged("T", approved(100));
            w.reversed("T", reversed());
            assert_eq!((w.told_to(payer).as_str(), w.told().as_str()), ("order rep, order rep", "order, order, order"));
        }),
        ("4 a repeat when all places of calls are taken gets the order as it is", |w| {
            for _ in 0..CALLS_MAX {
                w.pay("T", WALLET, 100);
            }
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            w.charged("T", approved(100));
            assert_eq!(w.told(), "order rep");
        }),
        ("4 who cancels hears the refusal", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.told(), "order, order");
        }),
        ("4 a watch of what is at rest is answered and not kept", |w| {
            w.paid("T", WALLET, 100);
            w.query("T", true);
            assert_eq!((w.told().as_str(), w.payment("T").subscribers.len()), ("order", 0));
        }),
    ]);
}
