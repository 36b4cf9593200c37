//! Decides whether the figures of a run are valid; the verdict is the first line of every report.
//! An invalid run has its own exit code, independent of its figures.

use serde::Serialize;

use crate::{reconcile::Reconciliation, scenario::ValidityLimits};

/// The conditions of a run, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct ValidityFacts {
    /// Calls that started.
    pub started: u64,
    /// Starts that were left out.
    pub dropped: u64,
    /// The p99 of the generator's lateness, in ms.
    pub start_lag_p99_ms: f64,
    /// The highest share of a core that a sending thread used in any 5 s; `None` if unknown.
    pub generator_cpu_share: Option<f64>,
    /// The share of the machine that other processes used; `None` if unknown.
    pub others_cpu_share: Option<f64>,
    /// The result of the reconciliation; `None` if it could not be made.
    pub reconciliation: Option<Reconciliation>,
    /// The reason why acknowledged records are less durable than the scenario needs.
    pub durability_fault: Option<String>,
    /// Whether the system's durability is known at all.
    pub is_durability_known: bool,
    /// Whether the run was ended before its schedule.
    pub stopped_early: bool,
    /// Faults of the plan that could not be caused.
    pub failed_faults: Vec<String>,
}

/// The verdict on a run's conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validity {
    /// Whether nothing speaks against the figures.
    pub is_valid: bool,
    /// The first line of every report.
    pub line: String,
    /// The reason why the run is invalid.
    pub reasons: Vec<String>,
    /// The conditions that are unknown, and so could not be checked.
    pub unknown: Vec<String>,
}

impl Validity {
    /// Judges the conditions by the scenario's limits.
    pub fn judge(limits: &ValidityLimits, facts: &ValidityFacts) -> Self {
        let reasons = reasons(limits, facts);
        let mut unknown = Vec::new();
        if facts.generator_cpu_share.is_none() {
            unknown.push("the generator's CPU".to_owned());
        }
        if facts.others_cpu_share.is_none() {
            unknown.push("what else used the machine".to_owned());
        }
        if !facts.is_durability_known {
            unknown.push("the system's durability settings".to_owned());
        }
        if facts.reconciliation.as_ref().is_some_and(|found| !found.with_ledger) {
            unknown.push("the issuers' ledger".to_owned());
        }
        let mut line = if reasons.is_empty() { "VALID".to_owned() } else { format!("INVALID: {}", reasons.join("; ")) };
        if !unknown.is_empty() {
            line = format!("{line} (not checked: {})", unknown.join(", "));
        }
        Self { is_valid: reasons.is_empty(), line, reasons, unknown }
    }
}

