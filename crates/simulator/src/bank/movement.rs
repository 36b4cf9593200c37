//! A call that moves money: a charge, a refund or a reversal.

use twqr_wire::backend::{Charge, Refund, Reversal, exchange_request::Call, inquiry::Subject};

/// One of the three.
#[derive(Clone, Copy)]
pub(super) enum Movement<'a> {
    Charge(&'a Charge),
    Refund(&'a Refund),
    Reversal(&'a Reversal),
}

/// What a call, or an inquiry, is about. A held call waits under it for an inquiry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct About {
    pub(super) institution: String,
    pub(super) subject: Subject,
    /// The number of the charge or the refund; of the charge, where it is a reversal.
    pub(super) number: String,
}

impl<'a> Movement<'a> {
    /// None for an inquiry.
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

    pub(super) fn about(&self, institution: &str) -> About {
        let number = match self {
            Self::Charge(charge) => &charge.trade_no,
            Self::Refund(refund) => &refund.refund_trade_no,
            Self::Reversal(reversal) => &reversal.trade_no,
        };
        About { institution: institution.to_owned(), subject: self.subject(), number: number.clone() }
    }
}
