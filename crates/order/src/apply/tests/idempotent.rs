//! Movements at an issuer that the policy calls idempotent: their tasks may be sent by several
//! workers, so "not sent" proves nothing.

use super::{
    World, check,
    fixtures::{
        OTHER, WALLET, approved, declined, declined_by, not_sent, other, policy, policy_with, refunded_result,
        reversed, unknown,
    },
};
use crate::{DeclineKind, Evidence, MovementOutcome, Policy, Step, Subject, TaskResult};

/// The policy that calls every issuer idempotent, or none.
fn idempotent(charges: bool, refunds: bool) -> Policy {
    policy_with(|policy| {
        for rules in &mut policy.issuers {
            (rules.idempotent_charges, rules.idempotent_refunds) = (charges, refunds);
        }
    })
}

/// Whether each task and movement of the payment is idempotent: its charge, refunds and reversal.
fn marks(w: &World, number: &str) -> Vec<bool> {
    let payment = w.payment(number);
    let movements = [payment.charge.is_idempotent].into_iter();
    let movements = movements.chain(payment.refunds.iter().map(|entry| entry.refund.is_idempotent));
    let moves = |task: &&crate::Task| !matches!(task.kind, crate::TaskKind::Inquire(_));
    let tasks = w.tasks.iter().filter(|task| task.key == payment.key).filter(moves).map(|task| task.is_idempotent);
    movements.chain(tasks).collect()
}

#[test]
fn the_policy_of_the_cause_decides_whether_a_movement_is_idempotent() {
    check(&[
        ("charges and refunds have rules of their own, and a reversal is never idempotent", |w| {
            for (n, (charges, refunds)) in [(false, true), (true, false), (true, true)].into_iter().enumerate() {
                let (number, refund) = (format!("T{n}"), format!("R{n}"));
                w.set_policy(idempotent(charges, refunds));
                w.paid(&number, WALLET, 100);
                w.refund(&refund, &number, 30);
                w.refunded(&number, &refund, refunded_result(30));
                w.cancel(&number, WALLET, 100);
                assert_eq!(marks(w, &number), [charges, refunds, charges, refunds, false]);
            }
        }),
        ("no issuer is idempotent unless the policy says so", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(marks(w, "T"), [false; 4]);
        }),
        ("before protocol version 1 no movement is idempotent", |w| {
            *w = World::new(Policy { protocol_version: 0, ..idempotent(true, true) });
            w.pay("T", WALLET, 100);
            assert_eq!(marks(w, "T"), [false; 2]);
            assert_eq!(w.charged("T", not_sent()), Step::Failed(Evidence::NotSent));
        }),
        ("switched on while a task is open: the task is not idempotent, and not sent is evidence", |w| {
            w.pay("T", WALLET, 100);
            w.set_policy(idempotent(true, true));
            assert_eq!(marks(w, "T"), [false; 2]);
            assert_eq!(w.charged("T", not_sent()), Step::Failed(Evidence::NotSent));
        }),
        ("switched off while a task is open: the task stays idempotent, and not sent is unknown", |w| {
            w.set_policy(idempotent(true, true));
            w.pay("T", WALLET, 100);
            w.set_policy(policy());
            assert_eq!(w.charged("T", not_sent()), Step::Unresolved);
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
        }),
        ("an inquiry is not sent again", |w| {
            w.set_policy(idempotent(true, true));
            w.pay("T", WALLET, 100);
            w.due("T", 5_000);
            let tasks = w.tasks_about("T", &Subject::Charge);
            assert_eq!(tasks.iter().map(|task| task.is_idempotent).collect::<Vec<_>>(), [true, false]);
        }),
    ]);
}

