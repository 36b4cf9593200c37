//! The life of a movement: what an outcome does to it, whichever movement it is. Done and declined
//! count whichever task they answer, since the issuer said so; not sent, absent and unknown count
//! only for the open task. An inquiry that was not sent, absent before the window is over, and a
//! StatusCode with which the wallet says that it does not know, are unknown.

use twqr_types::{StatusCode, TradeNo, UnixMs};

use crate::{
    Decline, DeclineKind, EffectId, Evidence, Failure, IssuerRules, Movement, Phase, StatusCodes, TaskResult, schedule,
};

/// How long StatusDesc may be, in characters (POS API, section 2).
const STATUS_DESC_LEN_MAX: usize = 1_000;

/// What an outcome did to a movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// It took effect.
    Done,
    /// It failed.
    Failed(Evidence),
    /// Nobody knows what came of it.
    Unresolved,
    /// Nobody knows still, after an inquiry: nothing has changed for those who wait.
    StillUnresolved,
    /// The issuer contradicts a final state, in these words.
    Contradicted(String),
    /// Nothing.
    Ignored,
}

/// What a movement's outcome is judged by.
pub(super) struct OutcomeContext<'a> {
    /// The number under which the issuer is asked.
    pub(super) number: TradeNo,
    /// Such as `payment`, for StatusDesc.
    pub(super) what: &'static str,
    /// The issuer's rules.
    pub(super) rules: &'a IssuerRules,
    /// The StatusCodes that hold.
    pub(super) codes: &'a StatusCodes,
    /// The time of the record.
    pub(super) at: UnixMs,
}

impl<A: Clone> Movement<A> {
    /// Takes what came of `task`.
    pub(super) fn take(&mut self, task: EffectId, result: &TaskResult<A>, judge: &OutcomeContext<'_>) -> Transition {
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
            Phase::Sent { task: open } | Phase::Inquiring { task: open } => {
                let is_open = *open == task;
                self.in_progress(result, is_open, judge)
            }
            Phase::Unresolved { .. } => self.in_progress(result, false, judge),
            Phase::Done(_) => match result {
                TaskResult::Declined(Decline { code, reason, .. }) => Transition::Contradicted(format!(
                    "the {} took effect, then was declined ({code} {reason})",
                    judge.what
                )),
                TaskResult::Done(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => {
                    Transition::Ignored
                }
            },
            Phase::Failed(failure) => match result {
                TaskResult::Done(_) => Transition::Contradicted(format!(
                    "the {} failed ({:?}, {}), then took effect",
                    judge.what, failure.evidence, failure.status_code
                )),
                TaskResult::Declined(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => {
                    Transition::Ignored
                }
            },
        }
    }

    fn in_progress(&mut self, result: &TaskResult<A>, is_open: bool, judge: &OutcomeContext<'_>) -> Transition {
        let abnormal = judge.codes.fisc_abnormal;
        let is_sent = matches!(self.phase, Phase::Sent { .. });
        match result {
            TaskResult::Done(approval) => {
                self.phase = Phase::Done(Box::new(approval.clone()));
                self.changed_at = judge.at;
                Transition::Done
            }
            TaskResult::Declined(decline) => {
                let (code, desc) = status_of(decline, judge);
                self.fail(Evidence::Declined, code, &desc, judge.at)
            }
            TaskResult::NotSent(reason) if is_open && is_sent => {
                self.fail(Evidence::NotSent, abnormal, &format!("not sent to the issuer: {reason}"), judge.at)
            }
            TaskResult::Absent if is_open && judge.at > self.absent_after => {
                let desc = format!("the issuer confirmed that the {} does not exist", judge.what);
                self.fail(Evidence::Absent, abnormal, &desc, judge.at)
            }
            TaskResult::NotSent(_) | TaskResult::Absent | TaskResult::Unknown(_) if is_open => self.unresolved(judge),
            TaskResult::NotSent(_) | TaskResult::Absent | TaskResult::Unknown(_) => Transition::Ignored,
        }
    }

    fn fail(&mut self, evidence: Evidence, status_code: StatusCode, desc: &str, at: UnixMs) -> Transition {
        let status_desc = desc.chars().take(STATUS_DESC_LEN_MAX).collect::<String>().into();
        self.phase = Phase::Failed(Failure { evidence, status_code, status_desc });
        self.changed_at = at;
        Transition::Failed(evidence)
    }

    fn unresolved(&mut self, judge: &OutcomeContext<'_>) -> Transition {
        let was_asking = matches!(self.phase, Phase::Inquiring { .. });
        let next_check = schedule::next_check(judge.at, self.inquiries, judge.number, self.absent_after, judge.rules);
        self.phase = Phase::Unresolved { next_check };
        self.changed_at = judge.at;
        if was_asking { Transition::StillUnresolved } else { Transition::Unresolved }
    }

    /// Whether it is time to ask about it.
    pub(super) fn is_due(&self, at: UnixMs) -> bool {
        self.due_at().is_some_and(|due| at >= due)
    }

    /// The task to ask is out; or, in the issuer's maintenance, it will be asked after that. True:
    /// it is out.
    pub(super) fn ask(&mut self, task: EffectId, judge: &OutcomeContext<'_>) -> bool {
        self.changed_at = judge.at;
        if judge.rules.in_maintenance(judge.at).is_some() {
            let next_check =
                schedule::next_check(judge.at, self.inquiries, judge.number, self.absent_after, judge.rules);
            self.phase = Phase::Unresolved { next_check };
            return false;
        }
        self.inquiries = self.inquiries.saturating_add(1);
        self.phase = Phase::Inquiring { task };
        true
    }
}

/// StatusCode and StatusDesc of a refusal (POS API, section 3).
fn status_of(decline: &Decline, judge: &OutcomeContext<'_>) -> (StatusCode, String) {
    let codes = judge.codes;
    let own_text = || decline.reason.to_string();
    let with_code = || format!("{} {}", decline.code, decline.reason);
    let mapped = judge.rules.status_codes.get(&*decline.code);
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
