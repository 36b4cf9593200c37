//! Histories in which the clocks of workers and of the tracker are set wrong by seconds, again and
//! again, and nothing else goes wrong. No invariant breaks, and no payment fails as "not sent": a
//! worker with a wrong clock leaves the payments to another one.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{Evidence, Order};

use crate::{
    callers::{Callers, RequestKinds},
    invariants,
    log_reader::stored_orders,
    policies::cautious_policy,
    processes::{Processes, Service},
    settle,
    simulated_issuers::SimulatedIssuers,
    worker_crashes::with_room,
};

const HISTORIES: u64 = 6;
const PAYMENTS: usize = 60;
/// How long clocks are set wrong, in virtual seconds.
const WRONG_S: u64 = 30;
const SHARDS: u32 = 2;

/// Runs one history. Returns the violations of invariants, and how many charges failed with each
/// kind of evidence.
async fn run_history(seed: u64) -> (Vec<String>, BTreeMap<String, usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let issuers = SimulatedIssuers::without_faults(seed);
    let faults = Faults { append_delay_ms_max: 20, ..Faults::default() };
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 2 }, faults, seed);
    let policy = with_room(cautious_policy(&issuers));
    let mut processes = Processes::new(sim.clone(), issuers.clone(), policy.clone(), seed);
    let workers = [Service::WalletWorker, Service::FiscWorker];
    for service in [Service::Router, Service::Tracker].into_iter().chain(workers).chain(workers) {
        processes.start(service);
    }
    let callers = Callers::start(&sim, processes.clock.clone(), seed, PAYMENTS, policy, RequestKinds::Harmless);
    let end = tokio::time::Instant::now() + Duration::from_secs(WRONG_S);
    while tokio::time::Instant::now() < end {
        let ahead_ms = random.random_range(1_000..40_000);
        let skew_ms = if random.random_bool(0.5) { ahead_ms } else { -ahead_ms };
        let services = [Service::WalletWorker, Service::WalletWorker, Service::FiscWorker, Service::Tracker];
        if let Some(service) = services.choose(&mut random) {
            processes.set_clock_of_one(*service, skew_ms, &mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(500..4_000))).await;
        processes.set_clocks_right();
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2_000))).await;
    }
    settle(&sim, SHARDS, &callers).await;
    let violations = invariants::check(&sim, SHARDS, &issuers, &callers.replies());
    (violations, failed_charges(&sim))
}

/// How many charges failed with each kind of evidence.
pub fn failed_charges(sim: &Sim) -> BTreeMap<String, usize> {
    let mut failed = BTreeMap::new();
    let orders = stored_orders(sim, SHARDS);
    for failure in orders.values().filter_map(Order::as_payment).filter_map(|payment| payment.charge.failure()) {
        *failed.entry(format!("{:?}", failure.evidence)).or_default() += 1;
    }
    failed
}

#[test]
fn clocks_that_are_set_wrong_break_no_invariant_and_fail_no_payment_as_not_sent() {
    for seed in 1..=HISTORIES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (violations, failed) = runtime.block_on(run_history(seed));
        println!("seed {seed}: charges that failed, by evidence: {failed:?}");
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        assert_eq!(failed.get(&format!("{:?}", Evidence::NotSent)), None, "seed {seed}: {failed:?}");
    }
}
