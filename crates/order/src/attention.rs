//! Which orders need an operator: the machine still works on them, but cannot settle them alone.

use twqr_types::UnixMs;

use crate::{Cancel, CancelStage, Movement, Order, Payment, Refund, RefundPhase};

/// Since when a result must have been due before the order needs an operator, in ms.
const LONG_UNSETTLED_MS: i64 = 3_600_000;
/// When a reversal is sent again that a build before protocol version 1 gave up, in ms after that.
const RESUME_MS: i64 = 60_000;

/// The reason why an order needs an operator. The machine continues its schedule nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// The issuer refused to reverse a charge that took effect after callers were answered that the
    /// payment failed. The customer is charged.
    ReversalRefused,
    /// A charge, a refund, a reversal or the answer to a refund is missing for more than an hour,
    /// for example because the issuer does not answer any more.
    Unsettled,
}

impl Order {
    /// The reason why the order needs an operator; `None` if it does not. It is a function of the
    /// state alone, so it is known once the state changes: at the next inquiry after the hour.
    pub fn attention(&self) -> Option<Attention> {
        match self {
            Self::Payment(payment) => payment.attention(),
            Self::Refund(refund) => refund.is_long_unsettled().then_some(Attention::Unsettled),
            Self::EarlyCancel(_) => None,
        }
    }

    /// How many inquiries a due record leads to at most.
    pub fn movements_in_progress(&self) -> usize {
        self.as_payment().map_or(0, Payment::movements_in_progress)
    }

    /// When a due record must be written for the order: [`Self::due_at`], and also for a reversal
    /// that an earlier build gave up.
    pub fn wake_at(&self) -> Option<UnixMs> {
        let resume_at = self.as_payment().filter(|payment| payment.has_abandoned_reversal());
        self.due_at().or_else(|| resume_at.map(|payment| payment.changed_at().plus(RESUME_MS)))
    }
}

impl Payment {
    /// How many of its movements are in progress: the charge, refunds, and the reversal.
    fn movements_in_progress(&self) -> usize {
        let refunds = self.refunds.iter().filter(|entry| !entry.refund.phase.is_final()).count();
        let reverses = self.cancel.as_ref().is_some_and(|cancel| cancel.due_at().is_some());
        usize::from(!self.charge.phase.is_final()) + refunds + usize::from(reverses)
    }

    fn attention(&self) -> Option<Attention> {
        let is_refused = |cancel: &Cancel| cancel.last_refusal.is_some() && !cancel.is_complete();
        if self.has_abandoned_reversal()
            || self.charge_took_effect_after_all && self.cancel.as_ref().is_some_and(is_refused)
        {
            return Some(Attention::ReversalRefused);
        }
        let is_unsettled = self.charge.is_long_unsettled()
            || self.refunds.iter().any(|entry| entry.refund.is_long_unsettled())
            || self.cancel.as_ref().is_some_and(Cancel::is_long_unsettled);
        is_unsettled.then_some(Attention::Unsettled)
    }

    /// Whether the issuer refused the reversal of a charge that took effect after all, and a build
    /// before protocol version 1 decided so: nothing follows by itself.
    pub(crate) fn has_abandoned_reversal(&self) -> bool {
        self.charge_took_effect_after_all && self.cancel.as_ref().is_some_and(|cancel| cancel.refusal().is_some())
    }
}

impl<A> Movement<A> {
    fn is_long_unsettled(&self) -> bool {
        !self.phase.is_final() && self.changed_at.since(self.absent_after) >= LONG_UNSETTLED_MS
    }
}

impl Cancel {
    fn is_long_unsettled(&self) -> bool {
        match &self.stage {
            CancelStage::Reversing(reversal) => reversal.is_long_unsettled(),
            CancelStage::Retry { .. } => self.changed_at.since(self.requested_at) >= LONG_UNSETTLED_MS,
            CancelStage::Blocked | CancelStage::NothingToReverse => false,
        }
    }
}

impl Refund {
    fn is_long_unsettled(&self) -> bool {
        match &self.phase {
            RefundPhase::Requested { next_request } => next_request.since(self.accepted_at) >= 2 * LONG_UNSETTLED_MS,
            RefundPhase::Succeeded(_) | RefundPhase::Failed(_) => false,
        }
    }
}
