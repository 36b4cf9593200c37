//! Histories in which only wallet workers crash, and nothing else goes wrong: then no movement at
//! an idempotent issuer fails unless the issuer refuses it. Callers request nothing that may fail
//! without a crash, which histories without crashes confirm.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{Evidence, Failure, Limits, Order, Policy};
use twqr_types::Issuer;

use crate::{
    callers::{Callers, RequestKinds},
    invariants,
    log_reader::stored_orders,
    policies::{cautious_policy, credulous_policy, true_policy},
    processes::{Processes, Service},
    settle,
    simulated_issuers::SimulatedIssuers,
};

/// Histories with each policy.
const HISTORIES: u64 = 6;
/// Payments in one history.
const PAYMENTS: usize = 60;
/// How long workers crash, in virtual seconds.
const CRASHES_S: u64 = 30;
const SHARDS: u32 = 2;

/// What makes up a history, besides its seed and the issuers.
#[derive(Clone, Copy)]
struct Plan {
    policy: PolicyOf,
    /// Whether wallet workers crash.
    crashes: bool,
}

/// Chooses a policy for issuers.
type PolicyOf = fn(&SimulatedIssuers) -> Policy;

/// The policy with times and limits that a crash does not exceed.
pub fn with_room(policy: Policy) -> Policy {
    let mut policy = Policy { send_within_ms: 15_000, ..policy };
    policy.issuers.iter_mut().for_each(|rules| rules.limits = Limits::default());
    policy
}

/// Runs one history. Returns the violations of invariants, and how many charges and refunds at the
/// wallet failed without a refusal.
async fn run_history(seed: u64, issuers: &SimulatedIssuers, plan: Plan) -> (Vec<String>, usize) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let faults = Faults { session_timeout_ms: 500, append_delay_ms_max: 20, ..Faults::default() };
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 2 }, faults, seed);
    let policy = with_room((plan.policy)(issuers));
    let mut processes = Processes::new(sim.clone(), issuers.clone(), policy.clone(), seed);
    for service in
        [Service::Router, Service::WalletWorker, Service::WalletWorker, Service::FiscWorker, Service::Tracker]
    {
        processes.start(service);
    }
    let callers = Callers::start(&sim, processes.clock.clone(), seed, PAYMENTS, policy, RequestKinds::Harmless);
    let end = tokio::time::Instant::now() + Duration::from_secs(CRASHES_S);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(2_000..6_000))).await;
        if plan.crashes {
            processes.crash_one_of(Service::WalletWorker, false, &mut random);
        }
    }
    settle(&sim, SHARDS, &callers).await;
    let violations = invariants::check(&sim, SHARDS, issuers, &callers.replies());
    (violations, failed_without_refusal(&sim))
}

fn failed_without_refusal(sim: &Sim) -> usize {
    let orders = stored_orders(sim, SHARDS);
    let payments = orders.values().filter_map(Order::as_payment);
    let at_wallet = payments.filter(|payment| payment.issuer == Some(Issuer::Wallet));
    let failures = at_wallet.flat_map(|payment| {
        let refunds = payment.refunds.iter().filter_map(|entry| entry.refund.failure());
        payment.charge.failure().into_iter().chain(refunds)
    });
    let is_refusal = |failure: &&Failure| matches!(failure.evidence, Evidence::Declined | Evidence::Refused);
    failures.filter(|failure| !is_refusal(failure)).count()
}

/// Plays one history in virtual time.
fn play_one(seed: u64, issuers: &SimulatedIssuers, plan: Plan) -> (Vec<String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run_history(seed, issuers, plan))
}

/// Plays the histories of all seeds; returns how many movements failed without a refusal in each.
fn play(plan: Plan) -> Vec<usize> {
    let failures_of = |seed| {
        let (violations, failed) = play_one(seed, &SimulatedIssuers::without_faults(seed), plan);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        failed
    };
    (1..=HISTORIES).map(failures_of).collect()
}

#[test]
fn a_crashed_worker_costs_no_payment_at_an_idempotent_wallet() {
    let failed = play(Plan { policy: true_policy, crashes: true });
    assert!(failed.iter().all(|count| *count == 0), "failed without a refusal, by seed: {failed:?}");
    let failed = play(Plan { policy: cautious_policy, crashes: false });
    assert!(failed.iter().all(|count| *count == 0), "failed although no worker crashed, by seed: {failed:?}");
    let failed = play(Plan { policy: cautious_policy, crashes: true });
    println!("failed without a refusal where the policy does not call the wallet idempotent, by seed: {failed:?}");
    assert!(failed.iter().any(|count| *count > 0), "the crashes cost no payment, so this test shows nothing");
}

#[test]
fn a_wallet_that_forgets_refusals_and_is_called_idempotent_is_found_out() {
    let is_found = |seed| {
        let (violations, _) =
            play_one(seed, &SimulatedIssuers::forgetful(seed), Plan { policy: credulous_policy, crashes: true });
        violations.iter().any(|violation| violation.contains("I6: a failed movement took effect"))
    };
    assert!((1..=20).any(is_found), "no history shows a payment that was refused and then charged");
    let (violations, _) = play_one(1, &SimulatedIssuers::forgetful(1), Plan { policy: true_policy, crashes: true });
    assert!(violations.is_empty(), "called what it is, it does no harm: {violations:#?}");
}
