//! A marker says up to which record `order-states` is complete. It is also written for records that
//! changed nothing, and seldom for signs of life, but only if there are new records.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{STATES, pause, query, sim, start, worked_to};
use twqr_journal_sim::{Faults, Sim};
use twqr_wire::convert::{StateBody, decode_state};

/// The highest position of the markers.
fn marker(sim: &Sim) -> Option<u64> {
    let marker = |record: twqr_journal::Record| {
        let entry = decode_state(record.entry.value?).ok()?;
        matches!(entry.body, StateBody::Marker).then_some(entry.position)
    };
    sim.records(STATES).into_iter().filter_map(marker).max()
}

#[tokio::test(start_paused = true)]
async fn a_marker_is_also_written_for_records_that_change_nothing() {
    let sim = sim(Faults::default());
    let _router = start(&sim, "router-0");
    pause(2_000).await;
    query(&*sim.session("ingress")).await;
    pause(2_000).await;
    assert!(marker(&sim).unwrap() >= worked_to(&sim));
    let written = sim.records(STATES).len();
    pause(12_000).await;
    let markers = sim.records(STATES).len() - written;
    assert!((2..=4).contains(&markers), "signs of life need a marker each 4 s: {markers}");
}
