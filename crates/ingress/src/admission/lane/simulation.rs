//! A lane in front of a simulated shard: a queue that is served in order at a known rate, with a
//! journal's latency before and behind it, and issuers that answer later. Time is virtual, and each
//! run prints its seed.

#![allow(clippy::float_cmp, reason = "a share of 0 is exact")]

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const TARGET_MS: u64 = 100;
/// How long a record takes from the append to the router, and a reply back, in µs.
const JOURNAL_US: u64 = 1_500;
/// How many probes are as much work for a shard as a payment: they make no task, outcome or state.
const PAYMENT_PROBES: f64 = 4.0;
/// The shortest time between two probes, as the measurer keeps it, in µs.
const PROBES_US: u64 = 25_000;
const SECOND_US: u64 = 1_000_000;

/// The load during a part of a run.
#[derive(Clone, Copy)]
struct Load {
    seconds: u64,
    /// Calls per second.
    rate: f64,
    /// Calls per second that the shard decides.
    capacity: f64,
}

/// One caller's part of the load.
#[derive(Clone, Copy)]
struct CallerLoad {
    caller: CallerHash,
    share: f64,
    priority: Priority,
    issuer_ms: u64,
}

const PLAIN: CallerLoad = CallerLoad { caller: 1, share: 1.0, priority: Priority::New, issuer_ms: 20 };

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ShardEvent {
    Arrival,
    Decided,
    Answer(u64),
    ProbeAnswer(u64, u64),
    Probe,
}

/// One admitted or refused call.
#[derive(Clone, Copy)]
struct Outcome {
    at_us: u64,
    source: usize,
    /// How long its record waited until it was decided, in µs; absent if it was refused.
    delay_us: Option<u64>,
}

struct Run {
    lane: Lane,
    began: Instant,
    rng: StdRng,
    events: BinaryHeap<Reverse<(u64, u64, ShardEvent)>>,
    order: u64,
    free_at_us: u64,
    outcomes: Vec<Outcome>,
    limits: Vec<usize>,
    records_max: u64,
    queued: u64,
}

impl Run {
    fn new(seed: u64, lane: Lane) -> Self {
        println!("seed {seed}");
        Self {
            lane,
            began: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
            events: BinaryHeap::new(),
            order: 0,
            free_at_us: 0,
            outcomes: Vec::new(),
            limits: Vec::new(),
            records_max: 0,
            queued: 0,
        }
    }

    fn at(&self, us: u64) -> Instant {
        self.began + Duration::from_micros(us)
    }

    fn plan(&mut self, at_us: u64, event: ShardEvent) {
        self.order += 1;
        self.events.push(Reverse((at_us, self.order, event)));
    }

    /// The shard takes a record; returns when it has decided it. `rate` is how many such records it
    /// decides in a second.
    fn serve(&mut self, now_us: u64, rate: f64) -> u64 {
        self.free_at_us = self.free_at_us.max(now_us + JOURNAL_US) + us(1.0 / rate);
        self.queued += 1;
        self.records_max = self.records_max.max(self.queued);
        self.plan(self.free_at_us, ShardEvent::Decided);
        self.free_at_us
    }

    fn play(mut self, loads: &[Load], sources: &[CallerLoad]) -> Self {
        let mut begins_us = 0;
        for load in loads {
            let ends_us = begins_us + load.seconds * SECOND_US;
            if load.rate > 0.0 {
                self.plan(begins_us, ShardEvent::Arrival);
            }
            while let Some(Reverse((now_us, _, event))) = self.events.peek().copied().filter(|e| e.0.0 < ends_us) {
                self.events.pop();
                self.step(now_us, event, load, sources, ends_us);
            }
            begins_us = ends_us;
        }
        self
    }

