//! Tests of the machine: tables of rules, attacks, and seeded random histories that are checked
//! against a model of the issuers' ledgers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]
#![allow(clippy::too_many_lines, reason = "a table is as long as its cases")]

mod attacks;
mod cancels;
mod charges;
mod closings;
mod fixtures;
mod histories;
mod idempotent;
mod invariants;
mod late_answers;
mod listings;
mod nonces;
mod payments;
mod policies;
mod refund_rules;
mod refunds;
mod reversals;
mod vocabulary;
mod watchers;
mod world;

use world::World;

/// A rule, and a scenario that shows it.
type Case = (&'static str, fn(&mut World));

/// Plays every case in a world of its own; the failure lists every rule that does not hold.
fn check(cases: &[Case]) {
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, play)| std::panic::catch_unwind(|| play_and_replay(*play)).is_err())
        .map(|(rule, _)| *rule)
        .collect();
    assert!(failed.is_empty(), "{} of {} rules do not hold: {failed:#?}", failed.len(), cases.len());
}

fn play_and_replay(play: fn(&mut World)) {
    let mut world = World::new(fixtures::policy());
    play(&mut world);
    world.check_replay();
}
