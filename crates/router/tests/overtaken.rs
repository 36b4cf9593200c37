//! A router is paused between its claim and its restore, while another one owns the shard. The
//! state that it restores afterwards is newer than its claim, so it would never read the claim and
//! never write a checkpoint. It must claim the shard again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, STATES, pause, pay, sim, start};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::Record;
use twqr_wire::convert::{StateBody, decode_record, decode_state};

/// The numbers of the orders that checkpoints hold.
fn checkpointed_orders(sim: &Sim) -> Vec<String> {
    let state = |record: twqr_journal::Record| match decode_state(record.entry.value?).ok()?.body {
        StateBody::Order(order) => Some(order.key().merchant_trade_no.to_string()),
        StateBody::Policies(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => None,
    };
    sim.records(STATES).into_iter().filter_map(state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_router_that_restores_past_its_own_claim_claims_the_shard_again() {
    let faults = Faults { append_delay_ms_max: 50, everybody_owns_all: true, ..Faults::default() };
    let sim = sim(faults);
    let overtaken = start(&sim, "router-0");
    pause(1).await;
    assert!(sim.records(ORDERS).is_empty(), "the claim is not written yet");
    overtaken.session.pause();
    pause(100).await;
    let claims: Vec<Record> =
        sim.records(ORDERS).into_iter().map(|record| decode_record(record.entry.value.unwrap()).unwrap()).collect();
    assert_eq!(claims.len(), 1, "the claim is written, and its router does not know: {claims:?}");

    let owner = start(&sim, "router-1");
    let caller = sim.session("ingress");
    pay(&*caller, "T1").await;
    pause(3_000).await;
    assert!(
        owner.health.is_ready() && checkpointed_orders(&sim).contains(&"T1".to_owned()),
        "{:?}, {:?}",
        owner.health.report(),
        checkpointed_orders(&sim)
    );
    overtaken.session.resume();
    owner.shutdown.cancel();
    pause(10_000).await;
    owner.session.crash();

    pay(&*caller, "T2").await;
    pause(5_000).await;
    assert!(checkpointed_orders(&sim).contains(&"T2".to_owned()), "{:?}", checkpointed_orders(&sim));
    assert!(overtaken.health.is_ready(), "{:?}", overtaken.health.report());
}
