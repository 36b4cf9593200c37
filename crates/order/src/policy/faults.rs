//! The check of a policy: it lists all faults at once.

use std::collections::BTreeSet;

use twqr_types::StatusCode;

use super::{AcceptedMerchants, Policy};

/// The most faults that are listed; further ones are only counted.
const LISTED_MAX: usize = 100;

/// The advice for merchants in a policy that uses the directory.
const IN_DIRECTORY: &str = "must be empty unless accepted_merchants is \"in-policy\": put them into the directory with `twqr merchants import`";

/// A reason why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyFault {
    /// The field, such as `routes[2].prefix`.
    pub place: String,
    /// The fault, and the allowed values.
    pub problem: String,
}

impl Policy {
    /// Lists everything that is wrong with the policy; empty means that it can be used.
    pub fn faults(&self) -> Vec<PolicyFault> {
        self.faults_at(|list, i| format!("{list}[{i}]"))
    }

    /// Like [`Self::faults`]; `at` names the place of a part by its list and its index there.
    pub(super) fn faults_at(&self, at: impl Fn(&'static str, usize) -> String) -> Vec<PolicyFault> {
        let (mut faults, mut more) = (Vec::new(), 0_usize);
        let mut fault = |bad: bool, place: String, problem: String| {
            if bad && faults.len() < LISTED_MAX {
                faults.push(PolicyFault { place, problem });
            } else if bad {
                more += 1;
            }
        };
        fault(self.routes.is_empty(), "routes".into(), "at least one route is needed".into());
        let send_within = !(100..=60_000).contains(&self.send_within_ms);
        fault(send_within, "send_within_ms".into(), format!("is {}, must be 100 to 60000", self.send_within_ms));
        let codes = &self.status_codes;
        for (name, code) in [
            ("card_not_supported", codes.card_not_supported),
            ("fisc_abnormal", codes.fisc_abnormal),
            ("issuer_declined", codes.issuer_declined),
            ("refund_refused", codes.refund_refused),
        ] {
            fault(code == StatusCode::SUCCESS, format!("status_codes.{name}"), not_a_failure(code.as_str()));
        }
        let mut prefixes = BTreeSet::new();
        for (i, route) in self.routes.iter().enumerate() {
            let twice = !prefixes.insert(&route.prefix);
            let place = |field: &str| format!("{}.{field}", at("routes", i));
            fault(twice, place("prefix"), format!("{:?} is the prefix of an earlier route, too", route.prefix));
            for (field, problem) in route.faults() {
                fault(true, place(field), problem);
            }
        }
        let has_both = self.accepted_merchants != AcceptedMerchants::InPolicy && !self.merchants.is_empty();
        fault(has_both, "merchants".into(), IN_DIRECTORY.into());
        let mut issuers = BTreeSet::new();
        for (i, rules) in self.issuers.iter().enumerate() {
            let twice = !issuers.insert(rules.issuer);
            let name = rules.issuer.label();
            fault(twice, format!("{}.institution", at("issuers", i)), format!("{name} has rules already"));
            for (field, problem) in rules.faults() {
                fault(true, format!("{}.{field}", at("issuers", i)), problem);
            }
        }
        let mut merchants = BTreeSet::new();
        for (i, merchant) in self.merchants.iter().enumerate() {
            let twice = !merchants.insert(&merchant.id);
            fault(
                twice,
                format!("{}.id", at("merchants", i)),
                format!("{:?} is in the list twice", merchant.id.as_str()),
            );
            for (field, problem) in merchant.faults() {
                fault(true, format!("{}.{field}", at("merchants", i)), problem);
            }
        }
        if more > 0 {
            let problem = format!("{more} more faults are not listed; correct these first");
            faults.push(PolicyFault { place: "policy".into(), problem });
        }
        faults
    }
}

/// The fault of a text that is not a valid StatusCode for one of the policy's own.
pub(super) fn not_a_failure(raw: &str) -> String {
    format!("is {raw:?}, must be three digits, not 000")
}

#[cfg(test)]
mod tests {
    use twqr_types::{CutOff, MerchantId, StoreId};

    use super::*;
    use crate::{Merchant, StatusCodes, Store};

    /// A policy with this many merchants, all of the same name.
    fn policy(merchants: usize, stores: &[Store]) -> Policy {
        let merchant = |_| Merchant {
            id: MerchantId::parse("M1".to_owned()).unwrap(),
            stores: stores.to_vec(),
            keys: Vec::new(),
            payment_max: None,
            is_open: true,
        };
        Policy {
            name: String::new(),
            routes: Vec::new(),
            issuers: Vec::new(),
            status_codes: StatusCodes::default(),
            send_within_ms: 1_000,
            cut_off: CutOff::default(),
            accepted_merchants: AcceptedMerchants::InPolicy,
            merchants: (0..merchants).map(merchant).collect(),
            protocol_version: 0,
        }
    }

    #[test]
    fn a_limited_number_of_faults_is_listed_and_the_others_are_counted() {
        let good = policy(0, &[]).faults().len();
        let faults = policy(1_001, &[]).faults();
        assert_eq!(faults.len(), LISTED_MAX + 1);
        let more = 1_000 + good - LISTED_MAX;
        assert_eq!(
            faults[LISTED_MAX].to_string(),
            format!("policy: {more} more faults are not listed; correct these first")
        );
    }

    #[test]
    fn a_duplicate_is_reported_at_its_second_place() {
        let store = || Store { id: StoreId::parse("S1".to_owned()).unwrap(), payment_max: None, is_open: true };
        let faults = policy(2, &[store(), store()]).faults();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for place in ["merchants[1].id", "merchants[0].stores[1].id", "merchants[1].stores[1].id"] {
            assert!(faults.iter().any(|fault| fault.starts_with(place)), "{place}: {faults:?}");
        }
    }
}
