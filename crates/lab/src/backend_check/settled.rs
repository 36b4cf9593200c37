//! The outcome of a call, as a worker would derive it from the answer.

use std::fmt;

use twqr_types::StatusCode;
use twqr_wire::backend::{
    Declined, declined::Kind, exchange_request::Call, exchange_response::Answer, inquiry::Subject,
};

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Settled {
    /// It took effect.
    Done(Answer),
    /// It was refused, and that is certain.
    Refused(Declined),
    /// The backend does not know the number.
    Absent,
    /// The answer tells nothing, for this reason.
    Unknown(String),
}

impl Settled {
    /// Judges an answer to a call about this kind of movement.
    pub(super) fn of(answer: Option<Answer>, subject: Subject) -> Self {
        let is_of = |kind: &str| Self::Unknown(format!("answered {kind}, which is about another kind of call"));
        match (answer, subject) {
            (Some(Answer::Approved(approved)), Subject::Charge | Subject::Unspecified) => {
                Self::Done(Answer::Approved(approved))
            }
            (Some(Answer::Refunded(refunded)), Subject::Refund) => Self::Done(Answer::Refunded(refunded)),
            (Some(Answer::Reversed(reversed)), Subject::Reversal) => Self::Done(Answer::Reversed(reversed)),
            (Some(Answer::Approved(_)), _) => is_of("Approved"),
            (Some(Answer::Refunded(_)), _) => is_of("Refunded"),
            (Some(Answer::Reversed(_)), _) => is_of("Reversed"),
            (Some(Answer::Declined(declined)), _) => refused(declined),
            (Some(Answer::TradeUnknown(_)), _) => Self::Absent,
            (Some(Answer::Undecided(undecided)), _) => Self::Unknown(format!("undecided: {}", undecided.reason)),
            (None, _) => Self::Unknown("no answer, or an empty one".to_owned()),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the result of the call is certain.
    pub(super) fn is_decided(&self) -> bool {
        self.is_done() || self.is_refused()
    }

    /// Whether both took effect with the same amounts, or both were refused with the same code.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Done(one), Self::Done(other)) => amounts(one) == amounts(other),
            (Self::Refused(one), Self::Refused(other)) => (one.kind, &one.code) == (other.kind, &other.code),
            _ => false,
        }
    }
}

/// The wallet's codes that prove nothing, and a refusal without a kind, leave the result unknown.
fn refused(declined: Declined) -> Settled {
    let proves = StatusCode::parse(&declined.code).is_ok_and(StatusCode::proves_refusal);
    match declined.kind() {
        Kind::Unspecified => Settled::Unknown("refused, but the answer does not say by whom (kind)".to_owned()),
        Kind::Wallet if !proves => Settled::Unknown(format!("the wallet's code {:?} proves nothing", declined.code)),
        Kind::Wallet | Kind::Issuer | Kind::CardNotSupported | Kind::Fisc => Settled::Refused(declined),
    }
}

/// The amounts of an answer, by which a repeat is compared with the first one.
fn amounts(answer: &Answer) -> (i64, i64, i64) {
    match answer {
        Answer::Approved(approved) => (approved.debit_amount, approved.redeem_amount, approved.store_redeem_amount),
        Answer::Refunded(refunded) => (refunded.debit_amount, refunded.redeem_amount, refunded.store_redeem_amount),
        Answer::Reversed(_) | Answer::Declined(_) | Answer::TradeUnknown(_) | Answer::Undecided(_) => (0, 0, 0),
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(Answer::Approved(_)) => to.write_str("approved"),
            Self::Done(Answer::Refunded(_)) => to.write_str("refunded"),
            Self::Done(_) => to.write_str("reversed"),
            Self::Refused(declined) => write!(to, "refused with {}", declined.code),
            Self::Absent => to.write_str("trade unknown"),
            Self::Unknown(why) => to.write_str(why),
        }
    }
}

/// The kind of movement, its number and its `send_by`, if the call moves money.
pub(super) fn movement(call: &Call) -> Option<(Subject, &str, i64)> {
    match call {
        Call::Charge(charge) => Some((Subject::Charge, &charge.trade_no, charge.send_by_ms)),
        Call::Refund(refund) => Some((Subject::Refund, &refund.refund_trade_no, refund.send_by_ms)),
        Call::Reversal(reversal) => Some((Subject::Reversal, &reversal.trade_no, reversal.send_by_ms)),
        Call::Inquiry(_) => None,
    }
}
