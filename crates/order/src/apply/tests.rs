//! The machine as tables of the rules, as attacks on it, and as seeded histories against a model of
//! the issuers that keeps the money.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]
#![allow(clippy::too_many_lines, reason = "a table is as long as its cases")]

mod attacks;
mod cancels;
mod charges;
mod given;
mod histories;
mod invariants;
mod late_answers;
mod payments;
mod policies;
mod refund_rules;
mod refunds;
mod script;
mod watchers;
mod world;

use world::World;

/// A rule and what shows it, in a world of its own.
type Case = (&'static str, fn(&mut World));

/// Plays every case; the failure names every rule that does not hold.
fn check(cases: &[Case]) {
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, play)| std::panic::catch_unwind(|| play_and_replay(*play)).is_err())
        .map(|(rule, _)| *rule)
        .collect();
    assert!(failed.is_empty(), "{} of {} rules do not hold: {failed:#?}", failed.len(), cases.len());
}

fn play_and_replay(play: fn(&mut World)) {
    let mut world = World::new(given::policy());
    play(&mut world);
    world.check_replay();
}
