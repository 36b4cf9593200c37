//! A router follows the states of a shard that another router owns, and takes it over quickly. The
//! take-over emits again every effect after the highest marker.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/stage.rs"]
mod stage;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use counting::CountingJournal;
use stage::{ORDERS, STATES, pause, pay, start, start_with};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::HoldRecord;
use twqr_router::{MemoryStore, StateStore, StoreError, StoreMark, StoredState};
use twqr_service::PartState;
use twqr_wire::convert::{HeldTopic, TaskRecord, decode_task_record};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// How many states a take-over may read after 1,000 orders.
const STATES_READ_MAX: usize = 10;

#[tokio::test(start_paused = true)]
async fn a_take_over_by_a_standby_reads_only_the_newest_states() {
    let sim = stage::sim(Faults { session_timeout_ms: 1_000, ..Faults::default() });
    let caller = sim.session("caller");
    let owner = start(&sim, "router-0");
    pause(1_000).await;
    let journal = CountingJournal::new(sim.session("router-1"));
    let store = Arc::new(MemoryStore::default());
    let standby = start_with(journal.clone(), journal.session.clone(), "router-1", store);
    for order in 0..1_000 {
        pay(&*caller, &format!("T{order}")).await;
        if order % 10 == 0 {
            pause(100).await;
        }
    }
    pause(10_000).await;
    let followed = journal.read(STATES);
    assert!(followed >= 1_000, "{followed} states were followed");
    assert!(!standby.health.report().contains_key("router/shard-0"), "a standby only watches the shard");

    owner.session.crash();
    owner.running.abort();
    pause(10_000).await;
    assert!(standby.health.is_ready(), "{:?}", standby.health.report());
    let read = journal.read(STATES) - followed;
    assert!(read <= STATES_READ_MAX, "{read} states were read at the take-over");
}

/// A store on a disk that is full.
#[derive(Default)]
struct FullStore(MemoryStore);

impl StateStore for FullStore {
    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError> {
        self.0.mark(shard)
    }

    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError> {
        self.0.get(shard, key)
    }

    fn put(&self, _: u16, _: &[StoredState], _: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        Err(StoreError("no space is left".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_whose_disk_is_full_makes_the_process_dead() {
    let sim = stage::sim(Faults::default());
    let _owner = start(&sim, "router-0");
    pause(1_000).await;
    let session = sim.session("router-1");
    let standby = start_with(session.clone(), session, "router-1", Arc::new(FullStore::default()));
    pay(&*sim.session("caller"), "T1").await;
    pause(10_000).await;
    assert!(standby.health.dead().is_some_and(|why| why.contains("no space is left")), "{:?}", standby.health.report());
}

/// The owner crashes at various times after payments, with appends in flight that are lost or land.
/// Each payment must have its task after the take-over.
#[tokio::test(start_paused = true)]
async fn a_take_over_emits_what_the_crashed_owner_could_not_append() {
    for seed in 0..60 {
        let faults = Faults { append_delay_ms_max: 60, session_timeout_ms: 1_000, ..Faults::default() };
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, seed);
        let caller = sim.session("caller");
        let owner = start(&sim, "router-0");
        pause(1_000).await;
        let standby = start(&sim, "router-1");
        pause(5_000).await;
        for order in 0..8 {
            pay(&*caller, &format!("T{order}")).await;
        }
        pause(seed * 4).await;
        owner.session.crash();
        owner.running.abort();
        pause(10_000).await;
        assert!(standby.health.is_ready(), "seed {seed}: {:?}", standby.health.report());
        let tasks: BTreeSet<_> = sim.records(TASKS).into_iter().filter_map(trade_no).collect();
        assert_eq!(tasks.len(), 8, "seed {seed}: a payment has no task");
        standby.session.crash();
        standby.running.abort();
    }
}

fn claims(sim: &Sim) -> usize {
    let hold = |record: twqr_journal::Record| HeldTopic::Orders.decode_hold(&record.entry.value?);
    sim.records(ORDERS).into_iter().filter_map(hold).filter(|hold| matches!(hold, HoldRecord::Claim { .. })).count()
}

fn trade_no(record: twqr_journal::Record) -> Option<String> {
    match decode_task_record(record.entry.value?).ok()? {
        TaskRecord::Task(task) => Some(format!("{:?}", task.trade_no)),
        TaskRecord::Hold(_) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_refuses_states_that_are_not_whole() {
    let sim = stage::sim(Faults { session_timeout_ms: 1_000, ..Faults::default() });
    let owner = start(&sim, "router-0");
    pause(1_000).await;
    pay(&*sim.session("caller"), "T1").await;
    let store = Arc::new(MemoryStore::default());
    let standby = stage::start_on(&sim, "router-1", store.clone());
    pause(10_000).await;
    assert_eq!(standby.health.report().get("router/standby-0"), Some(&PartState::Ready));
    standby.session.crash();
    standby.running.abort();
    sim.truncate(STATES, 1);
    let standby = stage::start_on(&sim, "router-1", store);
    pause(5_000).await;
    let refused = standby.health.report().get("router/standby-0").cloned();
    assert!(
        matches!(&refused, Some(PartState::Degraded(why)) if why.contains("order-states/0 is not whole")),
        "{refused:?}"
    );
    owner.session.crash();
    owner.running.abort();
    let before = claims(&sim);
    pause(20_000).await;
    let state = standby.health.report()["router/shard-0"].clone();
    assert!(matches!(&state, PartState::NotReady(why) if why.contains("order-states/0 is not whole")), "{state:?}");
    assert!(claims(&sim) <= before + 1, "the shard was claimed again after the refusal");
}
