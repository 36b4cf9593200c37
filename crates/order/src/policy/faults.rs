//! Everything that is wrong with a policy, listed at once.

use super::{POLICY_BYTES_MAX, Policy};

/// Why a policy cannot be used: where, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyFault {
    /// Such as `routes[2].prefix`.
    pub place: String,
    /// What was wrong, and what is allowed.
    pub problem: String,
}

impl Policy {
    /// Everything that is wrong with it; empty means that it can be used.
    pub fn faults(&self) -> Vec<PolicyFault> {
        self.faults_at(|list, i| format!("{list}[{i}]"))
    }

    /// The same; `at` names the place of a part, from its list and its number there.
    pub(super) fn faults_at(&self, at: impl Fn(&'static str, usize) -> String) -> Vec<PolicyFault> {
        let mut faults = Vec::new();
        let mut fault = |bad: bool, place: String, problem: String| {
            if bad {
                faults.push(PolicyFault { place, problem });
            }
        };
        fault(self.routes.is_empty(), "routes".into(), "at least one route is needed".into());
        let send_within = !(100..=60_000).contains(&self.send_within_ms);
        fault(send_within, "send_within_ms".into(), format!("is {}, must be 100 to 60000", self.send_within_ms));
        let begins = self.day_begins_min;
        fault(begins > 1_439, "day_begins_min".into(), format!("is {begins}, must be 0 to 1439"));
        let size = self.size();
        let too_large =
            format!("has {size} bytes, at most {POLICY_BYTES_MAX} are allowed: take out merchants or stores");
        fault(size > POLICY_BYTES_MAX, "merchants".into(), too_large);
        let codes = &self.status_codes;
        for (name, code) in [
            ("card_not_supported", &codes.card_not_supported),
            ("fisc_abnormal", &codes.fisc_abnormal),
            ("issuer_declined", &codes.issuer_declined),
            ("refund_refused", &codes.refund_refused),
        ] {
            let bad = code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) || code == "000";
            fault(bad, format!("status_codes.{name}"), format!("is {code:?}, must be three digits, not 000"));
        }
        for (i, route) in self.routes.iter().enumerate() {
            let twice = self.routes[..i].iter().any(|other| other.prefix == route.prefix);
            let place = |field: &str| format!("{}.{field}", at("routes", i));
            fault(twice, place("prefix"), format!("{:?} stands in an earlier route already", route.prefix));
            for (field, problem) in route.faults() {
                fault(true, place(field), problem);
            }
        }
        for (i, rules) in self.issuers.iter().enumerate() {
            let twice = self.issuers[..i].iter().any(|other| other.issuer == rules.issuer);
            let name = rules.issuer.label();
            fault(twice, format!("{}.institution", at("issuers", i)), format!("{name} has rules already"));
            for (field, problem) in rules.faults() {
                fault(true, format!("{}.{field}", at("issuers", i)), problem);
            }
        }
        for (i, merchant) in self.merchants.iter().enumerate() {
            let twice = self.merchants[..i].iter().any(|other| other.id == merchant.id);
            fault(
                twice,
                format!("{}.id", at("merchants", i)),
                format!("{:?} stands there already", merchant.id.as_str()),
            );
            for (field, problem) in merchant.faults() {
                fault(true, format!("{}.{field}", at("merchants", i)), problem);
            }
        }
        faults
    }
}