#[test]
fn not_sent_proves_nothing_about_an_idempotent_movement() {
    check(&[
        ("I6: a charge that one worker did not send, and another one did", |w| {
            w.set_policy(idempotent(true, true));
            w.pay("T", OTHER, 100);
            assert_eq!(w.charged("T", not_sent()), Step::Unresolved);
            assert_eq!((w.charge("T").as_str(), w.received().as_str()), ("open", "order"));
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
            assert_eq!(w.payment("T").contradiction, None);
        }),
        ("I6: the same for a refund", |w| {
            w.set_policy(idempotent(true, true));
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refunded("T", "R", not_sent()), Step::Unresolved);
            assert_eq!(w.refunded("T", "R", refunded_result(30)), Step::Refunded);
        }),
        ("a charge that was never sent fails once its absence is confirmed after the window", |w| {
            w.set_policy(idempotent(true, true));
            w.pay("T", WALLET, 100);
            w.charged("T", not_sent());
            while w.at <= w.payment("T").charge.absent_after.0 {
                assert_eq!(w.due_in_time("T"), Step::Inquired);
                assert_eq!(w.charged("T", unknown()), Step::Unresolved);
            }
            w.due_in_time("T");
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Failed(Evidence::Absent));
        }),
        ("a reversal that was not sent is tried again as for other issuers", |w| {
            w.set_policy(idempotent(true, true));
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", not_sent()), Step::Cancelling);
        }),
    ]);
}

/// A payment of this code that is paid and then reversed.
fn reversed_payment(w: &mut World, code: &str) {
    w.paid("T", code, 100);
    w.cancel("T", code, 100);
    w.reversed("T", reversed());
}

/// What the issuer answers to the charge, sent again after its reversal.
fn answer_repeat(w: &mut World, result: TaskResult<crate::Approval>) -> Step {
    let charge = w.tasks_about("T", &Subject::Charge)[0].id;
    w.outcome("T", charge, MovementOutcome::Charge(result))
}

#[test]
fn a_charge_that_is_sent_again_after_its_reversal_contradicts_nothing() {
    check(&[
        ("the wallet answers 812, or its first answer", |w| {
            w.set_policy(idempotent(true, true));
            reversed_payment(w, WALLET);
            assert_eq!(answer_repeat(w, declined("812")), Step::Ignored);
            assert_eq!(answer_repeat(w, approved(100)), Step::Ignored);
            assert_eq!((w.charge("T"), w.cancelled("T")), ("done".into(), "done".into()));
            assert_eq!(w.payment("T").contradiction, None);
        }),
        ("another issuer answers with the code that the policy calls 812", |w| {
            w.set_policy(policy_with(|policy| {
                let rules = &mut policy.issuers[1];
                assert_eq!(rules.issuer, other());
                rules.idempotent_charges = true;
                rules.status_codes.insert("R812".into(), twqr_types::StatusCode::CANCELLED);
            }));
            reversed_payment(w, OTHER);
            assert_eq!(answer_repeat(w, declined_by(DeclineKind::Issuer, "R812")), Step::Ignored);
            assert_eq!(answer_repeat(w, declined_by(DeclineKind::Issuer, "0205")), Step::Contradicted);
        }),
        ("812 while the reversal has no outcome yet", |w| {
            w.set_policy(idempotent(true, true));
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(answer_repeat(w, declined("812")), Step::Ignored);
            assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
        }),
        ("812 without a reversal of ours, and any other refusal, are contradictions", |w| {
            w.set_policy(idempotent(true, true));
            w.paid("T", WALLET, 100);
            assert_eq!(answer_repeat(w, declined("812")), Step::Contradicted);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!(answer_repeat(w, declined("928")), Step::Contradicted);
        }),
        ("812 about a charge that was sent once is a contradiction", |w| {
            reversed_payment(w, WALLET);
            assert_eq!(answer_repeat(w, declined("812")), Step::Contradicted);
        }),
        ("the machine's own reversal of a charge that took effect after all", |w| {
            w.set_policy(idempotent(true, true));
            w.pay("T", WALLET, 100);
            w.due("T", 6_000);
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Failed(Evidence::Absent));
            assert_eq!(answer_repeat(w, approved(100)), Step::Contradicted);
            let before = w.payment("T").contradiction.clone();
            w.reversed("T", reversed());
            assert_eq!(answer_repeat(w, declined("812")), Step::Ignored);
            assert_eq!(answer_repeat(w, approved(100)), Step::Ignored);
            assert_eq!((w.cancelled("T"), w.payment("T").contradiction.clone()), ("done".into(), before));
        }),
    ]);
}
