//! Converts a backend's answer into the outcome of the movement that it is about. An answer that
//! cannot be used leaves the outcome unknown; it never makes the movement fail.

use twqr_order::{Decline, MovementOutcome, Subject, TaskResult};
use twqr_wire::convert::BackendAnswer;

use crate::call::Purpose;

/// The outcome of a movement that did not take effect, or of which it is unknown whether it did.
#[derive(Clone, Debug)]
enum NoEffect {
    Declined(Decline),
    NotSent(Box<str>),
    Unknown(Box<str>),
    Absent,
}

impl<A> From<NoEffect> for TaskResult<A> {
    fn from(result: NoEffect) -> Self {
        match result {
            NoEffect::Declined(decline) => Self::Declined(decline),
            NoEffect::NotSent(why) => Self::NotSent(why),
            NoEffect::Unknown(why) => Self::Unknown(why),
            NoEffect::Absent => Self::Absent,
        }
    }
}

impl NoEffect {
    fn unknown(why: &str) -> Self {
        Self::Unknown(why.into())
    }

    fn of(self, subject: &Subject) -> MovementOutcome {
        match subject {
            Subject::Charge => MovementOutcome::Charge(self.into()),
            Subject::Refund { number, .. } => MovementOutcome::Refund(number.clone(), self.into()),
            Subject::Reversal => MovementOutcome::Reversal(self.into()),
        }
    }
}

/// The outcome of a movement that was never handed to the transport.
pub(crate) fn not_sent(why: &str, subject: &Subject) -> MovementOutcome {
    NoEffect::NotSent(why.into()).of(subject)
}

/// The outcome of a movement that may or may not have happened.
pub(crate) fn unknown(why: &str, subject: &Subject) -> MovementOutcome {
    NoEffect::unknown(why).of(subject)
}

/// The outcome of the movement by the answer to a call about it.
pub(crate) fn outcome(answer: BackendAnswer, purpose: Purpose, subject: &Subject) -> MovementOutcome {
    let no_effect = match (answer, subject) {
        (BackendAnswer::Approved(approval), Subject::Charge) => {
            return MovementOutcome::Charge(TaskResult::Done(*approval));
        }
        (BackendAnswer::Refunded(refunded), Subject::Refund { number, .. }) => {
            return MovementOutcome::Refund(number.clone(), TaskResult::Done(refunded));
        }
        (BackendAnswer::Reversed(reversed), Subject::Reversal) => {
            return MovementOutcome::Reversal(TaskResult::Done(reversed));
        }
        (BackendAnswer::Approved(_) | BackendAnswer::Refunded(_) | BackendAnswer::Reversed(_), _) => {
            NoEffect::unknown("the answer is about another kind of movement")
        }
        // A payment's reversals share one number at the issuer. So the refusal may belong to an
        // earlier reversal, while the one that is inquired about is still on its way.
        (BackendAnswer::Declined(_), Subject::Reversal) if purpose == (Purpose::Inquiry { proves_absence: false }) => {
            NoEffect::unknown("the issuer refused a reversal: this one or an earlier one")
        }
        (BackendAnswer::Declined(decline), _) => NoEffect::Declined(decline),
        (BackendAnswer::TradeUnknown, _) => match purpose {
            Purpose::Inquiry { proves_absence: true } => NoEffect::Absent,
            Purpose::Inquiry { proves_absence: false } | Purpose::Transfer => {
                NoEffect::unknown("the issuer does not know it yet")
            }
        },
        (BackendAnswer::Undecided, _) => NoEffect::unknown("the issuer has not decided"),
        (BackendAnswer::Malformed(why), _) => NoEffect::Unknown(why.into()),
    };
    no_effect.of(subject)
}

/// Whether an answer shows that the issuer works. One that decides nothing does not: an issuer that
/// is out of order may give it to every call.
pub(crate) fn decides(answer: &BackendAnswer) -> bool {
    match answer {
        BackendAnswer::Approved(_)
        | BackendAnswer::Refunded(_)
        | BackendAnswer::Reversed(_)
        | BackendAnswer::TradeUnknown => true,
        BackendAnswer::Declined(decline) => !decline.is_ambiguous(),
        BackendAnswer::Undecided | BackendAnswer::Malformed(_) => false,
    }
}

/// Whether the movement took effect; `None` if the outcome does not say.
pub(crate) fn took_effect(movement: &MovementOutcome) -> Option<bool> {
    fn took_effect<A>(result: &TaskResult<A>) -> Option<bool> {
        match result {
            TaskResult::Done(_) => Some(true),
            TaskResult::Declined(_) => Some(false),
            TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => None,
        }
    }
    match movement {
        MovementOutcome::Charge(result) => took_effect(result),
        MovementOutcome::Refund(_, result) => took_effect(result),
        MovementOutcome::Reversal(result) => took_effect(result),
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{DeclineKind, ReversalApproval};

    use super::*;

    #[test]
    fn an_inquiry_that_finds_a_refused_reversal_proves_the_refusal_only_when_it_is_late() {
        let refused =
            || BackendAnswer::Declined(Decline { kind: DeclineKind::Issuer, code: "V051".into(), reason: "".into() });
        for (purpose, counts) in [
            (Purpose::Transfer, true),
            (Purpose::Inquiry { proves_absence: false }, false),
            (Purpose::Inquiry { proves_absence: true }, true),
        ] {
            let MovementOutcome::Reversal(result) = outcome(refused(), purpose, &Subject::Reversal) else {
                unreachable!()
            };
            assert_eq!(matches!(result, TaskResult::Declined(_)), counts, "{purpose:?}: {result:?}");
            let MovementOutcome::Charge(result) = outcome(refused(), purpose, &Subject::Charge) else { unreachable!() };
            assert!(matches!(result, TaskResult::Declined(_)), "a charge is sent once: {purpose:?}");
        }
    }

    #[test]
    fn an_answer_about_another_kind_of_movement_leaves_the_outcome_unknown() {
        let reversed = || BackendAnswer::Reversed(ReversalApproval { issuer_trade_no: "".into() });
        let of_charge = outcome(reversed(), Purpose::Transfer, &Subject::Charge);
        assert!(matches!(of_charge, MovementOutcome::Charge(TaskResult::Unknown(_))));
        let of_reversal = outcome(reversed(), Purpose::Transfer, &Subject::Reversal);
        assert!(matches!(of_reversal, MovementOutcome::Reversal(TaskResult::Done(_))));
    }

    #[test]
    fn absence_is_proven_only_by_a_late_inquiry() {
        for (purpose, is_absent) in [
            (Purpose::Transfer, false),
            (Purpose::Inquiry { proves_absence: false }, false),
            (Purpose::Inquiry { proves_absence: true }, true),
        ] {
            let MovementOutcome::Charge(result) = outcome(BackendAnswer::TradeUnknown, purpose, &Subject::Charge)
            else {
                unreachable!()
            };
            assert_eq!(matches!(result, TaskResult::Absent), is_absent, "{purpose:?}");
        }
    }
}
