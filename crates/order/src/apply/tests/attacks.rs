//! Attacks on the machine: attempts to refund money twice, to fail a payment without evidence, or
//! to leave an order in progress for ever.

use super::{
    check,
    fixtures::{OTHER, WALLET, approved, declined_by, not_sent, refunded_result, reversed, unknown},
    world::key,
};
use crate::{DeclineKind, Evidence, MovementOutcome, Step, Subject, TaskResult};

#[test]
fn failures_need_evidence() {
    check(&[
        ("I6: an inquiry that was not sent proves nothing about the charge", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.charged("T", not_sent()), Step::Unresolved);
            assert_eq!(w.charge("T"), "open");
            w.due_in_time("T");
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
        }),
        ("I6: an inquiry that was not sent proves nothing about a reversal: no second one is sent", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            w.reversed("T", not_sent());
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal ask-reversal");
        }),
        ("I6: absence within the window proves nothing: the charge may still arrive", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.due_in_time("T");
            assert!(w.at <= w.payment("T").charge.absent_after.0);
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Unresolved);
            assert_eq!(w.charge("T"), "open");
        }),
        ("I6: one clock alone proves no absence: the worker's may be ahead of the one that caused the inquiry", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.due_in_time("T");
            w.at = w.payment("T").charge.absent_after.0 + 1;
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Unresolved);
            w.due_in_time("T");
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Failed(Evidence::Absent));
        }),
        ("I6: nor does the worker's clock alone, when it inquires about a charge that it may have sent", |w| {
            w.pay("T", WALLET, 100);
            w.at = w.payment("T").charge.absent_after.0 + 1;
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Unresolved);
            w.due_in_time("T");
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Failed(Evidence::Absent));
        }),
        ("I6: an inquiry may find the refusal of an earlier reversal, which is not this one's", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.cancel("T", OTHER, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            let until = w.payment("T").cancel.as_ref().unwrap().due_at().unwrap();
            assert!(w.at < until.0);
            assert_eq!(w.reversed("T", declined_by(DeclineKind::Issuer, "0205")), Step::Unresolved);
            assert_eq!(w.cancelled("T"), "open", "the second reversal may still arrive");
            w.refund("R", "T", 100);
            assert_eq!(w.refund_state("R"), "934");
        }),
        ("once no reversal can arrive any more, the issuer's refusal counts", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.cancel("T", OTHER, 100);
            w.reversed("T", unknown());
            w.at += 6_000;
            w.due("T", 0);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.cancelled("T"), "983");
        }),
    ]);
}

#[test]
fn money_is_never_returned_twice() {
    check(&[
        (
            "I4: a reversal that took effect after its refusal did take the payment back: nothing is refunded on top",
            |w| {
                w.paid("T", OTHER, 100);
                w.cancel("T", OTHER, 100);
                w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
                assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
                assert_eq!(w.cancelled("T"), "done");
                w.refund("R", "T", 100);
                assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("812", "charge:100 reverse:100"));
            },
        ),
        ("I4: a reversal that took effect while its retry waits: no other one is sent", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", not_sent());
            assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.received().as_str()), ("done", "order, order"));
            assert_eq!(w.due("T", 600_000), Step::Ignored);
        }),
        ("I4: a reversal that took effect after its refusal and a refund: an operator must look", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 30);
            assert_eq!(w.reversed("T", reversed()), Step::Contradicted);
            assert_eq!((w.cancelled("T").as_str(), w.refund_state("R").as_str()), ("done", "open"));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            w.refunded("T", "R", refunded_result(30));
            assert!(w.payment("T").contradiction.is_some());
        }),
        ("I4: a refused reversal that took effect while a new cancel waits for a refund: an operator must look", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 100);
            w.cancel("T", OTHER, 100);
            let first = w.tasks_about("T", &Subject::Reversal)[0].id;
            assert_eq!(w.outcome("T", first, MovementOutcome::Reversal(reversed())), Step::Contradicted);
            w.refunded("T", "R", refunded_result(100));
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("I4: a refund whose record is late meets the cancel, not the payment as it was", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 100);
            w.cancel("T", WALLET, 100);
            w.settle_forwards();
            w.reversed("T", reversed());
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("934", "charge:100 reverse:100"));
        }),
        ("I4: a late result of one refund never ends another one", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            let first =
                w.tasks_about("T", &w.tasks.last().map(|task| super::vocabulary::subject_of(&task.kind)).unwrap());
            let task = first[0].id;
            w.refunded("T", "R", not_sent());
            w.refund("S", "T", 60);
            let late = MovementOutcome::Refund(key("S").merchant_trade_no, not_sent());
            assert_eq!(w.outcome("T", task, late), Step::Ignored);
            assert_eq!(w.refund_state("S"), "open");
        }),
    ]);
}

#[test]
fn no_order_stays_in_progress_for_ever() {
    check(&[
        ("916: the TradeNo is a refund's, not a payment's", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refund_number("S", w.refund_order("R").trade_no, 10);
            w.settle_forwards();
            assert_eq!((w.refund_state("S").as_str(), w.refund_state("R").as_str()), ("916", "open"));
            assert_eq!(w.received(), "order, order");
        }),
        ("I2: an inquiry without an outcome is repeated, for refunds and reversals, too", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.due_in_time("T");
            w.due_in_time("T");
            w.refunded("T", "R", refunded_result(30));
            w.cancel("T", WALLET, 100);
            w.due_in_time("T");
            w.due_in_time("T");
            let sent = "charge:100 refund:R:30 ask-refund:R ask-refund:R reverse:70 ask-reversal ask-reversal";
            assert_eq!(w.sent("T"), sent);
        }),
        ("I2: one record sends an inquiry about everything that is due", |w| {
            w.paid("T", WALLET, 100);
            for refund in ["R", "S", "U"] {
                w.refund(refund, "T", 30);
            }
            w.due("T", 6_000);
            assert!(w.sent("T").ends_with("ask-refund:R ask-refund:S ask-refund:U"), "{}", w.sent("T"));
        }),
        ("I2: a clock that stops or goes back stops no order", |w| {
            w.pay("T", WALLET, 100);
            w.at -= 3_600_000;
            w.charged("T", unknown());
            assert_eq!(w.due_in_time("T"), Step::Inquired);
            w.at -= 3_600_000;
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.refund_state("R"), "done");
        }),
        ("I2: the end of time overflows nothing", |w| {
            w.at = i64::MAX - 1;
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.due("T", 1);
            w.charged("T", approved(100));
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            w.cancel("T", WALLET, 100);
            w.reversed("T", not_sent());
            assert_eq!(w.cancelled("T"), "again");
        }),
        ("the largest amount, in parts and in full, overflows nothing", |w| {
            let most = i64::from(i32::MAX);
            w.paid("T", WALLET, most);
            w.refund("R", "T", most);
            w.refund("S", "T", 1);
            w.refunded("T", "R", refunded_result(i64::MAX));
            assert_eq!((w.refund_state("R").as_str(), w.refund_state("S").as_str()), ("done", "922"));
            assert!(w.payment("T").contradiction.is_some(), "amounts that do not add up");
        }),
    ]);
}
