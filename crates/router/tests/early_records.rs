//! A router counts the records whose time is still to come by its own clock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use metrics_exporter_prometheus::PrometheusBuilder;
use stage::{ORDERS, form, pause, policy, sim, start_by};
use twqr_journal::{Entry, Journal};
use twqr_journal_sim::Faults;
use twqr_service::{Clock, SystemClock};
use twqr_wire::convert::encode_pay;

#[tokio::test(start_paused = true)]
async fn records_that_are_later_than_the_clock_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    let _measuring = metrics::set_default_local_recorder(&recorder);
    let sim = sim(Faults::default());
    let _router = start_by(&sim, "router-0", policy());
    pause(1_000).await;
    let caller = sim.session("ingress");
    for (number, ahead_ms) in [("T1", 0), ("T2", 60_000), ("T3", 90_000), ("T4", -60_000)] {
        let at = SystemClock.now().plus(ahead_ms);
        caller.append(ORDERS, vec![Entry::plain(encode_pay(at, &form(number), None))]).await.unwrap();
    }
    pause(1_000).await;
    let metrics = counted.render();
    assert!(metrics.lines().any(|line| line == "twqr_router_records_ahead_total 2"), "{metrics}");
}