fn reasons(limits: &ValidityLimits, facts: &ValidityFacts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.started == 0 {
        reasons.push("no call started".to_owned());
    }
    if facts.dropped > 0 {
        reasons.push(format!("{} starts were dropped, because too many calls were in flight", facts.dropped));
    }
    if facts.start_lag_p99_ms > limits.start_lag_p99_ms {
        let (lag, limit) = (facts.start_lag_p99_ms, limits.start_lag_p99_ms);
        reasons.push(format!("the generator was late: p99 {lag:.1} ms after the intended start, limit {limit} ms"));
    }
    let percent = |share: f64| (share * 100.0).round();
    if let Some(share) = facts.generator_cpu_share.filter(|share| *share > limits.generator_cpu_share) {
        let limit = percent(limits.generator_cpu_share);
        reasons.push(format!("the generator was CPU-bound: {} % of a core, limit {limit} %", percent(share)));
    }
    if let Some(share) = facts.others_cpu_share.filter(|share| *share > limits.others_cpu_share) {
        let limit = percent(limits.others_cpu_share);
        reasons.push(format!("other processes used {} % of the machine, limit {limit} %", percent(share)));
    }
    match &facts.reconciliation {
        None => reasons.push("the calls could not be reconciled".to_owned()),
        Some(found) if !found.is_clean() => reasons.push(format!(
            "the audit failed: {} orders mismatch, {} missing, {} twice, {} unexpected entries in the ledger",
            found.mismatched, found.missing, found.twice, found.unexpected_entries
        )),
        Some(_) => {}
    }
    reasons.extend(facts.durability_fault.clone());
    if facts.stopped_early {
        reasons.push("the run was ended before its schedule".to_owned());
    }
    reasons.extend(facts.failed_faults.iter().map(|fault| format!("a planned fault could not be caused: {fault}")));
    reasons
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        latency_histogram,
        scenario::Scenario,
        schedule::{PacerClock, Schedule, pace},
    };

    fn sound() -> ValidityFacts {
        ValidityFacts {
            started: 10,
            generator_cpu_share: Some(0.3),
            others_cpu_share: Some(0.02),
            reconciliation: Some(Reconciliation { with_ledger: true, ..Reconciliation::default() }),
            is_durability_known: true,
            ..ValidityFacts::default()
        }
    }

    #[test]
    fn each_condition_alone_makes_a_run_invalid() {
        let limits = ValidityLimits::default();
        assert_eq!(Validity::judge(&limits, &sound()).line, "VALID");
        let failed = Reconciliation { twice: 1, ..Reconciliation::default() };
        for (facts, reason) in [
            (ValidityFacts { started: 0, ..sound() }, "no call started"),
            (ValidityFacts { dropped: 3, ..sound() }, "3 starts were dropped"),
            (ValidityFacts { start_lag_p99_ms: 5.1, ..sound() }, "the generator was late"),
            (ValidityFacts { generator_cpu_share: Some(0.95), ..sound() }, "CPU-bound: 95 %"),
            (ValidityFacts { others_cpu_share: Some(0.4), ..sound() }, "other processes used 40 %"),
            (ValidityFacts { reconciliation: None, ..sound() }, "could not be reconciled"),
            (ValidityFacts { reconciliation: Some(failed), ..sound() }, "1 twice"),
            (ValidityFacts { durability_fault: Some("data in memory".into()), ..sound() }, "data in memory"),
            (ValidityFacts { stopped_early: true, ..sound() }, "before its schedule"),
            (ValidityFacts { failed_faults: vec!["kill".into()], ..sound() }, "planned fault"),
        ] {
            let validity = Validity::judge(&limits, &facts);
            assert!(!validity.is_valid && validity.line.starts_with("INVALID: "), "{validity:?}");
            assert!(validity.line.contains(reason), "{validity:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_named_in_the_first_line() {
        let facts = ValidityFacts { others_cpu_share: None, is_durability_known: false, ..sound() };
        let line = Validity::judge(&ValidityLimits::default(), &facts).line;
        assert_eq!(line, "VALID (not checked: what else used the machine, the system's durability settings)");
    }

    /// A clock in virtual time. Handing a start over takes `busy_ns`, and each wait returns late.
    struct SlowedClock {
        now_ns: u64,
        busy_ns: u64,
        late_ns: u64,
        random: ChaCha8Rng,
    }

    impl PacerClock for SlowedClock {
        fn now_ns(&mut self) -> u64 {
            self.now_ns += self.busy_ns;
            self.now_ns
        }

        fn wait_until(&mut self, at_ns: u64) -> bool {
            self.now_ns = self.now_ns.max(at_ns) + self.random.random_range(0..=self.late_ns);
            true
        }
    }

    fn verdict_of(seed: u64, busy_ns: u64, late_ns: u64) -> bool {
        let text = format!("seed = {seed}\n[[phase]]\nkind = \"hold\"\nseconds = 10\nrate = 500\n");
        let scenario = Scenario::parse(&text).unwrap();
        let mut clock = SlowedClock { now_ns: 0, busy_ns, late_ns, random: ChaCha8Rng::seed_from_u64(seed) };
        let mut lag = latency_histogram();
        pace(
            Schedule::new(&scenario),
            &mut clock,
            |_| false,
            |start, now_ns| {
                lag.saturating_record(now_ns.saturating_sub(start.at_ns) / 1_000);
                true
            },
        );
        let facts = ValidityFacts {
            started: lag.len(),
            start_lag_p99_ms: lag.value_at_quantile(0.99) as f64 / 1_000.0,
            ..sound()
        };
        Validity::judge(&scenario.validity, &facts).is_valid
    }

    #[test]
    fn a_slowed_generator_is_always_declared_invalid() {
        for seed in 0..60 {
            assert!(verdict_of(seed, 10_000, 200_000), "seed {seed}: a sound generator");
            // Each call costs more than the time until the next one is due: it falls behind.
            assert!(!verdict_of(seed, 1_100_000, 0), "seed {seed}: too slow for the rate");
            // It keeps up on average, but wakes up to 20 ms late.
            assert!(!verdict_of(seed, 10_000, 20_000_000), "seed {seed}: wakes late");
        }
    }
}
