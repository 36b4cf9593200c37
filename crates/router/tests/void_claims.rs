//! A claim that names another claim counts only if that is the newest one before it that counts. A
//! claim that does not count takes nothing away: its author owns nothing, and no owner stops for
//! it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use stage::{ORDERS, Router, STATES, pause, pay, policy, sim, start_by};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::{Alive, HoldRecord, Policy, Process, claim_counts};
use twqr_service::{Clock, SystemClock};
use twqr_wire::convert::{HeldTopic, StateBody, decode_state};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// More records than a watch reads before the end of the log.
const MANY: u64 = 80;

fn slow_group() -> Sim {
    sim(Faults { session_timeout_ms: 6_000, append_delay_ms_max: 5, ..Faults::default() })
}

fn start(sim: &Sim, member: &str) -> Router {
    start_by(sim, member, Policy { protocol_version: 1, ..policy() })
}

/// Appends a record that a dead process had on its way; returns its offset.
async fn append_late(sim: &Sim, hold: HoldRecord) -> u64 {
    let record = HeldTopic::Orders.encode_hold(SystemClock.now(), hold);
    sim.session("late").append(ORDERS, vec![Entry::plain(record.clone())]).await.unwrap();
    sim.records(ORDERS).into_iter().rfind(|written| written.entry.value.as_ref() == Some(&record)).unwrap().offset
}

fn claim(replaces: u64) -> HoldRecord {
    HoldRecord::Claim { owner: "late".into(), nonce: 99, replaces: Some(replaces) }
}

/// All claims: offset, owner, whether it counts.
fn claims(sim: &Sim) -> Vec<(u64, String, bool)> {
    let (mut newest, mut claims) = (None, Vec::new());
    for record in sim.records(ORDERS) {
        let hold = record.entry.value.and_then(|value| HeldTopic::Orders.decode_hold(&value));
        let Some(HoldRecord::Claim { owner, replaces, .. }) = hold else { continue };
        let counts = claim_counts(replaces, newest);
        if counts {
            newest = Some(record.offset);
        }
        claims.push((record.offset, owner.to_string(), counts));
    }
    claims
}

#[tokio::test(start_paused = true)]
async fn a_late_claim_that_does_not_count_stops_no_owner() {
    let sim = slow_group();
    let owner = start(&sim, "router-0");
    pause(2_000).await;
    let [(first, ..)] = claims(&sim)[..] else { panic!("{:?}", claims(&sim)) };
    let late = append_late(&sim, claim(first + 1)).await;
    // Its author assumes that it counts, and shows signs of life.
    let by = Process { name: "late".into(), nonce: 99 };
    append_late(
        &sim,
        HoldRecord::Alive(Alive { claim: late, position: late, by, is_leaving: false, protocol_known: 3 }),
    )
    .await;
    pay(&*sim.session("ingress"), "T1").await;
    for _ in 0..300 {
        assert!(owner.health.is_ready(), "{:?}", owner.health.report());
        pause(10).await;
    }
    assert_eq!(sim.records(TASKS).len(), 1);
    assert_eq!(claims(&sim).len(), 2, "the owner has not claimed again: {:?}", claims(&sim));
}

#[tokio::test(start_paused = true)]
async fn a_router_whose_watch_took_its_claim_for_valid_finds_out_and_claims_again() {
    let sim = slow_group();
    let first = start(&sim, "router-0");
    pause(2_000).await;
    first.session.crash();
    let [(epoch, ..)] = claims(&sim)[..] else { panic!("{:?}", claims(&sim)) };
    let ingress = sim.session("ingress");
    for number in 0..MANY {
        pay(&*ingress, &format!("T{number}")).await;
    }
    // A watch that begins here does not see which claim is the newest. The sign of life was on its
    // way when its author died; it does not tell that its author had read the late claim.
    let late = append_late(&sim, claim(epoch + 1)).await;
    let by = Process { name: "router-0".into(), nonce: 98 };
    append_late(
        &sim,
        HoldRecord::Alive(Alive { claim: epoch, position: late, by, is_leaving: false, protocol_known: 3 }),
    )
    .await;
    let second = start(&sim, "router-1");
    pause(10_000).await;
    let claims = claims(&sim);
    assert!(second.health.is_ready(), "{:?}: {claims:?}", second.health.report());
    // Its first attempt has emitted them, too: under the same identities.
    let tasks: BTreeSet<_> = sim.records(TASKS).into_iter().filter_map(|record| record.entry.value).collect();
    assert_eq!(tasks.len() as u64, MANY);
    let by_second: Vec<bool> =
        claims.iter().filter(|(_, by, _)| by == "router-1").map(|(.., counts)| *counts).collect();
    assert_eq!(by_second, [false, true], "{claims:?}");
    for state in sim.records(STATES).into_iter().filter_map(|record| decode_state(record.entry.value?).ok()) {
        // A beginning is written before the claim is judged.
        let is_beginning = matches!(state.body, StateBody::Beginning { .. });
        let counts = claims.iter().any(|(at, _, counts)| *at == state.epoch && *counts);
        assert!(counts || is_beginning, "a state of the claim at {}: {claims:?}", state.epoch);
    }
}
