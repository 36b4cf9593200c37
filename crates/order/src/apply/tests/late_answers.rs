//! Answers that are late, repeated, or against what callers were answered: invariants I3 and I6.

use super::{
    check,
    fixtures::{self, OTHER, WALLET, approved, declined, declined_by, not_sent, refunded_result, reversed, unknown},
    world::{World, key},
};
use crate::{Attention, DeclineKind, Evidence, MovementOutcome, Step, Subject, TaskResult};

#[test]
fn late_and_repeated_results() {
    check(&[
        ("what the issuer said counts, whichever task it answers", |w| {
            for (number, result, expected) in [("T", approved(100), "done"), ("U", declined("928"), "928")] {
                w.pay(number, WALLET, 100);
                w.charged(number, unknown());
                w.at += 6_000;
                w.due(number, 0);
                let first = w.tasks_about(number, &Subject::Charge)[0].id;
                w.outcome(number, first, MovementOutcome::Charge(result));
                assert_eq!(w.charge(number), expected);
            }
        }),
        ("what the issuer did not say counts only for the open task", |w| {
            for (n, result) in [unknown(), not_sent(), TaskResult::Absent].into_iter().enumerate() {
                let number = format!("T{n}");
                w.pay(&number, WALLET, 100);
                w.charged(&number, unknown());
                w.at += 6_000;
                w.due(&number, 0);
                let first = w.tasks_about(&number, &Subject::Charge)[0].id;
                assert_eq!(w.outcome(&number, first, MovementOutcome::Charge(result)), Step::Ignored);
                assert_eq!(w.charge(&number), "open");
            }
        }),
        ("the same result twice changes nothing and sends no reply", |w| {
            w.paid("T", WALLET, 100);
            let before = (w.order("T").cloned(), w.replies.len());
            assert_eq!(w.charged("T", approved(100)), Step::Ignored);
            assert_eq!((w.order("T").cloned(), w.replies.len()), before);
        }),
        ("a refund's result twice refunds once", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.refunded("T", "R", refunded_result(30)), Step::Ignored);
            assert_eq!(w.payment("T").refunded(), 30);
        }),
        ("a failed refund that took effect after all counts as refunded", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", declined("934"));
            assert_eq!(w.refunded("T", "R", refunded_result(30)), Step::Contradicted);
            assert_eq!((w.payment("T").refunded(), w.payment("T").reserved()), (30, 30));
            assert_eq!(w.refunded("T", "R", refunded_result(30)), Step::Ignored);
            w.refund("S", "T", 71);
            assert_eq!(w.refund_state("S"), "922");
        }),
        ("a refusal of an earlier reversal says nothing about this one", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            let first = w.tasks_about("T", &Subject::Reversal)[0].id;
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.cancel("T", OTHER, 100);
            let late = MovementOutcome::Reversal(declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.outcome("T", first, late), Step::Ignored);
            assert_eq!(w.cancelled("T"), "open");
        }),
        ("an earlier reversal that took effect counts", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            let first = w.tasks_about("T", &Subject::Reversal)[0].id;
            w.reversed("T", not_sent());
            w.due_in_time("T");
            assert_eq!(w.outcome("T", first, MovementOutcome::Reversal(reversed())), Step::Cancelled);
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("an outcome about a refund, a cancel or an order that does not exist changes nothing", |w| {
            w.pay("T", WALLET, 100);
            let task = w.tasks[0].id;
            let unknown = key("R").merchant_trade_no;
            assert_eq!(w.outcome("T", task, MovementOutcome::Refund(unknown, refunded_result(1))), Step::Ignored);
            assert_eq!(w.outcome("T", task, MovementOutcome::Reversal(reversed())), Step::Ignored);
            assert_eq!(w.outcome("U", task, MovementOutcome::Charge(approved(100))), Step::Ignored);
            assert!(w.order("U").is_none());
        }),
    ]);
}

