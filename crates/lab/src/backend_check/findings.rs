//! What the check found: for each question the answer, and what was seen.

use serde::Serialize;

/// The consequence of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Every adapter must keep it.
    Contract,
    /// An issuer whose charges the policy calls idempotent must keep it.
    Charges,
    /// An issuer whose refunds the policy calls idempotent must keep it.
    Refunds,
    /// It may be so or not; operators should know.
    Property,
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// It held whenever it was tried.
    Yes,
    /// It did not hold.
    No,
    /// It cannot be seen from outside, or a step before it failed.
    NotShown,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct BackendFinding {
    /// The consequence of the answer.
    pub group: Group,
    /// The name of the question, for programs.
    pub check: &'static str,
    /// The requirement, as a sentence.
    pub what: &'static str,
    /// Whether it holds.
    pub holds: Holds,
    /// The observation of the check.
    pub seen: String,
}

/// The findings so far, in the order of the questions.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<BackendFinding>);

impl Findings {
    /// Adds a finding.
    pub(super) fn add(&mut self, question: Question, holds: impl Into<Holds>, seen: impl Into<String>) {
        let Question { group, check, what } = question;
        self.0.push(BackendFinding { group, check, what, holds: holds.into(), seen: seen.into() });
    }

    /// All findings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &BackendFinding> {
        self.0.iter()
    }

    /// Whether the question of this name holds; `None` if it was not asked.
    pub fn holds(&self, check: &str) -> Option<Holds> {
        self.iter().find(|finding| finding.check == check).map(|finding| finding.holds)
    }

    /// Whether everything in a group holds: no, if anything does not; yes, if all was shown.
    pub fn group(&self, group: Group) -> Holds {
        let holds = || self.iter().filter(|finding| finding.group == group).map(|finding| finding.holds);
        if holds().any(|holds| holds == Holds::No) {
            Holds::No
        } else if holds().all(|holds| holds == Holds::Yes) {
            Holds::Yes
        } else {
            Holds::NotShown
        }
    }
}

/// A question of the check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) group: Group,
    pub(super) check: &'static str,
    pub(super) what: &'static str,
}

/// A question about what every adapter must keep.
pub(super) const fn contract(check: &'static str, what: &'static str) -> Question {
    Question { group: Group::Contract, check, what }
}

/// A question about a promise of issuers with idempotent charges.
pub(super) const fn charges(check: &'static str, what: &'static str) -> Question {
    Question { group: Group::Charges, check, what }
}

/// A question about a promise of issuers with idempotent refunds.
pub(super) const fn refunds(check: &'static str, what: &'static str) -> Question {
    Question { group: Group::Refunds, check, what }
}

/// A question whose answer may be either.
pub(super) const fn property(check: &'static str, what: &'static str) -> Question {
    Question { group: Group::Property, check, what }
}
