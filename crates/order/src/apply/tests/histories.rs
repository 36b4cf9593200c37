//! Seeded random histories: callers, workers, issuers, records between shards, and changes of the
//! policy, in any order. The invariants are checked after each record. At the end every order comes
//! to rest, and the issuers' ledgers agree with the orders.

mod calls;
mod ledger;
mod ledger_check;
mod player;
mod random;
mod requests;
mod settle;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::Step;
use player::{Player, Style};
use random::Random;
use requests::Requests;

/// How many times each step was taken.
type Steps = BTreeMap<Step, u64>;

/// Prints the seed if a history fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}: TWQR_SEED={} TWQR_SEQUENCES=1 plays it alone", self.0, self.0);
        }
    }
}

/// Plays one history: random operations, and then those that are needed until every order is at
/// rest.
fn play(seed: u64, operations: std::ops::RangeInclusive<u64>, style: Style, requests: &Requests, steps: &mut Steps) {
    let _seed = Seed(seed);
    let mut random = Random::new(seed);
    let operations = random.between(operations);
    let mut player = Player::new(random, style, requests);
    for _ in 0..operations {
        player.operation();
        player.check();
    }
    player.settle();
    for (step, count) in player.steps() {
        *steps.entry(step).or_default() += count;
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number")))
}

/// Plays the histories of `count` seeds from `base` on, with a thread for each core.
fn play_many(base: u64, count: u64, operations: &std::ops::RangeInclusive<u64>, style: Style) -> Steps {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut all = Steps::new();
    thread::scope(|scope| {
        let work = || {
            let (requests, mut steps) = (Requests::new(), Steps::new());
            loop {
                let from = next.fetch_add(64, Ordering::Relaxed);
                if from >= count {
                    return steps;
                }
                for n in from..(from + 64).min(count) {
                    play(base + n, operations.clone(), style, &requests, &mut steps);
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let steps = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (step, count) in steps {
                *all.entry(step).or_default() += count;
            }
        }
    });
    all
}

#[test]
#[allow(clippy::disallowed_types, reason = "prints how long it took, and decides nothing by it")]
fn a_million_random_histories_keep_every_invariant_and_come_to_rest() {
    let (base, count) = (from_environment("TWQR_SEED", 0), from_environment("TWQR_SEQUENCES", 1_000_000));
    let started = std::time::Instant::now();
    let steps = play_many(base, count, &(6..=14), Style::TrueReports { strict: false });
    println!("{count} sequences from seed {base} in {:.1} s: {steps:?}", started.elapsed().as_secs_f64());
    assert!(count < 10_000 || steps.len() == 16, "every step but a contradiction is taken by some: {steps:?}");
}

#[test]
fn long_histories_have_the_same_effects_when_repeated() {
    play_many(from_environment("TWQR_SEED", 0), 2_000, &(20..=80), Style::TrueReports { strict: true });
}

#[test]
fn issuers_that_contradict_themselves_change_no_answer_and_stop_no_order() {
    let steps = play_many(from_environment("TWQR_SEED", 0), 20_000, &(10..=40), Style::AnyReport);
    assert!(steps.contains_key(&Step::Contradicted), "{steps:?}");
}
