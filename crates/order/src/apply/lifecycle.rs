//! How the result of a task changes a movement. Charges, refunds and reversals follow the same
//! rules.
//!
//! - `Done` and `Declined` count whichever task they answer, because the issuer said so.
//! - `NotSent`, `Absent` and `Unknown` count only for the open task.
//! - An inquiry or an idempotent movement that was not sent, an absence within the window, and a
//!   StatusCode that proves nothing are treated as unknown.

use twqr_types::{StatusCode, TradeNo, UnixMs};

use super::ApplyContext;
use crate::{
    Decline, DeclineKind, EffectId, Evidence, Failure, INQUIRY_MS_MAX, IssuerRules, Movement, Payment, Phase,
    REFUNDS_MAX, StatusCodes, TaskResult, schedule,
};

/// The most characters that StatusDesc may have.
const STATUS_DESC_LEN_MAX: usize = 1_000;
/// The most bytes that StatusDesc may have on a refund of a payment that keeps
/// [`crate::REFUND_NUMBERS_MAX`] refunds, so that one record holds the payment with all of them.
const REFUND_DESC_BYTES_MAX: usize = 300;

/// How a result changed a movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// It took effect.
    Done,
    /// It failed, with this evidence.
    Failed(Evidence),
    /// Its result is unknown now.
    Unresolved,
    /// An inquiry left its result unknown: nothing changed for subscribers, so they get no reply.
    StillUnresolved,
    /// The result contradicts a final state; the text says how.
    Contradicted(String),
    /// The result changes nothing.
    Ignored,
}

/// The context in which the machine applies a result to a movement.
pub(super) struct OutcomeContext<'a> {
    /// The number by which the issuer knows the movement.
    pub(super) number: TradeNo,
    /// The kind of movement, such as `payment`, for StatusDesc.
    pub(super) what: &'static str,
    /// The rules of the issuer.
    pub(super) rules: &'a IssuerRules,
    /// The policy's own StatusCodes.
    pub(super) codes: &'a StatusCodes,
    /// The time of the record.
    pub(super) at: UnixMs,
    /// The protocol version in force.
    pub(super) protocol_version: u32,
    /// The most bytes that StatusDesc may have.
    pub(super) desc_bytes_max: usize,
}

impl ApplyContext<'_> {
    /// The context in which a result is applied to the movement with this number.
    pub(super) fn outcome_context<'a>(
        &self,
        number: TradeNo,
        what: &'static str,
        rules: &'a IssuerRules,
        codes: &'a StatusCodes,
    ) -> OutcomeContext<'a> {
        let (at, protocol_version) = (self.at, self.protocol_version());
        OutcomeContext { number, what, rules, codes, at, protocol_version, desc_bytes_max: usize::MAX }
    }
}

