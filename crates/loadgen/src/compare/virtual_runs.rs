//! Runs in virtual time: the schedule, the records, the summary and its figures are those of a real
//! run; only the system and the machine's noise are simulated at random. A run of seconds takes
//! milliseconds.

use std::time::{Duration, SystemTime};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ComparedRound, proof::RoundSource};
use crate::{
    generator::{CallRecord, RecordedRun, Reply},
    report::{LoadSummary, ProcessUsage, RunFacts, UsageSample, summarize},
    scenario::Scenario,
    schedule::Schedule,
    traffic::{CallChannel, CallKind},
};

/// The median latency of a virtual payment, in µs, how widely latencies spread (the deviation of
/// their logarithm), and the CPU time of the services for each, in µs.
const LATENCY_US: f64 = 7_300.0;
const LATENCY_SPREAD: f64 = 0.4;
const CPU_US: f64 = 210.0;
/// The noise of a shared machine, as deviations of the logarithm: from run to run, and a drift from
/// each run to the next. One run in fifty is disturbed by something else without being invalid.
const RUN_NOISE: f64 = 0.025;
const DRIFT: f64 = 0.005;
const DISTURBED: f64 = 0.02;

/// Virtual runs of one comparison, one after the other on one machine.
#[derive(Debug)]
pub struct VirtualRuns<'a> {
    scenario: &'a Scenario,
    figures: &'a [String],
    random: ChaCha8Rng,
    /// How slow the machine is at present, as a logarithm.
    level: f64,
}

impl<'a> VirtualRuns<'a> {
    /// The runs of a comparison of these figures.
    pub fn new(scenario: &'a Scenario, figures: &'a [String], seed: u64) -> Self {
        Self { scenario, figures, random: ChaCha8Rng::seed_from_u64(seed), level: 0.0 }
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Plays the scenario once.
    fn run(&mut self, slowdown: f64) -> LoadSummary {
        self.level += DRIFT * self.normal();
        let disturbed = if self.random.random_bool(DISTURBED) { self.random.random_range(0.1..0.5) } else { 0.0 };
        let factor = |runs: &mut Self| slowdown * (runs.level + RUN_NOISE * runs.normal() + disturbed).exp();
        let (latency_factor, cpu_factor) = (factor(self), factor(self));
        let mut schedule = Schedule::new(self.scenario);
        let mut records = Vec::new();
        for (order, start) in (0..).zip(schedule.by_ref()) {
            let latency_us = LATENCY_US * latency_factor * (LATENCY_SPREAD * self.normal()).exp();
            let latency_us = Duration::from_secs_f64(latency_us / 1e6).as_micros() as u64;
            records.push(paid(order, start.segment, start.at_ns / 1_000, latency_us));
        }
        let seconds = schedule.seconds();
        let cores = records.len() as f64 * CPU_US * cpu_factor / 1e6 / seconds;
        let sample = |at_s, cores| UsageSample { at_s, cores, resident_mib: 100.0 };
        let samples = vec![sample(0.0, 0.0), sample(seconds, cores)];
        let services = ProcessUsage { name: "up".into(), is_service: true, samples };
        let recorded = RecordedRun {
            records,
            hops: Vec::new(),
            segments: schedule.segments().to_vec(),
            dropped: 0,
            began: SystemTime::UNIX_EPOCH,
            run: "virtual".into(),
        };
        summarize(self.scenario, &recorded, RunFacts { processes: vec![services], ..RunFacts::default() })
    }
}

impl RoundSource for VirtualRuns<'_> {
    fn round(&mut self, slowdown: f64) -> Vec<ComparedRound> {
        let runs = [1.0, slowdown, slowdown, 1.0].map(|slowdown| self.run(slowdown).figures);
        let round = |name: &String| {
            let [a1, b1, b2, a2] = [0, 1, 2, 3].map(|run: usize| runs[run].get(name.as_str()).copied().unwrap_or(0.0));
            ComparedRound { a: [a1, a2], b: [b1, b2] }
        };
        self.figures.iter().map(round).collect()
    }
}

fn paid(order: u64, segment: u16, intended_us: u64, latency_us: u64) -> CallRecord {
    let answered_us = intended_us + latency_us;
    CallRecord {
        kind: CallKind::Pay,
        channel: CallChannel::Grpc,
        is_declined: false,
        segment,
        merchant: 0,
        order,
        refund: 0,
        amount: 1,
        debit: 1,
        intended_us,
        sent_us: intended_us,
        answered_us,
        final_us: answered_us,
        is_in_progress: false,
        later_reply: None,
        is_repeat: false,
        attempts: 1,
        reply: Reply::Status(*b"000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_run_has_the_figures_of_a_real_one_and_a_slowdown_moves_each() {
        let text = "[[phase]]\nkind = \"hold\"\nseconds = 10\nrate = 100\n";
        let scenario = Scenario::parse(text).unwrap();
        let figures = ["p50_ms".to_owned(), "cpu_us_per_call".to_owned()];
        let mut runs = VirtualRuns::new(&scenario, &figures, 1);
        let rounds = runs.round(2.0);
        for (round, usual) in rounds.iter().zip([7.3, 210.0]) {
            for (a, b) in round.a.into_iter().zip(round.b) {
                // A disturbed run is up to 65 % slower.
                assert!((0.85..1.9).contains(&(a / usual)), "{round:?}");
                assert!((1.1..3.6).contains(&(b / a)), "{round:?}");
            }
        }
        assert_eq!(rounds.len(), 2);
    }
}
