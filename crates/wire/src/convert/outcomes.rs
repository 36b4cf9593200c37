//! What came of tasks.

use twqr_order::{Approval, Came, Decline, DeclineKind, Outcome, Refunded, Reversed, TaskResult};

use super::{
    effects::refund_subject,
    fault::{RecordFault, need},
    ids::{effect_id_from, effect_id_out, key_from, key_out, merchant_trade_no_from},
    movement::{approval_from, approval_out, refunded_from, refunded_out, reversed_from, reversed_out},
};
use crate::bus::{self, outcome::Result as Wire, subject::Subject};

pub(crate) fn outcome_out(outcome: &Outcome) -> bus::Outcome {
    let (subject, result) = match &outcome.came {
        Came::Charge(result) => (None, result_out(result, |approval| Wire::Approved(approval_out(approval)))),
        Came::Refund(number, result) => {
            (Some(refund_subject(number)), result_out(result, |refunded| Wire::Refunded(refunded_out(refunded))))
        }
        Came::Reversal(result) => {
            let subject = bus::Subject { subject: Some(Subject::Reversal(bus::ReversalSubject {})) };
            (Some(subject), result_out(result, |reversed| Wire::Reversed(reversed_out(reversed))))
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
    let came = match outcome.subject.and_then(|subject| subject.subject) {
        None => Came::Charge(charge_result(result)?),
        Some(Subject::Refund(refund)) => {
            Came::Refund(merchant_trade_no_from(refund.merchant_trade_no)?, refund_result(result)?)
        }
        Some(Subject::Reversal(_)) => Came::Reversal(reversal_result(result)?),
    };
    Ok(Outcome { key: key_from(outcome.key)?, task: effect_id_from(outcome.task)?, came })
}

fn result_out<A>(result: &TaskResult<A>, done: impl Fn(&A) -> Wire) -> Wire {
    match result {
        TaskResult::Done(approval) => done(approval),
        TaskResult::Declined(decline) => Wire::Declined(decline_out(decline)),
        TaskResult::NotSent(reason) => Wire::NotSent(bus::NotSent { reason: reason.to_string() }),
        TaskResult::Unknown(reason) => Wire::Unknown(bus::Unknown { reason: reason.to_string() }),
        TaskResult::Absent => Wire::Absent(bus::Absent {}),
    }
}

fn charge_result(result: Wire) -> Result<TaskResult<Approval>, RecordFault> {
    match result {
        Wire::Approved(approval) => Ok(TaskResult::Done(approval_from(approval)?)),
        other @ (Wire::Declined(_)
        | Wire::NotSent(_)
        | Wire::Unknown(_)
        | Wire::Absent(_)
        | Wire::Refunded(_)
        | Wire::Reversed(_)) => without_effect(other),
    }
}

fn refund_result(result: Wire) -> Result<TaskResult<Refunded>, RecordFault> {
    match result {
        Wire::Refunded(refunded) => Ok(TaskResult::Done(refunded_from(refunded))),
        other @ (Wire::Declined(_)
        | Wire::NotSent(_)
        | Wire::Unknown(_)
        | Wire::Absent(_)
        | Wire::Approved(_)
        | Wire::Reversed(_)) => without_effect(other),
    }
}

fn reversal_result(result: Wire) -> Result<TaskResult<Reversed>, RecordFault> {
    match result {
        Wire::Reversed(reversed) => Ok(TaskResult::Done(reversed_from(reversed))),
        other @ (Wire::Declined(_)
        | Wire::NotSent(_)
        | Wire::Unknown(_)
        | Wire::Absent(_)
        | Wire::Approved(_)
        | Wire::Refunded(_)) => without_effect(other),
    }
}

/// What every movement may come to but that it took effect.
fn without_effect<A>(result: Wire) -> Result<TaskResult<A>, RecordFault> {
    Ok(match result {
        Wire::Declined(decline) => TaskResult::Declined(decline_from(decline)?),
        Wire::NotSent(why) => TaskResult::NotSent(why.reason.into()),
        Wire::Unknown(why) => TaskResult::Unknown(why.reason.into()),
        Wire::Absent(_) => TaskResult::Absent,
        Wire::Approved(_) | Wire::Refunded(_) | Wire::Reversed(_) => {
            return Err(RecordFault::Invalid {
                field: "result",
                problem: "is that of another kind of movement".to_owned(),
            });
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