#[test]
fn contradictions_are_kept_and_change_no_answer() {
    check(&[
        ("I3: a charge: paid, then declined; failed, then paid", |w| {
            for (number, first, second, expected) in
                [("T", approved(100), declined("928"), "done"), ("U", declined("928"), approved(100), "928")]
            {
                w.pay(number, WALLET, 100);
                w.charged(number, first);
                assert_eq!(w.charged(number, second), Step::Contradicted);
                assert_eq!(w.charge(number), expected);
                assert!(w.payment(number).contradiction.is_some());
            }
        }),
        ("I3: a refund: done, then declined; failed, then done", |w| {
            for (n, first, second, expected) in
                [(0, refunded_result(30), declined("961"), "done"), (1, declined("961"), refunded_result(30), "961")]
            {
                let (number, refund) = (format!("T{n}"), format!("R{n}"));
                w.paid(&number, WALLET, 100);
                w.refund(&refund, &number, 30);
                w.refunded(&number, &refund, first);
                assert_eq!(w.refunded(&number, &refund, second), Step::Contradicted);
                assert_eq!(w.refund_state(&refund), expected);
                assert!(w.payment(&number).contradiction.is_some());
            }
        }),
        ("I3: a reversal: done, then declined", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!(w.reversed("T", declined("812")), Step::Contradicted);
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("I3: a reversal's contradiction is kept and does not change the cancel; repeated, it changes nothing", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            let done = w.payment("T").cancel.clone();
            w.at += 1_000;
            assert_eq!(w.reversed("T", declined("812")), Step::Contradicted);
            assert_eq!(w.reversed("T", declined("812")), Step::Ignored);
            assert_eq!(w.payment("T").cancel, done);
        }),
        ("I3: every contradiction is kept, as long as there is room", |w| {
            w.paid("T", WALLET, 100);
            for n in 0..100 {
                w.charged("T", declined(&format!("{:03}", 100 + n)));
            }
            let kept = w.payment("T").contradiction.clone().unwrap();
            assert!(kept.contains("(100 ") && kept.contains("; ") && kept.len() <= 1_000, "{kept}");
            assert_eq!(w.charged("T", declined("100")), Step::Ignored);
        }),
    ]);
}

