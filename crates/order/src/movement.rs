//! A movement of money at an issuer: a charge, a refund or a reversal.
//!
//! All three have the same life cycle. A movement is sent once (protocol rule P6), and inquired
//! about until there is evidence of its result. `Unresolved` and `Inquiring` alternate until then.

use twqr_types::{StatusCode, UnixMs};

use crate::EffectId;

/// How long an inquiry stays without an outcome at least before another one is sent, in ms. It is
/// longer than any call takes. An inquiry changes nothing, so sending one twice is harmless.
pub const INQUIRY_MS_MAX: i64 = 120_000;

/// How long after a movement's `send_by` a worker's connection may still hold its request back, in
/// ms. The worker enforces it; every issuer's window must be longer.
pub const HELD_BACK_MS_MAX: i64 = 4_500;

/// A movement; `A` is the issuer's answer if it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement<A> {
    /// The latest time to start sending it.
    pub send_by: UnixMs,
    /// An inquiry sent after this proves absence if the issuer does not know the number.
    pub absent_after: UnixMs,
    /// The present phase.
    pub phase: Phase<A>,
    /// How many inquiries were sent.
    pub inquiries: u32,
    /// When the phase changed last.
    pub changed_at: UnixMs,
    /// When a charge or reversal that took effect counts in the books, if not at `changed_at`: the
    /// books up to here were closed when it was decided. A refund counts by [`crate::Refund`].
    pub late_booking: Option<UnixMs>,
    /// Whether the issuer was idempotent for it by the policy that decided it (protocol rule P6).
    /// Then its task may be sent again until `send_by`, and "not sent" proves nothing.
    pub is_idempotent: bool,
}

/// The phase of a movement. In every phase but `Done` and `Failed` it is in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase<A> {
    /// The task was emitted, and its outcome is not in the log yet.
    Sent {
        /// The open task.
        task: EffectId,
    },
    /// The result is unknown.
    Unresolved {
        /// When to inquire.
        next_check: UnixMs,
    },
    /// An inquiry was emitted, and its outcome is not in the log yet.
    Inquiring {
        /// The open task.
        task: EffectId,
        /// When to send another one if there is no outcome by then. `None` if a record of before
        /// protocol version 1 sent it: [`INQUIRY_MS_MAX`] after it.
        again_at: Option<UnixMs>,
    },
    /// It took effect.
    Done(Box<A>),
    /// There is evidence that it did not take effect.
    Failed(Failure),
}

impl<A> Phase<A> {
    /// Whether the phase is the last one: done or failed.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Done(_) | Self::Failed(_) => true,
            Self::Sent { .. } | Self::Unresolved { .. } | Self::Inquiring { .. } => false,
        }
    }
}

impl<A> Movement<A> {
    /// A movement in this phase since `at`, which can no longer be sent and has no history.
    pub fn in_phase(at: UnixMs, phase: Phase<A>) -> Self {
        Self {
            send_by: at,
            absent_after: at,
            phase,
            inquiries: 0,
            changed_at: at,
            late_booking: None,
            is_idempotent: false,
        }
    }

    /// A movement whose `task` is sent at `at`.
    pub(crate) fn begin(task: EffectId, at: UnixMs, send_within_ms: i64, window_ms: i64) -> Self {
        let send_by = at.plus(send_within_ms);
        let absent_after = send_by.plus(window_ms);
        Self { send_by, absent_after, ..Self::in_phase(at, Phase::Sent { task }) }
    }

    /// A movement that was refused before any task.
    pub(crate) fn failed(at: UnixMs, failure: Failure) -> Self {
        Self::in_phase(at, Phase::Failed(failure))
    }

    /// A movement that is known only to have taken effect.
    pub(crate) fn done_at(at: UnixMs, approval: A) -> Self {
        Self::in_phase(at, Phase::Done(Box::new(approval)))
    }

    /// When the machine must act on it; `None` once it is final. A sent task without an outcome is
    /// due at `absent_after`, an inquiry after [`INQUIRY_MS_MAX`] or later.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.phase {
            Phase::Sent { .. } => Some(self.absent_after),
            Phase::Unresolved { next_check } => Some(*next_check),
            Phase::Inquiring { again_at, .. } => Some(again_at.unwrap_or(self.changed_at.plus(INQUIRY_MS_MAX))),
            Phase::Done(_) | Phase::Failed(_) => None,
        }
    }

    /// When it counts in the books, once it took effect.
    pub fn booked_at(&self) -> UnixMs {
        self.late_booking.unwrap_or(self.changed_at)
    }

    /// The issuer's answer, if it took effect.
    pub fn done(&self) -> Option<&A> {
        match &self.phase {
            Phase::Done(approval) => Some(approval),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } | Phase::Failed(_) => None,
        }
    }

    /// The reason why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Failed(failure) => Some(failure),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } | Phase::Done(_) => None,
        }
    }
}

/// The reason why a movement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the failure is known.
    pub evidence: Evidence,
    /// The StatusCode for callers.
    pub status_code: StatusCode,
    /// The StatusDesc for callers.
    pub status_desc: Box<str>,
}

impl Failure {
    /// A refusal by the rules, before any task.
    pub(crate) fn refused(status_code: StatusCode, status_desc: &str) -> Self {
        Self { evidence: Evidence::Refused, status_code, status_desc: status_desc.into() }
    }
}

/// How the machine knows that a movement failed. There is no failure without evidence (invariant
/// I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// The issuer refused, or FISC refused on its behalf.
    Declined,
    /// The worker that owned the fresh task did not send it.
    NotSent,
    /// The issuer did not know the number in an inquiry sent after `absent_after`.
    Absent,
    /// The rules refused it before any task.
    Refused,
}

/// The issuer's answer to a refund that took effect. Amounts are in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundApproval {
    /// The amount that the customer gets back in money.
    pub debit_amount: i64,
    /// The name of the redemption that is returned, for people.
    pub redeem_name: Box<str>,
    /// RedeemAmount of the POS document: zero or positive.
    pub redeem_amount: i64,
    /// StoreRedeemAmount of the POS document: zero or positive.
    pub store_redeem_amount: i64,
    /// The issuer's own number for the refund.
    pub issuer_trade_no: Box<str>,
}

impl RefundApproval {
    /// Whether DebitAmount + RedeemAmount + StoreRedeemAmount = TradeAmount, and none is negative.
    /// The signs are those of refunds; a payment's are the opposite.
    pub fn adds_up(&self, trade_amount: twqr_types::Amount) -> bool {
        let parts = [self.debit_amount, self.redeem_amount, self.store_redeem_amount];
        let sum = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part));
        parts.iter().all(|part| *part >= 0) && sum == Some(trade_amount.twd())
    }
}

/// The issuer's answer to a reversal that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversalApproval {
    /// The issuer's own number for the reversal.
    pub issuer_trade_no: Box<str>,
}
