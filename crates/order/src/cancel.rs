//! A cancel: what takes a payment back as a whole. It waits for what is in progress, reverses what
//! is left, and is tried again until the issuer has said yes or no.

use twqr_types::{GatewayTradeNo, Issuer, OrderKey, PosId, Remark, StatusCode, StoreId, UnixMs};

use crate::{Evidence, Failure, Movement, Phase, ReversalApproval};

/// The cancel of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// When it was asked for first, or again after a refusal.
    pub requested_at: UnixMs,
    /// For the issuer, as it was asked.
    pub remark: Remark,
    /// What is taken back, in whole TWD: what refunds have left. 0 until that is known.
    pub amount: i64,
    /// How many reversals went out.
    pub attempts: u32,
    /// The offset of the record that sent the last one: what was declined before says nothing about
    /// it.
    pub sent_at: u64,
    /// What the reversals asked for, in whole TWD: each amount after the offset of the first record
    /// that sent it.
    pub amounts: Vec<(u64, i64)>,
    /// Whether a caller asked for it; else the machine takes back a late charge by itself.
    pub is_requested: bool,
    /// It was told as done, with nothing to take back, and then the charge took effect after all:
    /// it stays told as done.
    pub was_answered_as_done: bool,
    /// Where it stands.
    pub stage: CancelStage,
    /// When the stage changed last.
    pub changed_at: UnixMs,
}

/// Where a cancel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelStage {
    /// The charge, or a refund, is in progress: what comes of it decides.
    Blocked,
    /// The reversal is with the issuer.
    Reversing(Movement<ReversalApproval>),
    /// The last reversal surely did not happen and nobody refused it: another one goes out.
    Retry {
        /// When.
        at: UnixMs,
    },
    /// There was nothing to take back: the payment failed, or was refunded as a whole.
    NothingToReverse,
}

impl Cancel {
    /// What the newest reversal that was out at this offset asked for, in whole TWD.
    pub(crate) fn amount_at(&self, offset: u64) -> i64 {
        self.amounts.iter().rev().find(|(from, _)| *from <= offset).map_or(self.amount, |(_, amount)| *amount)
    }

    /// A reversal is out.
    pub(crate) fn sent(&mut self, offset: u64) {
        self.attempts = self.attempts.saturating_add(1);
        self.sent_at = offset;
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

    /// Why the issuer refused, if it did. The same cancel may come again.
    pub fn refusal(&self) -> Option<&Failure> {
        match &self.stage {
            CancelStage::Reversing(reversal) => reversal.failure(),
            CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => None,
        }
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

    /// When something must be done about it; none if that is up to the charge or a refund, or if it
    /// is closed.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.stage {
            CancelStage::Reversing(reversal) => reversal.due_at(),
            CancelStage::Retry { at } => Some(*at),
            CancelStage::Blocked | CancelStage::NothingToReverse => None,
        }
    }

    /// Whether the last reversal surely did not happen and nobody refused it. That it came too late
    /// is no refusal of the own wallet's, which takes every payment back (POS API, section 1).
    pub(crate) fn may_be_sent_again(&self, issuer: Option<Issuer>) -> bool {
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

/// A cancel that found no payment: a payment that comes later under this key is refused, for good
/// (POS API, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct EarlyCancel {
    pub key: OrderKey,
    pub store_id: StoreId,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    /// In whole TWD.
    pub trade_amount: i64,
    /// When it was asked for first.
    pub requested_at: UnixMs,
}
