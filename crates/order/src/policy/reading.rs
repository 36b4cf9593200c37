//! A policy on its way in from another form: everything that is wrong is collected, also where a
//! part cannot be read at all.

use std::{collections::BTreeMap, fmt::Display};

use super::{Policy, PolicyFault};

/// Collects the faults of a policy while its lists are read.
#[derive(Debug, Default)]
pub struct PolicyReading {
    faults: Vec<PolicyFault>,
    /// Of each list, where in it the parts stood that could be read.
    places: BTreeMap<&'static str, Vec<usize>>,
}

impl PolicyReading {
    /// Reads the parts of a list (`routes`, `issuers` or `merchants`); those that cannot be read
    /// are faults.
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

    /// Something else is wrong.
    pub fn fault(&mut self, place: String, problem: String) {
        self.faults.push(PolicyFault { place, problem });
    }

    /// The policy that was read, or everything that is wrong with it.
    pub fn finish(mut self, policy: Policy) -> Result<Policy, Vec<PolicyFault>> {
        let read = |list: &str, i: usize| self.places.get(list).and_then(|places| places.get(i)).copied().unwrap_or(i);
        let mut further = policy.faults_at(|list, i| format!("{list}[{}]", read(list, i)));
        if self.faults.iter().any(|fault| fault.place.starts_with("routes[")) {
            // There are routes, only none that can be read.
            further.retain(|fault| fault.place != "routes");
        }
        self.faults.extend(further);
        if self.faults.is_empty() { Ok(policy) } else { Err(self.faults) }
    }
}
