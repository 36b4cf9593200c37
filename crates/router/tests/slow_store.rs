//! A local store that stalls under one shard does not stop another shard.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bytes::Bytes;
use stage::{pause, pay_on, start_with};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_router::{MemoryStore, StateStore, StoreError, StoreMark, StoredState};
use twqr_service::PartState;

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
/// How long a call stalls at most, and how long the test waits for anything.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The call that stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Get,
    Put,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Closed,
    /// A call waits at the gate.
    Reached,
}

/// A store whose calls for shard 0 wait at a gate, on the thread that made them.
struct StallingStore {
    inner: MemoryStore,
    stalls: Call,
    gate: Mutex<Gate>,
    changed: Condvar,
}

impl StallingStore {
    fn set(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
        self.changed.notify_all();
    }

    fn gate(&self) -> Gate {
        *self.gate.lock().unwrap()
    }

    fn pass(&self, shard: u16, call: Call) {
        if shard != 0 || call != self.stalls || self.gate() == Gate::Open {
            return;
        }
        self.set(Gate::Reached);
        let gate = self.gate.lock().unwrap();
        drop(self.changed.wait_timeout_while(gate, WAIT_MAX, |gate| *gate != Gate::Open).unwrap());
        self.set(Gate::Open);
    }
}

impl StateStore for StallingStore {
    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError> {
        self.inner.mark(shard)
    }

    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError> {
        self.pass(shard, Call::Get);
        self.inner.get(shard, key)
    }

    fn put(&self, shard: u16, states: &[StoredState], mark: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        self.pass(shard, Call::Put);
        self.inner.put(shard, states, mark)
    }
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            pause(5).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Everything runs on one thread here, so a call that blocks it stops every shard.
#[tokio::test]
async fn a_store_that_stalls_under_one_shard_does_not_stop_another() {
    for stalls in [Call::Get, Call::Put] {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let store = Arc::new(StallingStore {
            inner: MemoryStore::default(),
            stalls,
            gate: Mutex::new(Gate::Open),
            changed: Condvar::new(),
        });
        let (session, caller) = (sim.session("router-0"), sim.session("caller"));
        let router = start_with(session.clone(), session, "router-0", store.clone());
        let is_ready = |shard| router.health.report().get(shard) == Some(&PartState::Ready);
        until("both shards are ready", || ["router/shard-0", "router/shard-1"].into_iter().all(is_ready)).await;

        store.set(Gate::Closed);
        let shard = |index| Partition { topic: Topic::Orders, index };
        pay_on(&*caller, shard(0), "STALLED").await;
        until("the store stalls", || store.gate() == Gate::Reached).await;
        let before = sim.records(TASKS).len();
        for number in 0..3 {
            pay_on(&*caller, shard(1), &format!("T{number}")).await;
        }
        until("the other shard works", || sim.records(TASKS).len() == before + 3).await;
        assert_eq!(store.gate(), Gate::Reached, "{stalls:?}: the other shard's payments waited for the store");
        store.set(Gate::Open);
        until("the stalled payment proceeds", || sim.records(TASKS).len() == 4).await;
        router.session.crash();
        router.running.abort();
    }
}
