//! Histories with one router at a time, whose local store refers to the states in `order-states`,
//! as in a process with the embedded journal. It crashes, and is restarted on its store or on an
//! empty one.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_journal_sim::{Faults, Layout, Sim};

use crate::{
    PAYMENTS,
    callers::{Callers, RequestKinds},
    draw_faults, invariants,
    policies::true_policy,
    processes::{Processes, Service},
    settle,
    simulated_issuers::SimulatedIssuers,
};

/// Histories in one test run, unless `TWQR_HISTORIES` says otherwise.
const HISTORIES: u64 = 16;
/// How long the router crashes, in virtual seconds.
const CRASHES_S: u64 = 60;
const SHARDS: u32 = 2;

async fn run_history(seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let faults = Faults { compacted: random.random_range(0..1_000), ..draw_faults(&mut random) };
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 1 }, faults, seed);
    let issuers = SimulatedIssuers::new(seed, &[]);
    let policy = true_policy(&issuers);
    let mut processes = Processes::new(sim.clone(), issuers.clone(), policy.clone(), seed).with_references();
    for service in [Service::Router, Service::WalletWorker, Service::FiscWorker, Service::Tracker] {
        processes.start(service);
    }
    let callers = Callers::start(&sim, processes.clock.clone(), seed, PAYMENTS, policy, RequestKinds::All);
    let end = tokio::time::Instant::now() + Duration::from_secs(CRASHES_S);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..8_000))).await;
        let keeps_disk = random.random_bool(0.8);
        processes.crash_one_of(Service::Router, keeps_disk, &mut random);
    }
    sim.set_faults(Faults { session_timeout_ms: 500, ..Faults::default() });
    settle(&sim, SHARDS, &callers).await;
    let mut violations = invariants::check(&sim, SHARDS, &issuers, &callers.replies());
    if !callers.are_done() {
        violations.push("I2: a cancel was never answered".to_owned());
    }
    violations
}

#[test]
fn histories_of_one_router_that_refers_to_order_states_keep_the_invariants() {
    let seeds = std::env::var("TWQR_HISTORIES").map_or(HISTORIES, |text| text.parse().unwrap());
    let mut failed = Vec::new();
    for seed in 2_001..=2_000 + seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let violations = runtime.block_on(run_history(seed));
        if !violations.is_empty() {
            println!("seed {seed}:\n  {}", violations.join("\n  "));
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} violate invariants");
}
