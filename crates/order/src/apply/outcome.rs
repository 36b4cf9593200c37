//! Outcome: what a worker says came of a task. Approved and declined count whichever task they answer, since the issuer said so; not
//! sent, absent and unknown count only for the open task. A StatusCode with which the wallet says that it does not know is unknown.

use super::{Applied, IGNORED, Scene, Step, changed};
use crate::{
    Approval, Decline, DeclineKind, EffectId, Evidence, Outcome, Payment, Phase, Resolution, StatusCodes, TaskResult,
    schedule,
};

pub(super) fn apply(payment: &mut Payment, outcome: &Outcome, mut scene: Scene<'_>) -> Applied {
    if let TaskResult::Declined(decline) = &outcome.result
        && decline.is_ambiguous()
    {
        let result = TaskResult::Unknown(format!("the wallet answered {}", decline.code).into());
        return evident(payment, &Outcome { key: outcome.key.clone(), task: outcome.task, result }, &mut scene);
    }
    evident(payment, outcome, &mut scene)
}

/// Applies an outcome that means what it says.
fn evident(payment: &mut Payment, outcome: &Outcome, scene: &mut Scene<'_>) -> Applied {
    match &payment.phase {
        Phase::Paying { task } | Phase::Asking { task } => {
            let open = *task == outcome.task;
            in_progress(payment, outcome, open, scene)
        }
        Phase::Unresolved { .. } => in_progress(payment, outcome, false, scene),
        Phase::Paid(_) => match &outcome.result {
            TaskResult::Declined(decline) => {
                let text = format!("paid, then declined ({} {})", decline.code, decline.reason);
                contradict(payment, text, scene)
            }
            TaskResult::Approved(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => IGNORED,
        },
        Phase::Failed(failure) => match &outcome.result {
            TaskResult::Approved(approval) => {
                let text = format!(
                    "failed ({:?}, {}), then approved for {} TWD",
                    failure.evidence, failure.status_code, approval.debit_amount
                );
                contradict(payment, text, scene)
            }
            TaskResult::Declined(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => IGNORED,
        },
    }
}

fn in_progress(payment: &mut Payment, outcome: &Outcome, open: bool, scene: &mut Scene<'_>) -> Applied {
    match &outcome.result {
        TaskResult::Approved(approval) => pay(payment, approval, scene),
        TaskResult::Declined(decline) => {
            let (code, desc) = status_of(decline, &codes(scene));
            payment.fail(Evidence::Declined, &code, &desc, scene)
        }
        TaskResult::NotSent(reason) if open => {
            let code = codes(scene).fisc_abnormal;
            payment.fail(Evidence::NotSent, &code, &format!("not sent to the issuer: {reason}"), scene)
        }
        TaskResult::Absent if open => {
            let code = codes(scene).fisc_abnormal;
            payment.fail(Evidence::Absent, &code, "the issuer confirmed that the payment does not exist", scene)
        }
        TaskResult::Unknown(_) if open => unresolved(payment, outcome.task, scene),
        TaskResult::NotSent(_) | TaskResult::Absent | TaskResult::Unknown(_) => IGNORED,
    }
}

fn pay(payment: &mut Payment, approval: &Approval, scene: &mut Scene<'_>) -> Applied {
    if !approval.adds_up(payment.terms.trade_amount) {
        let text = format!(
            "approved with amounts that do not add up: trade {}, redeemed {} and {}, debit {}",
            payment.terms.trade_amount.twd(),
            approval.redeem_amount,
            approval.store_redeem_amount,
            approval.debit_amount
        );
        payment.contradiction = Some(text.into());
    }
    payment.enter(Phase::Paid(Box::new(approval.clone())), scene);
    changed(Step::Paid)
}

/// The first time, those who wait learn the number under which they can ask; after an inquiry nothing has changed for them.
fn unresolved(payment: &mut Payment, task: EffectId, scene: &mut Scene<'_>) -> Applied {
    let rules = match (scene.policy, payment.issuer) {
        (Some(policy), Some(issuer)) => policy.resolution(issuer),
        _ => Resolution::DEFAULT,
    };
    let was_asking = payment.phase == Phase::Asking { task };
    let next_check = schedule::next_check(scene.at, payment.inquiries, payment.trade_no, payment.absent_after, rules);
    let phase = Phase::Unresolved { next_check };
    if was_asking {
        payment.phase = phase;
        payment.changed_at = scene.at;
    } else {
        payment.enter(phase, scene);
    }
    changed(Step::Unresolved)
}

/// The final state stays what callers were told; that the issuer says otherwise is kept for an operator.
fn contradict(payment: &mut Payment, text: String, scene: &Scene<'_>) -> Applied {
    if payment.contradiction.is_some() {
        return IGNORED;
    }
    payment.contradiction = Some(text.into());
    payment.changed_at = scene.at;
    changed(Step::Contradicted)
}

fn codes(scene: &Scene<'_>) -> StatusCodes {
    scene.policy.map_or_else(StatusCodes::default, |policy| policy.status_codes.clone())
}

/// StatusCode and StatusDesc of a refusal (POS API, section 3).
fn status_of(decline: &Decline, codes: &StatusCodes) -> (String, String) {
    let three_digits = decline.code.len() == 3 && decline.code.bytes().all(|b| b.is_ascii_digit());
    match decline.kind {
        DeclineKind::Wallet if three_digits && &*decline.code != "000" => {
            (decline.code.to_string(), decline.reason.to_string())
        }
        DeclineKind::Wallet | DeclineKind::Issuer => {
            (codes.issuer_declined.clone(), format!("{} {}", decline.code, decline.reason))
        }
        DeclineKind::CardNotSupported => (codes.card_not_supported.clone(), decline.reason.to_string()),
        DeclineKind::Fisc => (codes.fisc_abnormal.clone(), format!("{} {}", decline.code, decline.reason)),
    }
}
