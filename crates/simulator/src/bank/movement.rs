//! The calls that move money: charges, refunds and reversals.

use twqr_types::Issuer;
use twqr_wire::backend::{Charge, Refund, Reversal, exchange_request::Call, inquiry::Subject};

/// A call that moves money.
#[derive(Clone, Copy)]
pub(super) enum Movement<'a> {
    Charge(&'a Charge),
    Refund(&'a Refund),
    Reversal(&'a Reversal),
}

/// Identifies what a call or an inquiry is about. A held call is kept under this key until an
/// inquiry asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MovementKey {
    pub(super) issuer: Issuer,
    pub(super) subject: Subject,
    /// The TradeNo of the charge or the refund; for a reversal, the TradeNo of its charge.
    pub(super) number: String,
}

impl<'a> Movement<'a> {
    /// `None` for an inquiry, which moves no money.
    pub(super) fn of(call: &'a Call) -> Option<Self> {
        match call {
            Call::Charge(charge) => Some(Self::Charge(charge)),
            Call::Refund(refund) => Some(Self::Refund(refund)),
            Call::Reversal(reversal) => Some(Self::Reversal(reversal)),
            Call::Inquiry(_) => None,
        }
    }

    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Charge(_) => Subject::Charge,
            Self::Refund(_) => Subject::Refund,
            Self::Reversal(_) => Subject::Reversal,
        }
    }

    pub(super) fn send_by_ms(&self) -> i64 {
        match self {
            Self::Charge(charge) => charge.send_by_ms,
            Self::Refund(refund) => refund.send_by_ms,
            Self::Reversal(reversal) => reversal.send_by_ms,
        }
    }

    pub(super) fn key(&self, issuer: Issuer) -> MovementKey {
        let number = match self {
            Self::Charge(charge) => &charge.trade_no,
            Self::Refund(refund) => &refund.refund_trade_no,
            Self::Reversal(reversal) => &reversal.trade_no,
        };
        MovementKey { issuer, subject: self.subject(), number: number.clone() }
    }
}