#[test]
fn a_failed_charge_that_took_effect_is_reversed() {
    check(&[
        ("I4: automatically, and callers still see it as failed", |w| {
            w.pay("T", OTHER, 100);
            w.charged("T", unknown());
            w.at += 6_000;
            w.due("T", 0);
            w.charged("T", TaskResult::Absent);
            assert_eq!(w.charged("T", approved(100)), Step::Contradicted);
            assert_eq!((w.charge("T").as_str(), w.cancelled("T").as_str()), ("982", "open"));
            assert_eq!(w.sent("T"), "charge:100 ask-charge reverse:100");
            assert_eq!(w.charged("T", approved(100)), Step::Ignored, "once");
            w.reversed("T", reversed());
            assert_eq!((w.charge("T").as_str(), w.cancelled("T").as_str()), ("982", "done"));
            assert!(!w.payment("T").cancel.as_ref().unwrap().is_requested);
            w.refund("R", "T", 1);
            assert_eq!(w.refund_state("R"), "934");
        }),
        ("I4: after a cancel that had found nothing to reverse", |w| {
            w.pay("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.charged("T", declined("928"));
            assert_eq!(w.cancelled("T"), "nothing");
            w.charged("T", approved(100));
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
            assert!(w.payment("T").cancel.as_ref().unwrap().was_answered_as_done);
        }),
        ("I4: a cancel that is requested meanwhile joins", |w| {
            w.pay("T", OTHER, 100);
            w.charged("T", declined("928"));
            w.charged("T", approved(100));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            w.reversed("T", reversed());
            assert_eq!((w.received().as_str(), w.sent("T").as_str()), ("order, order", "charge:100 reverse:100"));
            assert!(w.payment("T").cancel.as_ref().unwrap().is_requested);
        }),
        (
            "I4: after the issuer's refusal another reversal follows by itself, more and more rarely, until one succeeds",
            |w| {
                w.pay("T", OTHER, 100);
                w.charged("T", declined("928"));
                w.charged("T", approved(100));
                let (mut spacing, hour) = (0, 3_600_000);
                for attempt in 1..=12 {
                    assert_eq!(w.reversed("T", declined_by(DeclineKind::Issuer, "0205")), Step::Cancelling);
                    assert_eq!((w.cancelled("T").as_str(), w.order("T").unwrap().is_at_rest()), ("again", false));
                    assert_eq!(w.order("T").unwrap().attention(), Some(Attention::ReversalRefused));
                    let due = w.order("T").unwrap().due_at().expect("an owner and a next check").0 - w.at;
                    assert!(
                        due >= spacing.min(6 * hour) && due <= 8 * hour,
                        "attempt {attempt}: {due} after {spacing} ms"
                    );
                    spacing = due;
                    assert_eq!(w.due_in_time("T"), Step::Inquired);
                    assert_eq!(w.tasks_about("T", &Subject::Reversal).len(), attempt + 1);
                }
                assert!(spacing > hour, "{spacing}");
                w.reversed("T", reversed());
                let order = w.order("T").unwrap();
                assert_eq!((w.cancelled("T").as_str(), order.is_at_rest(), order.attention()), ("done", true, None));
            },
        ),
        ("I4: whatever the evidence of the failure is, another reversal follows", |w| {
            let results =
                [not_sent(), declined_by(DeclineKind::Fisc, "4001"), declined_by(DeclineKind::Issuer, "0205")];
            for (n, result) in results.into_iter().enumerate() {
                let number = format!("T{n}");
                w.pay(&number, OTHER, 100);
                w.charged(&number, declined("928"));
                w.charged(&number, approved(100));
                w.reversed(&number, result);
                w.due_in_time(&number);
                assert_eq!(w.sent(&number), "charge:100 reverse:100 reverse:100");
            }
        }),
        ("I4: after a refusal a cancel sends another reversal", |w| {
            w.pay("T", OTHER, 100);
            w.charged("T", declined("928"));
            w.charged("T", approved(100));
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.cancel("T", OTHER, 100);
            assert_eq!(w.sent("T"), "charge:100 reverse:100 reverse:100");
        }),
    ]);
}

#[test]
fn a_reversal_that_an_earlier_build_gave_up_is_taken_up_again() {
    let mut w = World::new(fixtures::policy_with(|policy| policy.protocol_version = 0));
    w.pay("T", OTHER, 100);
    w.charged("T", declined("928"));
    w.charged("T", approved(100));
    assert_eq!(w.reversed("T", declined_by(DeclineKind::Issuer, "0205")), Step::Failed(Evidence::Declined));
    let order = w.order("T").unwrap();
    assert_eq!((order.is_at_rest(), order.attention()), (true, Some(Attention::ReversalRefused)));
    let later = order.wake_at().expect("it is woken, though it is at rest").0 - w.at;
    assert_eq!(w.due("T", later), Step::Ignored, "version 0 decides as before");
    w.set_policy(fixtures::policy());
    assert_eq!(w.due("T", 0), Step::Cancelling);
    assert_eq!(w.due("T", 0), Step::Ignored, "once");
    w.reversed("T", reversed());
    let order = w.order("T").unwrap();
    assert_eq!((w.cancelled("T").as_str(), order.wake_at(), order.attention()), ("done", None, None));
    w.check_replay();
}

/// T, paid with 100: a refund R failed as absent, the cancel's reversal was not sent and waits for
/// its retry, and then R took effect after all.
fn late_refund_while_reversal_is_retried(w: &mut World, amount: i64) {
    w.paid("T", OTHER, 100);
    w.refund("R", "T", amount);
    let task = w.tasks.last().unwrap().id;
    w.at += 6_000;
    w.due("T", 0);
    w.refunded("T", "R", TaskResult::Absent);
    w.cancel("T", OTHER, 100);
    w.reversed("T", not_sent());
    w.outcome("T", task, MovementOutcome::Refund(key("R").merchant_trade_no, refunded_result(amount)));
}

#[test]
fn movements_that_took_effect_after_all_count() {
    check(&[
        ("I4: a refund, for a reversal that waits for its retry", |w| {
            late_refund_while_reversal_is_retried(w, 40);
            w.due_in_time("T");
            assert!(w.sent("T").ends_with("reverse:60"), "{}", w.sent("T"));
        }),
        (
            "I4: a full refund, for a reversal that waits: there is nothing to reverse, and the caller of the cancel receives that",
            |w| {
                late_refund_while_reversal_is_retried(w, 100);
                let received = w.received();
                assert_eq!(w.due_in_time("T"), Step::Cancelled);
                assert_eq!((w.cancelled("T").as_str(), w.received()), ("nothing", format!("{received}, order")));
            },
        ),
        ("I4: a reversal, for later refunds", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.reversed("T", reversed()), Step::Contradicted);
            w.refund("S", "T", 70);
            assert_eq!((w.refund_state("S").as_str(), w.cancelled("T").as_str()), ("812", "done"));
        }),
        ("I4: an earlier reversal, with the amount that it had", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 40);
            w.refunded("T", "R", refunded_result(40));
            w.cancel("T", OTHER, 100);
            let first = w.tasks_about("T", &Subject::Reversal)[0].id;
            assert_eq!(w.outcome("T", first, MovementOutcome::Reversal(reversed())), Step::Contradicted);
            assert_eq!((w.cancelled("T").as_str(), w.payment("T").cancel.as_ref().unwrap().amount), ("done", 100));
            assert!(w.payment("T").contradiction.as_ref().unwrap().contains("100 TWD"));
        }),
    ]);
}
