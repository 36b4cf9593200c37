//! The outcomes of tasks, within the records of `orders`.

use twqr_order::{
    Approval, Decline, DeclineKind, MovementOutcome, Outcome, RefundApproval, ReversalApproval, TaskResult,
};

use super::{
    fault::{RecordFault, need},
    ids::{effect_id_from, effect_id_out, key_from, key_out, merchant_trade_no_from},
    movement::{approval_from, approval_out, refunded_from, refunded_out, reversed_from, reversed_out},
    task_records::refund_subject,
};
use crate::bus::{self, outcome::Result as WireResult, subject::Subject};

pub(crate) fn outcome_out(outcome: &Outcome) -> bus::Outcome {
    let (subject, result) = match &outcome.movement {
        MovementOutcome::Charge(result) => {
            (None, result_out(result, |approval| WireResult::Approved(approval_out(approval))))
        }
        MovementOutcome::Refund(number, result) => {
            (Some(refund_subject(number)), result_out(result, |refunded| WireResult::Refunded(refunded_out(refunded))))
        }
        MovementOutcome::Reversal(result) => {
            let subject = bus::Subject { subject: Some(Subject::Reversal(bus::ReversalSubject {})) };
            (Some(subject), result_out(result, |reversed| WireResult::Reversed(reversed_out(reversed))))
        }
    };
    bus::Outcome {
        key: Some(key_out(&outcome.key)),
        task: Some(effect_id_out(outcome.task)),
        result: Some(result),
        subject,
    }
}

pub(crate) fn outcome_from(outcome: bus::Outcome) -> Result<Outcome, RecordFault> {
    let result = need(outcome.result, "result")?;
    let movement = match outcome.subject.and_then(|subject| subject.subject) {
        None => MovementOutcome::Charge(charge_result(result)?),
        Some(Subject::Refund(refund)) => {
            MovementOutcome::Refund(merchant_trade_no_from(refund.merchant_trade_no)?, refund_result(result)?)
        }
        Some(Subject::Reversal(_)) => MovementOutcome::Reversal(reversal_result(result)?),
    };
    Ok(Outcome { key: key_from(outcome.key)?, task: effect_id_from(outcome.task)?, movement })
}

fn result_out<A>(result: &TaskResult<A>, done: impl Fn(&A) -> WireResult) -> WireResult {
    match result {
        TaskResult::Done(details) => done(details),
        TaskResult::Declined(decline) => WireResult::Declined(decline_out(decline)),
        TaskResult::NotSent(reason) => WireResult::NotSent(bus::NotSent { reason: reason.to_string() }),
        TaskResult::Unknown(reason) => WireResult::Unknown(bus::Unknown { reason: reason.to_string() }),
        TaskResult::Absent => WireResult::Absent(bus::Absent {}),
    }
}

fn charge_result(result: WireResult) -> Result<TaskResult<Approval>, RecordFault> {
    match result {
        WireResult::Approved(approval) => Ok(TaskResult::Done(approval_from(approval)?)),
        other @ (WireResult::Declined(_)
        | WireResult::NotSent(_)
        | WireResult::Unknown(_)
        | WireResult::Absent(_)
        | WireResult::Refunded(_)
        | WireResult::Reversed(_)) => without_effect(other),
    }
}

fn refund_result(result: WireResult) -> Result<TaskResult<RefundApproval>, RecordFault> {
    match result {
        WireResult::Refunded(refunded) => Ok(TaskResult::Done(refunded_from(refunded))),
        other @ (WireResult::Declined(_)
        | WireResult::NotSent(_)
        | WireResult::Unknown(_)
        | WireResult::Absent(_)
        | WireResult::Approved(_)
        | WireResult::Reversed(_)) => without_effect(other),
    }
}

fn reversal_result(result: WireResult) -> Result<TaskResult<ReversalApproval>, RecordFault> {
    match result {
        WireResult::Reversed(reversed) => Ok(TaskResult::Done(reversed_from(reversed))),
        other @ (WireResult::Declined(_)
        | WireResult::NotSent(_)
        | WireResult::Unknown(_)
        | WireResult::Absent(_)
        | WireResult::Approved(_)
        | WireResult::Refunded(_)) => without_effect(other),
    }
}

/// Decodes any result except that the movement took effect. These results are the same for all
/// three kinds of movement.
fn without_effect<A>(result: WireResult) -> Result<TaskResult<A>, RecordFault> {
    Ok(match result {
        WireResult::Declined(decline) => TaskResult::Declined(decline_from(decline)?),
        WireResult::NotSent(why) => TaskResult::NotSent(why.reason.into()),
        WireResult::Unknown(why) => TaskResult::Unknown(why.reason.into()),
        WireResult::Absent(_) => TaskResult::Absent,
        WireResult::Approved(_) | WireResult::Refunded(_) | WireResult::Reversed(_) => {
            return Err(RecordFault::other_movement("result"));
        }
    })
}

fn decline_out(decline: &Decline) -> bus::Decline {
    let kind = match decline.kind {
        DeclineKind::Wallet => bus::decline::Kind::Wallet,
        DeclineKind::Issuer => bus::decline::Kind::Issuer,
        DeclineKind::CardNotSupported => bus::decline::Kind::CardNotSupported,
        DeclineKind::Fisc => bus::decline::Kind::Fisc,
    };
    bus::Decline { kind: kind.into(), code: decline.code.to_string(), reason: decline.reason.to_string() }
}

fn decline_from(decline: bus::Decline) -> Result<Decline, RecordFault> {
    let kind = match decline.kind() {
        bus::decline::Kind::Wallet => DeclineKind::Wallet,
        bus::decline::Kind::Issuer => DeclineKind::Issuer,
        bus::decline::Kind::CardNotSupported => DeclineKind::CardNotSupported,
        bus::decline::Kind::Fisc => DeclineKind::Fisc,
        bus::decline::Kind::Unspecified => return Err(RecordFault::Missing("kind of the decline")),
    };
    Ok(Decline { kind, code: decline.code.into(), reason: decline.reason.into() })
}
