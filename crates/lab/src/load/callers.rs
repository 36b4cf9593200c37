//! The callers of a run in which a caller floods. The system then lets in only callers, so callers
//! send the load, too. Their keys are made for the run, and exist only in this process.

use std::collections::BTreeSet;

use anyhow::Error;
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Operation};
use twqr_config::{AccessConfig, CallerDocument, Config};
use twqr_loadgen::{CallerKey, scenario::Scenario};
use twqr_types::{KeyName, MerchantId};

use super::flood::CALLER_MERCHANTS;

/// How many callers send the load.
const LOAD_CALLERS: usize = 4;

/// The callers of a run.
pub(super) struct RunCallers {
    /// The keys of those that send the load, for all merchants and without limits of their own.
    pub(super) load: Vec<CallerKey>,
    /// The key of the one that floods.
    pub(super) flood: CallerKey,
    documents: Vec<CallerDocument>,
}

impl RunCallers {
    /// Makes the callers of a scenario; `None` if no caller floods in it.
    pub(super) fn of(scenario: &Scenario) -> anyhow::Result<Option<Self>> {
        let Some(planned) = scenario.flood_of_caller() else { return Ok(None) };
        let mut callers = Self { load: Vec::new(), flood: CallerKey::default(), documents: Vec::new() };
        for number in 0..LOAD_CALLERS {
            let key = callers.add(format!("load-{number}"), MerchantScope::All, CallerLimits::default())?;
            callers.load.push(key);
        }
        let merchants = CALLER_MERCHANTS.iter().map(|id| MerchantId::parse((*id).to_owned()));
        let merchants: BTreeSet<_> = merchants.collect::<Result<_, _>>().map_err(Error::msg)?;
        let limits = CallerLimits { calls_per_s: Some(planned.calls_per_s), calls_max: Some(planned.calls_max) };
        callers.flood = callers.add("flood".to_owned(), MerchantScope::Only(merchants), limits)?;
        Ok(Some(callers))
    }

    /// Lets these callers in, and no one else.
    pub(super) fn configure(&self, config: &mut Config) {
        config.access = AccessConfig { required: true, callers: self.documents.clone(), ..AccessConfig::default() };
    }

    /// Adds a caller with a new key, and returns the key.
    fn add(&mut self, name: String, merchants: MerchantScope, limits: CallerLimits) -> anyhow::Result<CallerKey> {
        let key = NewKey::of_random(rand::random());
        let api_key = ApiKey {
            name: KeyName::parse("run".to_owned()).map_err(Error::msg)?,
            hash: key.hash(),
            from: None,
            until: None,
        };
        self.documents.push(CallerDocument::from(&Caller {
            name: CallerName::parse(name).map_err(Error::msg)?,
            certificates: Vec::new(),
            keys: vec![api_key],
            merchants,
            operations: Operation::ALL.iter().map(|(operation, _)| *operation).collect(),
            roles: BTreeSet::new(),
            limits,
        }));
        Ok(CallerKey::new(key.reveal())?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tonic::{Request, service::Interceptor as _};
    use twqr_callers::KeyHash;

    use super::*;

    const PHASE: &str = "[[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 1\n";
    const FLOOD: &str =
        "[[fault]]\nat_s = 0\naction = \"flood-caller\"\nfor_s = 1\nrate = 9\ncalls_per_s = 7\ncalls_max = 2\n";

    fn hash_of(key: &CallerKey) -> KeyHash {
        let shown = key.clone().call(Request::new(())).unwrap();
        let header = shown.metadata().get("authorization").unwrap().to_str().unwrap();
        KeyHash::of(header.strip_prefix("Bearer ").unwrap()).unwrap()
    }

    #[test]
    fn each_caller_has_its_own_key_and_only_the_one_that_floods_is_limited() {
        let scenario = Scenario::parse(&format!("{PHASE}{FLOOD}")).unwrap();
        let run = RunCallers::of(&scenario).unwrap().unwrap();
        let mut config = Config::default();
        run.configure(&mut config);
        assert!(config.access.required && config.fairness == Config::default().fairness);
        let callers = config.access.callers().unwrap();
        let (flood, load) = callers.split_last().unwrap();
        let limits = CallerLimits { calls_per_s: Some(7), calls_max: Some(2) };
        assert_eq!((flood.limits, flood.keys[0].hash), (limits, hash_of(&run.flood)));
        assert!(CALLER_MERCHANTS.iter().all(|id| flood.acts_for(id)) && !flood.acts_for("LM0"));
        assert_eq!((load.len(), run.load.len()), (LOAD_CALLERS, LOAD_CALLERS));
        for (caller, key) in load.iter().zip(&run.load) {
            assert_eq!((caller.limits, caller.keys[0].hash), (CallerLimits::default(), hash_of(key)));
            assert!(caller.acts_for("LM0"));
        }
        let hashes: BTreeSet<_> = callers.iter().map(|caller| caller.keys[0].hash.to_string()).collect();
        assert_eq!(hashes.len(), LOAD_CALLERS + 1);
    }

    #[test]
    fn a_system_without_a_flood_of_a_caller_has_no_callers() {
        let flood = "[[fault]]\nat_s = 0\naction = \"flood\"\nfor_s = 1\nrate = 9\n";
        for faults in ["", flood] {
            let scenario = Scenario::parse(&format!("{PHASE}{faults}")).unwrap();
            assert!(RunCallers::of(&scenario).unwrap().is_none(), "{faults}");
        }
    }
}
