//! One movement of money at an issuer: a charge, a refund or a reversal, from the task that asks
//! for it to what came of it. All three have the same life: sent once, asked about until there is
//! evidence.

use twqr_types::{StatusCode, UnixMs};

use crate::EffectId;

/// How long an inquiry may be out until another one is sent, in ms. Longer than any call takes, and
/// asking twice changes nothing.
pub const INQUIRY_MS_MAX: i64 = 120_000;

/// A movement; `A` is what the issuer says when it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement<A> {
    /// After this nobody starts to send it.
    pub send_by: UnixMs,
    /// Asked after this, "not known" proves absence.
    pub absent_after: UnixMs,
    /// Where it stands.
    pub phase: Phase<A>,
    /// How often the issuer has been asked.
    pub inquiries: u32,
    /// When the phase changed last.
    pub changed_at: UnixMs,
}

/// Where a movement stands. In progress is everything but done and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase<A> {
    /// The task is out.
    Sent {
        /// The open task.
        task: EffectId,
    },
    /// Nobody knows what came of it.
    Unresolved {
        /// When to ask.
        next_check: UnixMs,
    },
    /// The task to inquire is out.
    Inquiring {
        /// The open task.
        task: EffectId,
    },
    /// It took effect.
    Done(Box<A>),
    /// It did not, with evidence.
    Failed(Failure),
}

impl<A> Phase<A> {
    /// Done or failed: it stays so.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Done(_) | Self::Failed(_) => true,
            Self::Sent { .. } | Self::Unresolved { .. } | Self::Inquiring { .. } => false,
        }
    }
}

impl<A> Movement<A> {
    /// A movement whose `task` goes out at `at`.
    pub(crate) fn begin(task: EffectId, at: UnixMs, send_within_ms: i64, window_ms: i64) -> Self {
        let send_by = at.plus(send_within_ms);
        let absent_after = send_by.plus(window_ms);
        Self { send_by, absent_after, phase: Phase::Sent { task }, inquiries: 0, changed_at: at }
    }

    /// One that never began.
    pub(crate) fn failed(at: UnixMs, failure: Failure) -> Self {
        Self { send_by: at, absent_after: at, phase: Phase::Failed(failure), inquiries: 0, changed_at: at }
    }

    /// One of which nothing is known but that it took effect.
    pub(crate) fn done_at(at: UnixMs, approval: A) -> Self {
        Self { send_by: at, absent_after: at, phase: Phase::Done(Box::new(approval)), inquiries: 0, changed_at: at }
    }

    /// When something must be done about it; none once it is final. An inquiry without an outcome
    /// for so long will have none.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.phase {
            Phase::Sent { .. } => Some(self.absent_after),
            Phase::Unresolved { next_check } => Some(*next_check),
            Phase::Inquiring { .. } => Some(self.changed_at.plus(INQUIRY_MS_MAX)),
            Phase::Done(_) | Phase::Failed(_) => None,
        }
    }

    /// What the issuer said, if it took effect.
    pub fn done(&self) -> Option<&A> {
        match &self.phase {
            Phase::Done(approval) => Some(approval),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } | Phase::Failed(_) => None,
        }
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Failed(failure) => Some(failure),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } | Phase::Done(_) => None,
        }
    }
}

/// Why a movement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How we know.
    pub evidence: Evidence,
    /// StatusCode for callers.
    pub status_code: StatusCode,
    /// StatusDesc.
    pub status_desc: Box<str>,
}

impl Failure {
    /// Decided here, before any task.
    pub(crate) fn refused(status_code: StatusCode, status_desc: &str) -> Self {
        Self { evidence: Evidence::Refused, status_code, status_desc: status_desc.into() }
    }
}

/// How we know that a movement failed. There is no failure without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// The issuer, or FISC in its name, said so.
    Declined,
    /// The owner of the fresh task never sent it.
    NotSent,
    /// The issuer did not know it after the window.
    Absent,
    /// The rules refused it before any task.
    Refused,
}

/// What the issuer said when it gave money back. Amounts in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundApproval {
    /// What the customer gets back in money.
    pub debit_amount: i64,
    /// What had been redeemed and goes back, for people.
    pub redeem_name: Box<str>,
    /// Zero or positive.
    pub redeem_amount: i64,
    /// Zero or positive.
    pub store_redeem_amount: i64,
    /// The issuer's own number.
    pub issuer_trade_no: Box<str>,
}

impl RefundApproval {
    /// DebitAmount + RedeemAmount + StoreRedeemAmount = TradeAmount, and none is negative: the
    /// payment's sum with the signs that refunds have (POS API, section 2).
    pub fn adds_up(&self, trade_amount: twqr_types::Amount) -> bool {
        let parts = [self.debit_amount, self.redeem_amount, self.store_redeem_amount];
        let sum = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part));
        parts.iter().all(|part| *part >= 0) && sum == Some(trade_amount.twd())
    }
}

/// What the issuer said when it took a payment back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversalApproval {
    /// The issuer's own number.
    pub issuer_trade_no: Box<str>,
}
