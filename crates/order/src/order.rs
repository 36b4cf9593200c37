//! An order: everything that can exist under one order key.

use twqr_types::{OrderKey, TradeNo, UnixMs};

use crate::{Cancel, EarlyCancel, Nonces, Payment, Refund, Remembering, Subscriber};

/// An order: a payment, a refund under its own number, or a cancel that arrived before its payment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are payments")]
pub enum Order {
    /// A payment, with its refunds and its cancel.
    Payment(Payment),
    /// A refund, under its own MerchantTradeNo.
    Refund(Refund),
    /// A cancel that found no payment.
    EarlyCancel(EarlyCancel),
}

impl Order {
    /// The merchant, and its own number for the order.
    pub fn key(&self) -> &OrderKey {
        match self {
            Self::Payment(payment) => &payment.key,
            Self::Refund(refund) => &refund.key,
            Self::EarlyCancel(cancelled) => &cancelled.key,
        }
    }

    /// The TradeNo; a cancel without a payment has none.
    pub fn trade_no(&self) -> Option<TradeNo> {
        match self {
            Self::Payment(payment) => Some(payment.trade_no),
            Self::Refund(refund) => Some(refund.trade_no),
            Self::EarlyCancel(_) => None,
        }
    }

    /// When the record that made the order was written.
    pub fn accepted_at(&self) -> UnixMs {
        match self {
            Self::Payment(payment) => payment.accepted_at,
            Self::Refund(refund) => refund.accepted_at,
            Self::EarlyCancel(cancelled) => cancelled.requested_at,
        }
    }

    /// When anything about it changed last.
    pub fn changed_at(&self) -> UnixMs {
        match self {
            Self::Payment(payment) => payment.changed_at(),
            Self::Refund(refund) => refund.changed_at,
            Self::EarlyCancel(cancelled) => cancelled.requested_at,
        }
    }

    /// Whether the machine has nothing left to do for it: nothing is in progress, and
    /// [`Self::due_at`] is `None`.
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::Payment(payment) => payment.is_at_rest(),
            Self::Refund(refund) => refund.is_final(),
            Self::EarlyCancel(_) => true,
        }
    }

    /// Whether the request that made the order has its result: the payment is paid or failed, the
    /// refund succeeded or failed.
    pub fn has_result(&self) -> bool {
        match self {
            Self::Payment(payment) => payment.charge.phase.is_final(),
            Self::Refund(refund) => refund.is_final(),
            Self::EarlyCancel(_) => true,
        }
    }

    /// Whether it is a payment with a cancel, in any stage.
    pub fn has_cancel(&self) -> bool {
        self.as_payment().is_some_and(|payment| payment.cancel.is_some())
    }

    /// Whether a cancel of the order has its answer: it succeeded, or the issuer refused it.
    pub fn has_cancel_answer(&self) -> bool {
        match self {
            Self::Payment(payment) => payment.cancel.as_ref().is_some_and(|cancel| !cancel.is_unanswered()),
            Self::Refund(_) | Self::EarlyCancel(_) => true,
        }
    }

    /// Whether an answer about the order may still change. This is the callers' view; the machine's
    /// is [`Self::is_at_rest`], which is false also while a charge that took effect after the
    /// answer "cancelled" is reversed.
    pub fn has_pending_answer(&self) -> bool {
        let is_pending = |payment: &Payment| {
            payment.has_refund_in_progress() || payment.cancel.as_ref().is_some_and(Cancel::is_unanswered)
        };
        !self.has_result() || self.as_payment().is_some_and(is_pending)
    }

    /// The next time at which the machine must act on it; `None` if it is at rest.
    pub fn due_at(&self) -> Option<UnixMs> {
        match self {
            Self::Payment(payment) => payment.due_at(),
            Self::Refund(refund) => refund.due_at(),
            Self::EarlyCancel(_) => None,
        }
    }

    /// How an issuer contradicted a final state, if one did.
    pub fn contradiction(&self) -> Option<&str> {
        match self {
            Self::Payment(payment) => payment.contradiction.as_deref(),
            Self::Refund(_) | Self::EarlyCancel(_) => None,
        }
    }

    /// The ingresses that may remember an answer to it, by their partitions of `replies`; `None` if
    /// there can be none, since only answers to payments are remembered.
    pub fn remembering(&self) -> Option<&Remembering> {
        self.as_payment().map(|payment| &payment.remembering)
    }

    /// The payment, if it is one.
    pub fn as_payment(&self) -> Option<&Payment> {
        match self {
            Self::Payment(payment) => Some(payment),
            Self::Refund(_) | Self::EarlyCancel(_) => None,
        }
    }

    /// The nonces of signed requests about it: see [`crate::Nonce`].
    pub fn nonces(&self) -> &Nonces {
        match self {
            Self::Payment(payment) => &payment.nonces,
            Self::Refund(refund) => &refund.nonces,
            Self::EarlyCancel(cancelled) => &cancelled.nonces,
        }
    }

    pub(crate) fn nonces_mut(&mut self) -> &mut Nonces {
        match self {
            Self::Payment(payment) => &mut payment.nonces,
            Self::Refund(refund) => &mut refund.nonces,
            Self::EarlyCancel(cancelled) => &mut cancelled.nonces,
        }
    }

    /// The subscribers to its changes; a cancel without a payment has none.
    pub(crate) fn subscribers(&mut self) -> Option<&mut Vec<Subscriber>> {
        match self {
            Self::Payment(payment) => Some(&mut payment.subscribers),
            Self::Refund(refund) => Some(&mut refund.subscribers),
            Self::EarlyCancel(_) => None,
        }
    }
}
