//! The policy document and its routes, with conversions to and from the machine's `Policy`.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twqr_order::{AcceptedMerchants, Alphabet, Policy, PolicyFault, PolicyReader, Route, RouteTarget, StatusCodes};
use twqr_types::{CutOff, Issuer};
use twqr_wire::convert::policy_size_fault;

use super::{
    choice::{choice, name_of},
    issuer::IssuerDocument,
    merchant::MerchantDocument,
};

/// The policy document. Amounts are in whole TWD, times in ms.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default = "PolicyDocument::without_lists")]
pub struct PolicyDocument {
    name: String,
    protocol_version: u32,
    send_within_ms: i64,
    cut_off: String,
    card_not_supported: String,
    fisc_abnormal: String,
    issuer_declined: String,
    refund_refused: String,
    #[serde(skip_serializing_if = "is_in_policy")]
    accepted_merchants: String,
    routes: Vec<RouteDocument>,
    issuers: Vec<IssuerDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    merchants: Vec<MerchantDocument>,
}

/// A route: codes with this prefix belong to this institution; an empty institution means the
/// JKOPAY wallet.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct RouteDocument {
    prefix: String,
    #[serde(default)]
    institution: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refuse: bool,
    code_lengths: Vec<u32>,
    #[serde(default = "printable")]
    alphabet: String,
}

fn in_policy() -> String {
    name_of(AcceptedMerchants::InPolicy, &AcceptedMerchants::ALL)
}

fn is_in_policy(name: &str) -> bool {
    name == in_policy()
}

fn printable() -> String {
    name_of(Alphabet::Printable, &Alphabet::ALL)
}

/// Rewrites the place of a fault as a key of the document, which has no tables `status_codes` and
/// `resolution`.
fn in_document(fault: PolicyFault) -> PolicyFault {
    let place = fault.place.replace("status_codes.", "").replace(".resolution.", ".");
    PolicyFault { place, ..fault }
}

/// The rules of a new system. The file is part of the product and no sample, because these rules
/// decide payments until an operator changes them.
const DEFAULT_POLICY: &str = include_str!("../../default-policy.toml");

/// The default policy as a table, to fill in what a configuration leaves out.
pub(crate) fn default_table() -> toml::Table {
    toml::from_str(DEFAULT_POLICY).unwrap_or_default()
}

impl Default for PolicyDocument {
    /// The default policy. A test shows that the file can be read, so the fallback is never used.
    fn default() -> Self {
        toml::from_str(DEFAULT_POLICY).unwrap_or_else(|_| Self::without_lists())
    }
}

impl PolicyDocument {
    /// The values of keys that a document leaves out: the defaults of `order`, without routes,
    /// issuers and merchants, and the protocol version 0, which keeps the one in force.
    fn without_lists() -> Self {
        let codes = StatusCodes::default();
        let defaults = Policy::default();
        Self {
            name: defaults.name,
            protocol_version: 0,
            send_within_ms: defaults.send_within_ms,
            cut_off: defaults.cut_off.to_string(),
            card_not_supported: codes.card_not_supported.into(),
            fisc_abnormal: codes.fisc_abnormal.into(),
            issuer_declined: codes.issuer_declined.into(),
            refund_refused: codes.refund_refused.into(),
            accepted_merchants: in_policy(),
            routes: Vec::new(),
            issuers: Vec::new(),
            merchants: Vec::new(),
        }
    }

    /// Converts to the machine's policy; the error lists every fault with its key.
    pub fn policy(&self) -> Result<Policy, Vec<PolicyFault>> {
        let (mut reading, defaults) = (PolicyReader::default(), StatusCodes::default());
        let cut_off = CutOff::parse(&self.cut_off);
        if let Err(invalid) = cut_off {
            reading.fault("cut_off".to_owned(), format!("is {:?}: {invalid}", self.cut_off));
        }
        let accepted_merchants = choice(&self.accepted_merchants, &AcceptedMerchants::ALL);
        if let Err(problem) = &accepted_merchants {
            reading.fault("accepted_merchants".to_owned(), problem.to_string());
        }
        let policy = Policy {
            name: self.name.clone(),
            routes: reading.list("routes", &self.routes, RouteDocument::route),
            issuers: reading.issuers(&self.issuers, IssuerDocument::status_codes, IssuerDocument::rules),
            status_codes: StatusCodes {
                card_not_supported: reading.status_code(
                    "card_not_supported",
                    &self.card_not_supported,
                    defaults.card_not_supported,
                ),
                fisc_abnormal: reading.status_code("fisc_abnormal", &self.fisc_abnormal, defaults.fisc_abnormal),
                issuer_declined: reading.status_code(
                    "issuer_declined",
                    &self.issuer_declined,
                    defaults.issuer_declined,
                ),
                refund_refused: reading.status_code("refund_refused", &self.refund_refused, defaults.refund_refused),
            },
            protocol_version: self.protocol_version,
            send_within_ms: self.send_within_ms,
            cut_off: cut_off.unwrap_or_default(),
            accepted_merchants: accepted_merchants.unwrap_or_default(),
            merchants: reading.list("merchants", &self.merchants, MerchantDocument::merchant),
        };
        // The only fault that is reported then: looking for others in a large policy takes long.
        if let Some(fault) = policy_size_fault(&policy) {
            return Err(vec![fault]);
        }
        if let Some(PolicyFault { place, problem }) = policy.unknown_protocol() {
            reading.fault(place, problem);
        }
        for PolicyFault { place, problem } in policy.faults_of_new() {
            reading.fault(place, problem);
        }
        reading.finish(policy).map_err(|faults| faults.into_iter().map(in_document).collect())
    }