impl<A: Clone> Movement<A> {
    /// Applies the result of `task`.
    pub(super) fn apply_result(
        &mut self,
        task: EffectId,
        result: &TaskResult<A>,
        context: &OutcomeContext<'_>,
    ) -> Transition {
        let unknown;
        let result = match result {
            TaskResult::Declined(decline) if decline.is_ambiguous() => {
                unknown = TaskResult::Unknown(format!("the wallet answered {}", decline.code).into());
                &unknown
            }
            TaskResult::Done(_)
            | TaskResult::Declined(_)
            | TaskResult::NotSent(_)
            | TaskResult::Unknown(_)
            | TaskResult::Absent => result,
        };
        match &self.phase {
            Phase::Sent { task: open } | Phase::Inquiring { task: open, .. } => {
                let is_open_task = *open == task;
                self.apply_in_progress(result, is_open_task, context)
            }
            Phase::Unresolved { .. } => self.apply_in_progress(result, false, context),
            Phase::Done(_) => match result {
                TaskResult::Declined(Decline { code, reason, .. }) => Transition::Contradicted(format!(
                    "the {} took effect, then was declined ({code} {reason})",
                    context.what
                )),
                TaskResult::Done(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => {
                    Transition::Ignored
                }
            },
            Phase::Failed(failure) => match result {
                TaskResult::Done(_) => Transition::Contradicted(format!(
                    "the {} failed ({:?}, {}), then took effect",
                    context.what, failure.evidence, failure.status_code
                )),
                TaskResult::Declined(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => {
                    Transition::Ignored
                }
            },
        }
    }

    /// Whether two clocks agree that the window was over when the issuer was asked: that of the
    /// service that woke the order, on the record that caused the inquiry, and that of the worker.
    /// One clock that is ahead must not turn a charge on its way into an absent one.
    fn is_absence_by_two_clocks(&self, context: &OutcomeContext<'_>) -> bool {
        let is_caused_late = matches!(self.phase, Phase::Inquiring { .. }) && self.changed_at > self.absent_after;
        is_caused_late || context.protocol_version == 0
    }

    fn apply_in_progress(
        &mut self,
        result: &TaskResult<A>,
        is_open_task: bool,
        context: &OutcomeContext<'_>,
    ) -> Transition {
        let abnormal = context.codes.fisc_abnormal;
        let is_sent = matches!(self.phase, Phase::Sent { .. });
        match result {
            TaskResult::Done(approval) => {
                self.phase = Phase::Done(Box::new(approval.clone()));
                self.changed_at = context.at;
                Transition::Done
            }
            TaskResult::Declined(decline) => {
                let (code, desc) = status_of(decline, context);
                self.fail(Evidence::Declined, code, &desc, context)
            }
            // Another worker may have sent an idempotent movement, or may still send it.
            TaskResult::NotSent(reason) if is_open_task && is_sent && !self.is_idempotent => {
                self.fail(Evidence::NotSent, abnormal, &format!("not sent to the issuer: {reason}"), context)
            }
            TaskResult::Absent
                if is_open_task && context.at > self.absent_after && self.is_absence_by_two_clocks(context) =>
            {
                let desc = format!("the issuer confirmed that the {} does not exist", context.what);
                self.fail(Evidence::Absent, abnormal, &desc, context)
            }
            TaskResult::NotSent(_) | TaskResult::Absent | TaskResult::Unknown(_) if is_open_task => {
                self.leave_unresolved(context)
            }
            TaskResult::NotSent(_) | TaskResult::Absent | TaskResult::Unknown(_) => Transition::Ignored,
        }
    }

    fn fail(
        &mut self,
        evidence: Evidence,
        status_code: StatusCode,
        desc: &str,
        context: &OutcomeContext<'_>,
    ) -> Transition {
        let mut status_desc: String = desc.chars().take(STATUS_DESC_LEN_MAX).collect();
        status_desc.truncate(status_desc.floor_char_boundary(context.desc_bytes_max));
        self.phase = Phase::Failed(Failure { evidence, status_code, status_desc: status_desc.into() });
        self.changed_at = context.at;
        Transition::Failed(evidence)
    }

    fn leave_unresolved(&mut self, context: &OutcomeContext<'_>) -> Transition {
        let was_inquiring = matches!(self.phase, Phase::Inquiring { .. });
        self.phase = Phase::Unresolved { next_check: self.next_check(context) };
        self.changed_at = context.at;
        if was_inquiring { Transition::StillUnresolved } else { Transition::Unresolved }
    }

    /// Whether the machine must act on it at this time.
    pub(super) fn is_due(&self, at: UnixMs) -> bool {
        self.due_at().is_some_and(|due| at >= due)
    }

    /// Makes `task` the open inquiry. During the issuer's maintenance the inquiry is postponed
    /// instead. Returns true if the caller must emit the task.
    pub(super) fn begin_inquiry(&mut self, task: EffectId, context: &OutcomeContext<'_>) -> bool {
        self.changed_at = context.at;
        if context.rules.is_in_maintenance(context.at) {
            self.phase = Phase::Unresolved { next_check: self.next_check(context) };
            return false;
        }
        self.inquiries = self.inquiries.saturating_add(1);
        let again_at = (context.protocol_version >= 1)
            .then(|| context.at.plus(INQUIRY_MS_MAX.max(schedule::aged_spacing(context.at, self.absent_after))));
        self.phase = Phase::Inquiring { task, again_at };
        true
    }

    /// When to inquire next.
    fn next_check(&self, context: &OutcomeContext<'_>) -> UnixMs {
        let aged_from = (context.protocol_version >= 1).then_some(self.absent_after);
        schedule::next_check(context.at, self.inquiries, context.number, self.absent_after, context.rules, aged_from)
    }
}

/// The most bytes that StatusDesc may have on a refund of this payment.
pub(super) fn refund_desc_bytes_max(payment: &Payment) -> usize {
    if payment.refund_numbers_max() > REFUNDS_MAX { REFUND_DESC_BYTES_MAX } else { usize::MAX }
}

/// The StatusCode and StatusDesc that callers get for a refusal.
pub(super) fn status_of(decline: &Decline, context: &OutcomeContext<'_>) -> (StatusCode, String) {
    let codes = context.codes;
    let own_text = || decline.reason.to_string();
    let with_code = || format!("{} {}", decline.code, decline.reason);
    let mapped = context.rules.status_codes.get(&*decline.code);
    match (decline.kind, mapped) {
        (DeclineKind::Wallet, _) => match StatusCode::parse(&decline.code).ok().filter(|code| code.proves_refusal()) {
            Some(code) => (code, own_text()),
            None => (codes.issuer_declined, with_code()),
        },
        (DeclineKind::Issuer | DeclineKind::CardNotSupported | DeclineKind::Fisc, Some(code)) => (*code, own_text()),
        (DeclineKind::Issuer, None) => (codes.issuer_declined, with_code()),
        (DeclineKind::CardNotSupported, None) => (codes.card_not_supported, own_text()),
        (DeclineKind::Fisc, None) => (codes.fisc_abnormal, with_code()),
    }
}
