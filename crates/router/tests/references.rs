//! A router whose local store refers to the states in `order-states`, as beside the embedded
//! journal: it is killed at any moment, begins again on its store or on an empty one, and never
//! takes an order that it knows for a new one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "support/stage.rs"]
mod stage;

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stage::{cancel, pause, pay, sim, start_with};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_router::{MemoryStore, ReferenceStore};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const SEEDS: u64 = 50;
const LIVES: u32 = 5;

/// How many tasks there are; one that was emitted again after a crash counts each time.
fn tasks(sim: &Sim) -> usize {
    sim.records(TASKS).len()
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_killed_at_any_moment_knows_every_order_by_its_references() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let compacted = random.random_range(0..1_000);
        let faults = Faults { append_delay_ms_max: 20, end_delay_ms_max: 60, compacted, ..Faults::default() };
        let (sim, mut kept) = (sim(faults), Arc::new(MemoryStore::default()));
        let caller = sim.session("caller");
        let mut numbers = Vec::<String>::new();
        for life in 0..LIVES {
            if random.random_bool(0.2) {
                kept = Arc::default();
            }
            let session = sim.session("router");
            let store = Arc::new(ReferenceStore::new(kept.clone(), session.clone()));
            let router = start_with(session.clone(), session, "router", store);
            let served = async {
                while !router.health.is_ready() {
                    pause(10).await;
                }
            };
            let served = tokio::time::timeout(Duration::from_secs(30), served).await;
            assert!(served.is_ok(), "seed {seed}, life {life}: not served: {:?}", router.health.report());
            pause(1_000).await;
            let before = tasks(&sim);
            for number in &numbers {
                pay(&*caller, number).await;
            }
            pause(1_000).await;
            assert_eq!(tasks(&sim), before, "seed {seed}, life {life}: an order was taken for a new one");
            for count in 0..random.random_range(0..6) {
                let number = format!("{life}-{count}");
                pay(&*caller, &number).await;
                numbers.push(number);
                if random.random_bool(0.3) {
                    cancel(&*caller, &numbers[random.random_range(0..numbers.len())]).await;
                }
                pause(random.random_range(0..300)).await;
            }
            assert!(router.health.is_ready(), "seed {seed}, life {life}: {:?}", router.health.report());
            router.session.crash();
            router.running.abort();
        }
    }
}
