//! The result of a check: the findings, and the lines of the policy that follow from them.

use std::fmt;

use serde::Serialize;

use super::{
    findings::{BackendFinding, Findings, Group, Holds, Question, property},
    options::Idempotent,
};

const WINDOW: Question =
    property("window", "The issuer's window: how long after send_by a call may still take effect.");

/// The result of a check of an adapter.
#[derive(Clone, Debug, Serialize)]
pub struct BackendReport {
    /// The address of the adapter.
    pub address: String,
    /// The issuer's institution code; empty for the wallet.
    pub institution: String,
    /// Whether nothing of the contract was broken.
    pub keeps_contract: bool,
    /// The policy flag `idempotent_charges`: whether the issuer may have it.
    pub idempotent_charges: Holds,
    /// The policy flag `idempotent_refunds`: whether the issuer may have it.
    pub idempotent_refunds: Holds,
    /// The latest effect that was seen, in ms after its `send_by`: `window_ms` must be longer.
    pub latest_effect_ms: Option<i64>,
    /// The issuer's code that the policy's `status_codes` must map to 812.
    pub cancelled_code: Option<String>,
    /// Every question with its answer.
    pub findings: Findings,
}

impl BackendReport {
    pub(super) fn new(
        [address, institution]: [String; 2],
        mut findings: Findings,
        latest_effect_ms: Option<i64>,
        cancelled_code: Option<String>,
    ) -> Self {
        let seen = latest_effect_ms.map_or_else(
            || "no call took effect late here; what is on its way can be late elsewhere".to_owned(),
            |ms| format!("longer than {ms} ms: a call took effect then"),
        );
        findings.add(WINDOW, Holds::NotShown, seen);
        let idempotent_charges = findings.group(Group::Charges);
        // The code counts only for an issuer that remembers reversed charges.
        let cancelled_code = cancelled_code.filter(|_| idempotent_charges == Holds::Yes);
        Self {
            address,
            institution,
            keeps_contract: findings.group(Group::Contract) != Holds::No,
            idempotent_charges,
            idempotent_refunds: findings.group(Group::Refunds),
            latest_effect_ms,
            cancelled_code,
            findings,
        }
    }

    /// Whether the contract is kept, and these flags of the policy follow.
    pub fn allows(&self, idempotent: &[Idempotent]) -> bool {
        let allows = |flag: &Idempotent| match flag {
            Idempotent::Charges => self.idempotent_charges == Holds::Yes,
            Idempotent::Refunds => self.idempotent_refunds == Holds::Yes,
        };
        self.keeps_contract && idempotent.iter().all(allows)
    }

    /// The names of the questions of a group that have this answer.
    fn named(&self, group: Group, holds: Holds) -> String {
        let is_named = |finding: &&BackendFinding| finding.group == group && finding.holds == holds;
        self.findings.iter().filter(is_named).map(|finding| finding.check).collect::<Vec<_>>().join(", ")
    }

    fn flag(&self, to: &mut fmt::Formatter<'_>, name: &str, group: Group, holds: Holds) -> fmt::Result {
        match holds {
            Holds::Yes => writeln!(to, "  {name} = true"),
            Holds::No => writeln!(to, "  {name} = false  # {}", self.named(group, Holds::No)),
            Holds::NotShown => writeln!(to, "  {name} = false  # not shown: {}", self.named(group, Holds::NotShown)),
        }
    }
}

impl fmt::Display for BackendReport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, title, words) in [
            (Group::Contract, "The contract", ["kept", "BROKEN", "not shown"]),
            (Group::Charges, "Idempotent charges", ["yes", "no", "not shown"]),
            (Group::Refunds, "Idempotent refunds", ["yes", "no", "not shown"]),
            (Group::Property, "Properties", ["yes", "no", "not shown"]),
        ] {
            writeln!(to, "{title}")?;
            for finding in self.findings.iter().filter(|finding| finding.group == group) {
                let word = match finding.holds {
                    Holds::Yes => words[0],
                    Holds::No => words[1],
                    Holds::NotShown => words[2],
                };
                writeln!(to, "  {word:<9}  {}", finding.what)?;
                writeln!(to, "  {:<9}    {}: {}", "", finding.check, finding.seen)?;
            }
        }
        let issuer = if self.institution.is_empty() { "the wallet" } else { &self.institution };
        writeln!(to, "In the policy, for {issuer}")?;
        self.flag(to, "idempotent_charges", Group::Charges, self.idempotent_charges)?;
        self.flag(to, "idempotent_refunds", Group::Refunds, self.idempotent_refunds)?;
        if let Some(ms) = self.latest_effect_ms {
            writeln!(to, "  window_ms is above {ms}")?;
        }
        if let Some(code) = &self.cancelled_code {
            writeln!(to, "  status_codes maps {code} to 812")?;
        }
        let kept = if self.keeps_contract { "keeps" } else { "BREAKS" };
        write!(to, "{} {kept} the contract", self.address)
    }
}
