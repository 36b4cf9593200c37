//! What a payment call needs of the order: little enough to be kept for repeats.

use twqr_types::{Issuer, UnixMs};
use twqr_wire::bus;

/// An order as its payer sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PayView {
    pub(crate) trade_no: String,
    pub(crate) accepted_at: UnixMs,
    /// None where no route was found.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) outcome: Outcome,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    InProgress,
    Paid(Box<bus::Approval>),
    Failed { status_code: String, status_desc: String },
}

impl PayView {
    /// Whether it can no longer change.
    pub(crate) fn is_final(&self) -> bool {
        match self.outcome {
            Outcome::Paid(_) | Outcome::Failed { .. } => true,
            Outcome::InProgress => false,
        }
    }
}

impl From<bus::Payment> for PayView {
    fn from(payment: bus::Payment) -> Self {
        use bus::payment::Phase;
        let outcome = match payment.phase {
            Some(Phase::Paid(approval)) => Outcome::Paid(Box::new(approval)),
            Some(Phase::Failed(failure)) => {
                Outcome::Failed { status_code: failure.status_code, status_desc: failure.status_desc }
            }
            Some(Phase::Paying(_) | Phase::Unresolved(_) | Phase::Asking(_)) | None => Outcome::InProgress,
        };
        Self {
            trade_no: payment.trade_no,
            accepted_at: UnixMs(payment.accepted_at_ms),
            issuer: if payment.unrouted { None } else { Issuer::parse(&payment.institution).ok() },
            outcome,
        }
    }
}