    /// Returns the document that is equivalent to a policy.
    pub fn from_policy(policy: &Policy) -> Self {
        Self {
            name: policy.name.clone(),
            protocol_version: policy.protocol_version,
            send_within_ms: policy.send_within_ms,
            cut_off: policy.cut_off.to_string(),
            card_not_supported: policy.status_codes.card_not_supported.into(),
            fisc_abnormal: policy.status_codes.fisc_abnormal.into(),
            issuer_declined: policy.status_codes.issuer_declined.into(),
            refund_refused: policy.status_codes.refund_refused.into(),
            accepted_merchants: name_of(policy.accepted_merchants, &AcceptedMerchants::ALL),
            routes: policy.routes.iter().map(RouteDocument::from_route).collect(),
            issuers: policy.issuers.iter().map(IssuerDocument::from_rules).collect(),
            merchants: policy.merchants.iter().map(MerchantDocument::from_merchant).collect(),
        }
    }
}

impl RouteDocument {
    fn route(&self) -> anyhow::Result<Route> {
        let target = if self.refuse {
            RouteTarget::Refuse
        } else {
            RouteTarget::Issuer(Issuer::from_wire(&self.institution).context("institution")?)
        };
        let alphabet = choice(&self.alphabet, &Alphabet::ALL).context("alphabet")?;
        Ok(Route { prefix: self.prefix.clone(), target, code_lengths: self.code_lengths.clone(), alphabet })
    }

    fn from_route(route: &Route) -> Self {
        let (institution, refuse) = match &route.target {
            RouteTarget::Issuer(issuer) => (issuer.as_wire().to_owned(), false),
            RouteTarget::Refuse => (String::new(), true),
        };
        Self {
            prefix: route.prefix.clone(),
            institution,
            refuse,
            code_lengths: route.code_lengths.clone(),
            alphabet: name_of(route.alphabet, &Alphabet::ALL),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const EVERYTHING: &str = r#"
name = "all of it"
cut_off = "23:30"
routes = [{ prefix = "22", code_lengths = [18] }, { prefix = "2299", refuse = true, code_lengths = [18], alphabet = "digits" }]
[[issuers]]
institution = "391"
idempotent_refunds = true
[issuers.refund]
scope = "full"
window_days = 7
[issuers.status_codes]
K02 = "931"
[[issuers.maintenance]]
from = "2026-12-01T02:00:00+08:00"
to = "2026-12-01T04:00:00+08:00"
[[merchants]]
id = "M1"
[[merchants.stores]]
id = "S1"
payment_max = 5000
open = false
"#;

    #[test]
    fn a_prefix_may_be_longer_than_protected_tokens_show_before_they_are_written() {
        for (version, is_valid) in [(2, true), (3, false)] {
            let text = format!("protocol_version = {version}\nroutes = [{{ prefix = \"2299\", code_lengths = [6] }}]");
            let document: PolicyDocument = toml::from_str(&text).unwrap();
            assert_eq!(document.policy().is_ok(), is_valid, "{version}");
        }
    }

    #[test]
    fn a_policy_is_the_same_after_conversion_to_a_document_and_back() {
        let listed = PolicyDocument { accepted_merchants: "listed".into(), ..PolicyDocument::default() };
        for document in [PolicyDocument::default(), toml::from_str(EVERYTHING).unwrap(), listed] {
            let policy = document.policy().unwrap();
            let printed = toml::to_string(&PolicyDocument::from_policy(&policy)).unwrap();
            let again: PolicyDocument = toml::from_str(&printed).unwrap();
            assert_eq!(again.policy().unwrap(), policy, "{printed}");
        }
    }

    #[test]
    fn the_default_policy_can_be_read_and_is_valid() {
        let document: PolicyDocument = toml::from_str(DEFAULT_POLICY).unwrap();
        assert!(!document.policy().unwrap().routes.is_empty());
        assert_eq!(document, PolicyDocument::default());
    }

    #[test]
    fn each_fault_names_its_key() {
        for (text, expected) in [
            ("[[issuers]]\ninstitution = \"1\"", "issuers[0]: institution"),
            ("[[issuers]]\ninstitution = \"391\"\nrefund = { scope = \"some\" }", "must be one of none, full, partial"),
            ("[[routes]]\nprefix = \"2\"\ncode_lengths = [1]\nalphabet = \"x\"", "routes[0]: alphabet"),
            ("[[merchants]]\nid = \"\"", "merchants[0]: id"),
            (
                "[[issuers]]\ninstitution = \"391\"\nmaintenance = [{ from = \"0115-12-01T02:00:00+08:00\", to = \"2026-12-01T04:00:00+08:00\" }]",
                "issuers[0].maintenance[0]: from and to must be of a Gregorian year from 2000 to 2199, such as 2026",
            ),
            ("accepted_merchants = \"all\"", "accepted_merchants: is \"all\", must be one of in-policy, any, listed"),
            ("accepted_merchants = \"any\"\n[[merchants]]\nid = \"M\"", "`twqr merchants import`"),
            ("cut_off = \"24:00\"", "cut_off: is \"24:00\": a cut-off is a time of day of the form HH:MM"),
        ] {
            let routed = format!("routes = [{{ prefix = \"22\", code_lengths = [18] }}]\n{text}");
            let text = if text.starts_with("[[routes]]") { text } else { &routed };
            let document: PolicyDocument = toml::from_str(text).unwrap();
            let faults = document.policy().unwrap_err();
            assert!(faults.len() == 1 && faults[0].to_string().contains(expected), "{faults:?}");
        }
    }
}
