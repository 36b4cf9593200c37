//! Reads a policy from another form, such as protobuf or TOML. All faults are collected, also those
//! of parts that cannot be read.

use std::{collections::BTreeMap, fmt::Display};

use twqr_types::StatusCode;

use super::{IssuerRules, Policy, PolicyFault, faults::not_a_failure, issuer::not_a_refusal};

/// Collects the faults of a policy while its lists are read.
#[derive(Debug, Default)]
pub struct PolicyReader {
    faults: Vec<PolicyFault>,
    /// For each list, the indices of the parts that could be read.
    places: BTreeMap<&'static str, Vec<usize>>,
}

impl PolicyReader {
    /// Reads the parts of a list (`routes`, `issuers` or `merchants`). A part that cannot be read
    /// is a fault.
    pub fn list<R, T, E: Display>(
        &mut self,
        list: &'static str,
        raw: impl IntoIterator<Item = R>,
        read: impl Fn(R) -> Result<T, E>,
    ) -> Vec<T> {
        let mut parts = Vec::new();
        for (i, raw) in raw.into_iter().enumerate() {
            match read(raw) {
                Ok(part) => {
                    parts.push(part);
                    self.places.entry(list).or_default().push(i);
                }
                Err(problem) => self.fault(format!("{list}[{i}]"), format!("{problem:#}")),
            }
        }
        parts
    }

    /// Reads the parts of the list `issuers`. `read` reads a part without its StatusCodes. `codes`
    /// returns those: a map from the issuer's own codes to texts. Each text that is not a
    /// StatusCode is a separate fault.
    pub fn issuers<'a, R: 'a, E: Display>(
        &mut self,
        raw: &'a [R],
        codes: impl Fn(&'a R) -> &'a BTreeMap<String, String>,
        read: impl Fn(&'a R) -> Result<IssuerRules, E>,
    ) -> Vec<IssuerRules> {
        let rules = self.list("issuers", raw, |part| read(part).map(|rules| (rules, codes(part))));
        let places = self.places.get("issuers").cloned().unwrap_or_default();
        let parsed = rules.into_iter().zip(places).map(|((mut rules, codes), i)| {
            for (theirs, code) in codes {
                match StatusCode::parse(code) {
                    Ok(code) => drop(rules.status_codes.insert(theirs.clone(), code)),
                    Err(_) => self.fault(format!("issuers[{i}].status_codes.{theirs}"), not_a_refusal(code)),
                }
            }
            rules
        });
        parsed.collect()
    }

    /// Reads one of the policy's own StatusCodes; `name` is its field in [`crate::StatusCodes`]. If
    /// the text is not a StatusCode, adds a fault and returns `default`.
    pub fn status_code(&mut self, name: &str, raw: &str, default: StatusCode) -> StatusCode {
        StatusCode::parse(raw).unwrap_or_else(|_| {
            self.fault(format!("status_codes.{name}"), not_a_failure(raw));
            default
        })
    }

    /// Adds a fault that the caller found.
    pub fn fault(&mut self, place: String, problem: String) {
        self.faults.push(PolicyFault { place, problem });
    }

    /// Returns the policy, or everything that is wrong with it.
    pub fn finish(mut self, policy: Policy) -> Result<Policy, Vec<PolicyFault>> {
        let read = |list: &str, i: usize| self.places.get(list).and_then(|places| places.get(i)).copied().unwrap_or(i);
        let mut further = policy.faults_at(|list, i| format!("{list}[{}]", read(list, i)));
        if self.faults.iter().any(|fault| fault.place.starts_with("routes[")) {
            // The policy has routes, though they cannot be read.
            further.retain(|fault| fault.place != "routes");
        }
        self.faults.extend(further);
        if self.faults.is_empty() { Ok(policy) } else { Err(self.faults) }
    }
}
