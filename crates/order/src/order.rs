//! Everything that can live under an order's key.

use twqr_types::{OrderKey, TradeNo, UnixMs};

use crate::{CancelledBefore, Payment, Refund, Subscriber};

/// An order: a payment; a refund, under its own number; or the mark of a cancel that came before
/// its payment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are payments")]
pub enum Order {
    /// A payment.
    Payment(Payment),
    /// A refund.
    Refund(Refund),
    /// A cancel that found no payment.
    Cancelled(CancelledBefore),
}

impl Order {
    /// Its identity.
    pub fn key(&self) -> &OrderKey {
        match self {
            Self::Payment(payment) => &payment.key,
            Self::Refund(refund) => &refund.key,
            Self::Cancelled(cancelled) => &cancelled.key,
        }
    }

    /// Our number for it; a cancel without a payment has none.
    pub fn trade_no(&self) -> Option<TradeNo> {
        match self {
            Self::Payment(payment) => Some(payment.trade_no),
            Self::Refund(refund) => Some(refund.trade_no),
            Self::Cancelled(_) => None,
        }
    }

    /// When it was accepted.
    pub fn accepted_at(&self) -> UnixMs {
        match self {
            Self::Payment(payment) => payment.accepted_at,
            Self::Refund(refund) => refund.accepted_at,
            Self::Cancelled(cancelled) => cancelled.requested_at,
        }
    }

    /// When it changed last.
    pub fn changed_at(&self) -> UnixMs {
        match self {
            Self::Payment(payment) => payment.changed_at(),
            Self::Refund(refund) => refund.changed_at,
            Self::Cancelled(cancelled) => cancelled.requested_at,
        }
    }

    /// Whether nothing of it is in progress.
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::Payment(payment) => payment.is_at_rest(),
            Self::Refund(refund) => refund.is_final(),
            Self::Cancelled(_) => true,
        }
    }

    /// When something must be done about it next; none if it is at rest.
    pub fn due_at(&self) -> Option<UnixMs> {
        match self {
            Self::Payment(payment) => payment.due_at(),
            Self::Refund(refund) => refund.due_at(),
            Self::Cancelled(_) => None,
        }
    }

    /// How an issuer contradicted a final state, if one did.
    pub fn contradiction(&self) -> Option<&str> {
        match self {
            Self::Payment(payment) => payment.contradiction.as_deref(),
            Self::Refund(_) | Self::Cancelled(_) => None,
        }
    }

    /// The payment, if it is one.
    pub fn as_payment(&self) -> Option<&Payment> {
        match self {
            Self::Payment(payment) => Some(payment),
            Self::Refund(_) | Self::Cancelled(_) => None,
        }
    }

    /// Who waits for its changes; nobody waits for a cancel without a payment.
    pub(crate) fn subscribers(&mut self) -> Option<&mut Vec<Subscriber>> {
        match self {
            Self::Payment(payment) => Some(&mut payment.subscribers),
            Self::Refund(refund) => Some(&mut refund.subscribers),
            Self::Cancelled(_) => None,
        }
    }
}