    fn step(&mut self, now_us: u64, event: ShardEvent, load: &Load, sources: &[CallerLoad], ends_us: u64) {
        let now = self.at(now_us);
        match event {
            ShardEvent::Arrival => {
                self.arrive(now_us, load, sources);
                let pause = -self.rng.random::<f64>().max(1e-12).ln() / load.rate;
                let next_us = now_us + us(pause);
                if next_us < ends_us {
                    self.plan(next_us, ShardEvent::Arrival);
                }
            }
            ShardEvent::Decided => self.queued -= 1,
            ShardEvent::Answer(number) => self.lane.decide(number),
            ShardEvent::ProbeAnswer(mark, began_us) => {
                let began = self.at(began_us);
                self.lane.answered(Measurement { mark, began }, now);
                self.limits.push(self.lane.limit());
                self.plan(now_us.max(began_us + PROBES_US), ShardEvent::Probe);
            }
            ShardEvent::Probe => {
                if let Some(measurement) = self.lane.measure(now) {
                    let decided_us = self.serve(now_us, load.capacity * PAYMENT_PROBES);
                    self.plan(decided_us + JOURNAL_US, ShardEvent::ProbeAnswer(measurement.mark, now_us));
                }
            }
        }
    }

    fn arrive(&mut self, now_us: u64, load: &Load, sources: &[CallerLoad]) {
        let mut drawn = self.rng.random::<f64>() * sources.iter().map(|source| source.share).sum::<f64>();
        let source = sources.iter().position(|source| {
            drawn -= source.share;
            drawn < 0.0
        });
        let source = source.unwrap_or_default();
        let CallerLoad { caller, priority, issuer_ms, .. } = sources[source];
        let now = self.at(now_us);
        let delay_us = self.lane.admit(caller, priority, now).ok().map(|number| {
            let decided_us = self.serve(now_us, load.capacity);
            self.plan(decided_us + JOURNAL_US + issuer_ms * 1_000, ShardEvent::Answer(number));
            decided_us - now_us
        });
        self.outcomes.push(Outcome { at_us: now_us, source, delay_us });
        if self.lane.needs_measurer(now) {
            self.plan(now_us, ShardEvent::Probe);
        }
    }

    /// Outcomes of calls that arrived between two times in s.
    fn between(&self, from_s: u64, to_s: u64) -> impl Iterator<Item = &Outcome> {
        let range = from_s * SECOND_US..to_s * SECOND_US;
        self.outcomes.iter().filter(move |outcome| range.contains(&outcome.at_us))
    }

    fn admitted(&self, from_s: u64, to_s: u64) -> f64 {
        self.between(from_s, to_s).filter(|outcome| outcome.delay_us.is_some()).count() as f64
    }

    fn refused_share(&self, from_s: u64, to_s: u64, source: usize) -> f64 {
        let of = self.between(from_s, to_s).filter(|outcome| outcome.source == source);
        let (all, refused) = of.fold((0, 0), |(all, no), o| (all + 1, no + u32::from(o.delay_us.is_none())));
        f64::from(refused) / f64::from(all.max(1))
    }

    /// The 99th percentile of the delay of admitted calls, in ms.
    fn p99_ms(&self, from_s: u64, to_s: u64) -> u64 {
        let mut delays: Vec<u64> = self.between(from_s, to_s).filter_map(|outcome| outcome.delay_us).collect();
        delays.sort_unstable();
        delays.get(delays.len() * 99 / 100).copied().unwrap_or_default() / 1_000
    }
}

fn us(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_micros() as u64
}

fn settings() -> AdmissionSettings {
    AdmissionSettings { delay: Duration::from_millis(TARGET_MS), limit_min: 8, limit_max: 2_048 }
}

const fn load(seconds: u64, rate: f64, capacity: f64) -> Load {
    Load { seconds, rate, capacity }
}

#[test]
fn at_two_and_a_half_times_the_capacity_the_goodput_stays_and_the_delay_is_bounded() {
    for (seed, capacity) in [(1, 150.0), (2, 600.0), (3, 600.0), (4, 2_500.0), (5, 60.0)] {
        let loads = [
            load(10, capacity * 0.8, capacity),
            load(30, capacity * 2.5, capacity),
            load(10, capacity * 0.8, capacity),
        ];
        let run = Run::new(seed, Lane::new(settings())).play(&loads, &[PLAIN]);
        let goodput = run.admitted(10, 40) / (30.0 * capacity);
        assert!(goodput >= 0.9, "capacity {capacity}: goodput {goodput}");
        assert_eq!(run.refused_share(0, 10, 0), 0.0, "capacity {capacity}: refused below the capacity");
        let (steady, onset) = (run.p99_ms(15, 40), run.p99_ms(10, 40));
        assert!(steady <= 3 * TARGET_MS && onset <= 1_200, "capacity {capacity}: p99 {steady} ms, {onset} ms");
        assert_eq!(run.refused_share(42, 50, 0), 0.0, "capacity {capacity}: not normal 2 s after the overload");
        println!("capacity {capacity}: goodput {goodput:.3}, p99 {steady} ms, with the onset {onset} ms");
    }
}

