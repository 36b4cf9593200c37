//! Histories in which workers lose their card keys for a while, or get that of the next hour late;
//! other processes crash, the comparison key is rotated and the protocol version raised. No
//! invariant breaks, and no payment fails as "not sent": a charge waits for its key, or another
//! worker sends it.

use std::time::Duration;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::Evidence;

use crate::{
    callers::{Callers, RequestKinds},
    invariants,
    policies::{before_raise, cautious_policy},
    processes::{Processes, Service},
    settle,
    simulated_issuers::SimulatedIssuers,
    worker_crashes::with_room,
    wrong_clocks::failed_charges,
};

const HISTORIES: u64 = 6;
const PAYMENTS: usize = 60;
/// How long keys are missing again and again, in virtual seconds.
const MISSING_S: u64 = 40;
const SHARDS: u32 = 2;

/// Runs one history. Returns the violations of invariants, and how many charges failed because they
/// were not sent.
async fn run_history(seed: u64) -> (Vec<String>, usize) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let issuers = SimulatedIssuers::without_faults(seed);
    let faults = Faults { append_delay_ms_max: 20, ..Faults::default() };
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 2 }, faults, seed);
    let policy = before_raise(with_room(cautious_policy(&issuers)), seed);
    let mut processes = Processes::new(sim.clone(), issuers.clone(), policy.clone(), seed);
    let pair = [Service::Router, Service::WalletWorker, Service::FiscWorker];
    for service in pair.into_iter().chain(pair).chain([Service::Tracker]) {
        processes.start(service);
    }
    let callers = Callers::start(&sim, processes.clock.clone(), seed, PAYMENTS, policy, RequestKinds::Harmless);
    let end = tokio::time::Instant::now() + Duration::from_secs(MISSING_S);
    while tokio::time::Instant::now() < end {
        for _ in 0..random.random_range(1..4) {
            processes.change_keys_of_one(&mut random);
        }
        if random.random_bool(0.3) {
            processes.crash_one_of(*pair.choose(&mut random).unwrap(), false, &mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(500..4_000))).await;
        processes.give_all_keys();
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2_000))).await;
    }
    settle(&sim, SHARDS, &callers).await;
    let violations = invariants::check(&sim, SHARDS, &issuers, &callers.replies());
    let not_sent = failed_charges(&sim).get(&format!("{:?}", Evidence::NotSent)).copied();
    (violations, not_sent.unwrap_or_default())
}

#[test]
fn keys_that_are_missing_for_a_while_break_no_invariant_and_fail_no_payment_as_not_sent() {
    for seed in 1..=HISTORIES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (violations, not_sent) = runtime.block_on(run_history(seed));
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        assert_eq!(not_sent, 0, "seed {seed}: charges that were not sent");
    }
}
