//! A router that is killed at any moment and restarted on its local store serves its shard again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "support/stage.rs"]
mod stage;

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stage::{pause, pay, query, sim, start_on};
use twqr_journal_sim::Faults;
use twqr_router::MemoryStore;

const SEEDS: u64 = 200;

#[tokio::test(start_paused = true)]
async fn a_router_that_is_killed_at_any_moment_serves_again_on_its_store() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let faults = Faults { append_delay_ms_max: 20, end_delay_ms_max: 60, ..Faults::default() };
        let (sim, store) = (sim(faults), Arc::new(MemoryStore::default()));
        for life in 0..3 {
            let router = start_on(&sim, "router", store.clone());
            let served = async {
                while !router.health.is_ready() {
                    pause(10).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), served).await.unwrap_or_else(|_| {
                panic!("seed {seed}, life {life}: the shard is not served: {:?}", router.health.report())
            });
            for number in 0..random.random_range(0..4) {
                if random.random() {
                    pay(&*router.session, &format!("{life}-{number}")).await;
                } else {
                    query(&*router.session).await;
                }
                pause(random.random_range(0..3_000)).await;
            }
            router.session.crash();
            router.running.abort();
        }
    }
}
