//! Attacks on the machine: what would give money back twice, call a payment failed without
//! evidence, or leave an order waiting for ever.

use super::{
    check,
    given::{OTHER, WALLET, approved, declined_by, given_back, not_sent, reversed, unknown},
    world::key,
};
use crate::{DeclineKind, MovementOutcome, Step, Subject, TaskResult};

#[test]
fn evidence_that_is_none() {
    check(&[
        ("I6 an inquiry that was not sent proves nothing about the charge", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.charged("T", not_sent()), Step::Unresolved);
            assert_eq!(w.charge("T"), "open");
            w.due_in_time("T");
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
        }),
        ("I6 an inquiry that was not sent proves nothing about a reversal: no second one goes out", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            w.reversed("T", not_sent());
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal ask-reversal");
        }),
        ("I6 absent within the window proves nothing: the charge may still land", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.due_in_time("T");
            assert!(w.at <= w.payment("T").charge.absent_after.0);
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Unresolved);
            assert_eq!(w.charge("T"), "open");
        }),
        ("I6 the refusal of an earlier reversal, found by an inquiry about this one, is not this one's", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.cancel("T", OTHER, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            let until = w.payment("T").cancel.as_ref().unwrap().due_at().unwrap();
            assert!(w.at < until.0);
            assert_eq!(w.reversed("T", declined_by(DeclineKind::Issuer, "0205")), Step::Unresolved);
            assert_eq!(w.cancelled("T"), "open", "the second reversal may still land");
            w.refund("R", "T", 100);
            assert_eq!(w.told_refund("R"), "934");
        }),
        ("4 once no reversal can land any more, the issuer's refusal is the answer", |w| {
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
fn money_that_would_go_back_twice() {
    check(&[
        (
            "I4 a reversal that took effect after its refusal did take the payment back: nothing is refunded on top",
            |w| {
                w.paid("T", OTHER, 100);
                w.cancel("T", OTHER, 100);
                w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
                assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
                assert_eq!(w.cancelled("T"), "done");
                w.refund("R", "T", 100);
                assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("812", "charge:100 reverse:100"));
            },
        ),
        ("I4 a reversal that took effect while another one waits: no other one goes out", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", not_sent());
            assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.told().as_str()), ("done", "order, order"));
            assert_eq!(w.due("T", 600_000), Step::Ignored);
        }),
        ("I4 a reversal that took effect after its refusal and a refund: an operator must look", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 30);
            assert_eq!(w.reversed("T", reversed()), Step::Contradicted);
            assert_eq!((w.cancelled("T").as_str(), w.told_refund("R").as_str()), ("done", "open"));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            w.refunded("T", "R", given_back(30));
            assert!(w.payment("T").contradiction.is_some());
        }),
        ("I4 a refused reversal that took effect while a new cancel waits for a refund: an operator must look", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 100);
            w.cancel("T", OTHER, 100);
            let first = w.tasks_about("T", &Subject::Reversal)[0].id;
            assert_eq!(w.outcome("T", first, MovementOutcome::Reversal(reversed())), Step::Contradicted);
            w.refunded("T", "R", given_back(100));
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("I4 a refund whose record is late meets the cancel, not the payment as it was", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 100);
            w.cancel("T", WALLET, 100);
            w.settle_forwards();
            w.reversed("T", reversed());
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("934", "charge:100 reverse:100"));
        }),
        ("I4 a stale answer of one refund never ends another one", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            let first = w.tasks_about("T", &w.tasks.last().map(|task| super::script::subject_of(&task.kind)).unwrap());
            let task = first[0].id;
            w.refunded("T", "R", not_sent());
            w.refund("S", "T", 60);
            let late = MovementOutcome::Refund(key("S").merchant_trade_no, not_sent());
            assert_eq!(w.outcome("T", task, late), Step::Ignored);
            assert_eq!(w.told_refund("S"), "open");
        }),
    ]);
}

#[test]
fn orders_that_would_wait_for_ever() {
    check(&[
        ("3 916: the TradeNo is a refund's, not a payment's", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refund_number("S", w.refund_order("R").trade_no, 10);
            w.settle_forwards();
            assert_eq!((w.told_refund("S").as_str(), w.told_refund("R").as_str()), ("916", "open"));
            assert_eq!(w.told(), "order, order");
        }),
        ("I2 an inquiry whose owner is gone is sent again, for refunds and reversals, too", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.due_in_time("T");
            w.due_in_time("T");
            w.refunded("T", "R", given_back(30));
            w.cancel("T", WALLET, 100);
            w.due_in_time("T");
            w.due_in_time("T");
            let sent = "charge:100 refund:R:30 ask-refund:R ask-refund:R reverse:70 ask-reversal ask-reversal";
            assert_eq!(w.sent("T"), sent);
        }),
        ("I2 everything that is due is asked about by one record", |w| {
            w.paid("T", WALLET, 100);
            for refund in ["R", "S", "U"] {
                w.refund(refund, "T", 30);
            }
            w.due("T", 6_000);
            assert!(w.sent("T").ends_with("ask-refund:R ask-refund:S ask-refund:U"), "{}", w.sent("T"));
        }),
        ("I2 a clock that stands still, or goes back, stops nothing", |w| {
            w.pay("T", WALLET, 100);
            w.at -= 3_600_000;
            w.charged("T", unknown());
            assert_eq!(w.due_in_time("T"), Step::Inquired);
            w.at -= 3_600_000;
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.told_refund("R"), "done");
        }),
        ("I2 the end of time overflows nothing", |w| {
            w.at = i64::MAX - 1;
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.due("T", 1);
            w.charged("T", approved(100));
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            w.cancel("T", WALLET, 100);
            w.reversed("T", not_sent());
            assert_eq!(w.cancelled("T"), "again");
        }),
        ("2 the largest amount, in parts and as a whole, overflows nothing", |w| {
            let most = i64::from(i32::MAX);
            w.paid("T", WALLET, most);
            w.refund("R", "T", most);
            w.refund("S", "T", 1);
            w.refunded("T", "R", given_back(i64::MAX));
            assert_eq!((w.told_refund("R").as_str(), w.told_refund("S").as_str()), ("done", "922"));
            assert!(w.payment("T").contradiction.is_some(), "amounts that do not add up");
        }),
    ]);
}
