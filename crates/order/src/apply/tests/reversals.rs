//! Rules of the reversal that a cancel sends, where the issuer refuses it, does not get it or does
//! not answer (`proto/README.md`, section Cancels).

use super::{
    check,
    fixtures::{self, OTHER, WALLET, declined, declined_by, not_sent, refunded_result, reversed, unknown},
};
use crate::{DeclineKind, Evidence, Step, TaskResult};

#[test]
fn reversals_that_are_refused_not_sent_or_unanswered() {
    check(&[
        ("another issuer may refuse: answered with FISC's reason, and the payment stays paid", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.reversed("T", declined_by(DeclineKind::Fisc, "0205")), Step::Failed(Evidence::Declined));
            assert_eq!((w.received().as_str(), w.cancelled("T").as_str()), ("order, order", "982"));
            assert_eq!(&*w.payment("T").cancel.as_ref().unwrap().refusal().unwrap().status_desc, "0205 why");
        }),
        ("the same Cancel may be repeated after a refusal: another reversal is sent, and takes effect", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Cancelling);
            assert_eq!(w.received(), "order");
            w.reversed("T", reversed());
            assert_eq!(
                (w.cancelled("T").as_str(), w.sent("T").as_str()),
                ("done", "charge:100 reverse:100 reverse:100")
            );
        }),
        ("the same Cancel while the first runs waits for the same answer: one reversal", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            w.reversed("T", reversed());
            assert_eq!(
                (w.received().as_str(), w.sent("T").as_str()),
                ("order rep, order rep", "charge:100 reverse:100")
            );
        }),
        ("the same Cancel after it succeeded: succeeds again", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", reversed());
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            assert_eq!((w.received().as_str(), w.sent("T").as_str()), ("order rep", "charge:100 reverse:100"));
        }),
        ("after a refusal the payment can be refunded, and what remains can be cancelled", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 30);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.cancelled("T"), "waiting");
            w.refunded("T", "R", refunded_result(30));
            assert!(w.sent("T").ends_with("reverse:70"), "{}", w.sent("T"));
        }),
        ("a reversal that was not sent is sent again automatically", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", not_sent()), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.received().as_str()), ("again", "order"));
            assert_eq!(w.due_in_time("T"), Step::Inquired);
            assert_eq!(w.sent("T"), "charge:100 reverse:100 reverse:100");
        }),
        ("the wallet's cancel always succeeds: a reversal that arrived too late is sent again automatically", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", declined("906")), Step::Cancelling);
            assert_eq!(w.cancelled("T"), "again");
            w.due_in_time("T");
            w.reversed("T", reversed());
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("a reversal without a result is inquired about, not sent again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal");
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.received().as_str()), ("done", "order, order"));
        }),
        ("a reversal that is known to be absent is sent again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.reversed("T", TaskResult::Absent), Step::Cancelling);
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal reverse:100");
        }),
        ("an issuer in announced maintenance gets no reversal; it is sent afterwards", |w| {
            w.paid("T", OTHER, 100);
            w.set_policy(fixtures::maintenance(0, 60_000));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("again", "charge:100"));
            assert_eq!(w.due("T", 59_999), Step::Ignored);
            w.due("T", 1);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("an issuer in announced maintenance gets no inquiry about a reversal", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.set_policy(fixtures::maintenance(0, 60_000));
            w.due("T", 5_000);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal");
        }),
    ]);
}
