//! Which calls enter a lane near its limit, and when a call leaves it.

use super::*;

fn settings(limit: u32) -> AdmissionSettings {
    AdmissionSettings { delay: Duration::from_millis(100), limit_min: limit, limit_max: limit }
}

/// A lane with a fixed limit, and `held` undecided new calls of the caller 1.
fn lane(limit: u32, held: usize, now: Instant) -> Lane {
    let mut lane = Lane::new(settings(limit));
    for _ in 0..held {
        lane.admit(1, Priority::New, now).unwrap();
    }
    lane
}

#[test]
fn a_part_of_the_limit_is_reserved_for_calls_about_accepted_orders() {
    let now = Instant::now();
    let mut lane = Lane::new(settings(16));
    for caller in 0..14 {
        lane.admit(caller, Priority::New, now).unwrap();
    }
    assert_eq!(lane.admit(90, Priority::New, now), Err(ShedReason::Reserved));
    for caller in 91..93 {
        lane.admit(caller, Priority::Accepted, now).unwrap();
    }
    assert_eq!(lane.admit(94, Priority::Accepted, now), Err(ShedReason::Limit));
    assert_eq!(lane.admit(94, Priority::New, now), Err(ShedReason::Limit));
}

#[test]
fn while_places_are_scarce_a_caller_with_its_share_is_refused_first() {
    let now = Instant::now();
    let mut lane = lane(32, 20, now);
    for caller in 2..10 {
        lane.admit(caller, Priority::New, now).unwrap();
        assert_eq!(lane.admit(1, Priority::New, now).unwrap_err() == ShedReason::Share, caller < 9, "{caller}");
    }
    assert_eq!(lane.admit(10, Priority::New, now), Err(ShedReason::Reserved));
}

#[test]
fn alone_a_caller_may_use_every_place() {
    let now = Instant::now();
    let mut lane = lane(32, 28, now);
    assert_eq!(lane.admit(1, Priority::New, now), Err(ShedReason::Reserved));
}

#[test]
fn a_probe_decides_the_calls_before_it_and_no_later_one() {
    let now = Instant::now();
    let mut lane = lane(32, 5, now);
    assert!(lane.needs_measurer(now) && !lane.needs_measurer(now), "one measurer is enough");
    let measurement = lane.measure(now).unwrap();
    let later = lane.admit(2, Priority::New, now).unwrap();
    let delay = lane.answered(measurement, now + Duration::from_millis(7));
    assert_eq!((delay.as_millis(), lane.undecided(), lane.by_caller.len()), (7, 1, 1));
    assert!(lane.measure(now).is_none(), "one undecided call needs no measurement");
    lane.decide(later);
    lane.decide(later);
    assert_eq!((lane.undecided(), lane.by_caller.len()), (0, 0), "the shares need no memory without calls");
}

#[test]
fn a_call_that_stays_undecided_is_measured_even_alone() {
    let now = Instant::now();
    let mut lane = lane(32, 1, now);
    assert!(!lane.needs_measurer(now));
    assert!(lane.needs_measurer(now + OLD_AFTER));
}

#[test]
fn an_unanswered_probe_lowers_the_limit_and_decides_nothing() {
    let now = Instant::now();
    let mut lane = Lane::new(AdmissionSettings { limit_max: 64, ..settings(4) });
    for caller in 0..8 {
        lane.admit(caller, Priority::New, now).unwrap();
    }
    let measurement = lane.measure(now).unwrap();
    lane.unanswered(measurement, now + Duration::from_secs(2));
    assert_eq!((lane.undecided(), lane.limit()), (8, 32));
}