#[test]
fn a_fixed_limit_would_be_a_queue_of_seconds() {
    let fixed = AdmissionSettings { limit_min: 2_048, limit_max: 2_048, ..settings() };
    let run = Run::new(6, Lane::new(fixed)).play(&[load(30, 1_500.0, 600.0)], &[PLAIN]);
    assert!(run.p99_ms(10, 30) > 2_500, "{} ms", run.p99_ms(10, 30));
}

#[test]
fn the_limit_follows_a_capacity_that_falls_and_rises() {
    let loads = [load(10, 500.0, 800.0), load(20, 500.0, 200.0), load(20, 500.0, 800.0)];
    let run = Run::new(7, Lane::new(settings())).play(&loads, &[PLAIN]);
    let goodput = run.admitted(12, 30) / (18.0 * 200.0);
    assert!(goodput >= 0.9 && run.p99_ms(12, 30) <= 3 * TARGET_MS, "{goodput}, {} ms", run.p99_ms(12, 30));
    assert_eq!(run.refused_share(33, 50, 0), 0.0);
}

#[test]
fn a_limit_that_is_not_used_does_not_fall_or_grow() {
    let loads = [load(10, 100.0, 600.0), load(300, 0.0, 600.0), load(5, 100.0, 600.0)];
    let run = Run::new(8, Lane::new(settings())).play(&loads, &[PLAIN]);
    assert_eq!((run.lane.limit(), run.refused_share(0, 315, 0)), (256, 0.0));
}

#[test]
fn a_slow_issuer_takes_no_place_and_does_not_lower_the_limit() {
    let slow = CallerLoad { caller: 2, share: 0.5, issuer_ms: 4_000, ..PLAIN };
    let run = Run::new(9, Lane::new(settings())).play(&[load(30, 540.0, 600.0)], &[PLAIN, slow]);
    assert_eq!((run.refused_share(0, 30, 0), run.refused_share(0, 30, 1)), (0.0, 0.0));
    assert!(run.limits.iter().all(|limit| *limit >= 200), "{:?}", run.limits.iter().min());
}

#[test]
fn a_hot_caller_is_refused_before_the_others() {
    let hot = CallerLoad { share: 0.9, ..PLAIN };
    let others = (0..20).map(|n| CallerLoad { caller: 100 + n, share: 0.1 / 20.0, ..PLAIN });
    let sources: Vec<_> = std::iter::once(hot).chain(others).collect();
    let run = Run::new(10, Lane::new(settings())).play(&[load(30, 1_500.0, 600.0)], &sources);
    let worst = (1..21).map(|source| run.refused_share(2, 30, source)).fold(0.0, f64::max);
    let hot = run.refused_share(2, 30, 0);
    assert!(worst <= 0.02 && hot > 0.5, "others {worst}, the hot one {hot}");
    let goodput = run.admitted(2, 30) / (28.0 * 600.0);
    assert!(goodput >= 0.9, "{goodput}");
}

#[test]
fn calls_about_accepted_orders_are_admitted_before_new_ones() {
    let inquiry = CallerLoad { share: 0.2, priority: Priority::Accepted, ..PLAIN };
    let run = Run::new(11, Lane::new(settings())).play(&[load(30, 1_500.0, 600.0)], &[PLAIN, inquiry]);
    let (new, accepted) = (run.refused_share(2, 30, 0), run.refused_share(2, 30, 1));
    assert!(new > 0.5 && accepted <= 0.02, "new {new}, accepted {accepted}");
}

#[test]
fn no_more_records_wait_than_the_limit_allows() {
    let run = Run::new(12, Lane::new(settings())).play(&[load(20, 2_000.0, 600.0)], &[PLAIN]);
    let limit_max = run.limits.iter().copied().max().unwrap_or_default() as u64;
    // And those that were decided since the probe on its way, and the probe itself.
    let released = (TARGET_MS + PROBES_US / 1_000) * 600 / 1_000 + 1;
    assert!(run.records_max <= limit_max.max(256) + released, "{} records, limit {limit_max}", run.records_max);
}
