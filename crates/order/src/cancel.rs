//! The cancel of a payment: it reverses the amount that refunds have not returned.
//!
//! A cancel is blocked while the charge or a refund is in progress. Then it sends a reversal.
//! Whenever there is evidence that the reversal did not happen, it sends another one, until the
//! issuer accepts or refuses.

use twqr_types::{GatewayTradeNo, Issuer, OrderKey, PosId, Remark, StatusCode, StoreId, UnixMs};

use crate::{Evidence, Failure, Movement, Nonces, Phase, ReversalApproval};

/// The cancel of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// When it was requested, or requested again after a refusal.
    pub requested_at: UnixMs,
    /// The request's Remark, for the issuer.
    pub remark: Remark,
    /// The amount to reverse, in whole TWD: what refunds have left. 0 until the reversal is sent.
    pub amount: i64,
    /// How many reversals were sent.
    pub attempts: u32,
    /// The offset of the record that sent the last reversal: the outcome of an earlier task does
    /// not belong to it.
    pub last_sent_offset: u64,
    /// The amounts of the reversals in whole TWD, each with the offset of the record that first
    /// sent it.
    pub amounts: Vec<(u64, i64)>,
    /// Whether a caller requested it. Otherwise the machine started it, to reverse a charge that
    /// took effect after it had failed.
    pub is_requested: bool,
    /// Whether the charge took effect after callers were answered that the cancel succeeded, with
    /// nothing to reverse. That answer does not change.
    pub was_answered_as_done: bool,
    /// The present stage.
    pub stage: CancelStage,
    /// The issuer's last refusal, if the machine tries again by itself after it: the customer is
    /// charged, and callers were answered that the payment failed.
    pub last_refusal: Option<Failure>,
    /// When the stage changed last.
    pub changed_at: UnixMs,
}

/// The stage of a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelStage {
    /// The charge or a refund is in progress; its result decides what there is to reverse.
    Blocked,
    /// The reversal was sent to the issuer; the movement's phase is its result.
    Reversing(Movement<ReversalApproval>),
    /// There is evidence that the last reversal did not happen, and another one follows: the issuer
    /// did not refuse it, or [`Cancel::last_refusal`] tells why.
    Retry {
        /// When to send it.
        at: UnixMs,
    },
    /// There was nothing to reverse: the payment failed, or was refunded in full.
    NothingToReverse,
}

impl Cancel {
    /// The amount, in whole TWD, of the newest reversal that had been sent by the record at
    /// `offset`.
    pub(crate) fn amount_at(&self, offset: u64) -> i64 {
        self.amounts.iter().rev().find(|(from, _)| *from <= offset).map_or(self.amount, |(_, amount)| *amount)
    }

    /// Notes that the record at `offset` sends a reversal of the present amount.
    pub(crate) fn note_sent(&mut self, offset: u64) {
        self.attempts = self.attempts.saturating_add(1);
        self.last_sent_offset = offset;
        if self.amounts.last().is_none_or(|(_, amount)| *amount != self.amount) {
            self.amounts.push((offset, self.amount));
        }
    }

    /// Whether nothing of the payment is left to reverse: a reversal took effect, or there was
    /// nothing to reverse.
    pub fn is_complete(&self) -> bool {
        match &self.stage {
            CancelStage::NothingToReverse => true,
            CancelStage::Reversing(_) | CancelStage::Blocked | CancelStage::Retry { .. } => self.is_reversed(),
        }
    }

    /// Whether a reversal took effect.
    pub fn is_reversed(&self) -> bool {
        matches!(&self.stage, CancelStage::Reversing(reversal) if reversal.done().is_some())
    }

    /// The issuer's refusal, if it refused. The same cancel may then be requested again.
    pub fn refusal(&self) -> Option<&Failure> {
        match &self.stage {
            CancelStage::Reversing(reversal) => reversal.failure(),
            CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => None,
        }
    }

    /// Whether the machine waits to try again after a refusal. The same cancel may then be
    /// requested again, and is sent at once.
    pub(crate) fn is_waiting_after_refusal(&self) -> bool {
        self.last_refusal.is_some() && matches!(self.stage, CancelStage::Retry { .. })
    }

    /// Whether the machine still works on it: it is neither complete nor refused by the issuer.
    pub fn is_in_progress(&self) -> bool {
        !self.is_complete() && self.refusal().is_none()
    }

    /// Whether callers are answered that the cancel succeeded. Unlike [`Self::is_complete`] this
    /// stays true if the charge took effect after that answer, whatever becomes of its reversal: an
    /// answer is never taken back (invariant I3).
    pub fn is_answered_as_done(&self) -> bool {
        self.is_complete() || self.was_answered_as_done
    }

    /// Whether callers are answered that the cancel is in progress. Unlike
    /// [`Self::is_in_progress`] this is false while a charge that took effect after the answer
    /// "done" is reversed.
    pub fn is_unanswered(&self) -> bool {
        !self.is_answered_as_done() && self.refusal().is_none()
    }

    /// When the machine must act on it; `None` while it is blocked, and once it is complete or
    /// refused.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.stage {
            CancelStage::Reversing(reversal) => reversal.due_at(),
            CancelStage::Retry { at } => Some(*at),
            CancelStage::Blocked | CancelStage::NothingToReverse => None,
        }
    }

    /// Whether there is evidence that the last reversal did not happen, without a refusal by the
    /// issuer. The wallet's answer that the request arrived too late (906) is not a refusal: the
    /// wallet reverses every payment if asked in time.
    pub(crate) fn may_be_retried(&self, issuer: Option<Issuer>) -> bool {
        let never_arrived = |failure: &Failure| match failure.evidence {
            Evidence::NotSent | Evidence::Absent => true,
            Evidence::Declined => issuer == Some(Issuer::Wallet) && failure.status_code == StatusCode::EXPIRED,
            Evidence::Refused => false,
        };
        match &self.stage {
            CancelStage::Reversing(Movement { phase: Phase::Failed(failure), .. }) => never_arrived(failure),
            CancelStage::Reversing(_)
            | CancelStage::Blocked
            | CancelStage::Retry { .. }
            | CancelStage::NothingToReverse => false,
        }
    }
}

/// A cancel that arrived before its payment. A payment that arrives later under the same key is
/// refused permanently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct EarlyCancel {
    pub key: OrderKey,
    pub store_id: StoreId,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    /// The amount of the cancel request, in whole TWD.
    pub trade_amount: i64,
    /// When it was requested first.
    pub requested_at: UnixMs,
    /// The nonces of signed requests about it.
    pub nonces: Nonces,
}
