//! The alarms of orders in progress do not depend on the read model: they fire while it fails,
//! hangs or cannot be opened, and it catches up later.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test fails by panicking")]

#[path = "support/payments.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod payments;

use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use twqr_access::AccessSettings;
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{Command, ListingChange, Movement, Order, Phase, PolicyVersions};
use twqr_service::{BoundSocket, CancellationToken, Clock, Context, Health, SystemClock};
use twqr_tracker::{MemoryModel, ModelError, ReadModel, Settings, ShardSnapshot, StoredOrder, Watermark};
use twqr_types::{OrderKey, ShardId, TradeNo, UnixMs};
use twqr_wire::convert::{StateBody, StatesEntry, decode_record, encode_state};

const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
/// All orders are accepted at this time, long ago.
const BEGAN: UnixMs = UnixMs(1_790_000_000_000);

/// What the disk under a read model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Works,
    /// Nothing can be written.
    Full,
    /// Nothing can be read or written.
    Broken,
    /// No call returns.
    Hangs,
}

/// A read model in memory on a disk that may fail.
struct FaultyModel {
    memory: MemoryModel,
    disk: Mutex<Disk>,
}

impl FaultyModel {
    fn on(disk: Disk) -> Arc<Self> {
        Arc::new(Self { memory: MemoryModel::default(), disk: Mutex::new(disk) })
    }

    fn set(&self, disk: Disk) {
        *self.disk.lock().unwrap() = disk;
    }

    async fn check(&self, is_write: bool) -> Result<(), ModelError> {
        let disk = *self.disk.lock().unwrap();
        let failed = || ModelError { place: None, reason: "the disk is full".to_owned(), is_damaged: false };
        match disk {
            Disk::Full if is_write => Err(failed()),
            Disk::Works | Disk::Full => Ok(()),
            Disk::Broken => Err(failed()),
            Disk::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait]
impl ReadModel for FaultyModel {
    async fn snapshot(&self, shard: u32) -> Result<ShardSnapshot, ModelError> {
        self.check(false).await?;
        self.memory.snapshot(shard).await
    }

    async fn superseded(&self, shard: u32, states: Vec<(OrderKey, u64)>) -> Result<HashSet<OrderKey>, ModelError> {
        self.check(false).await?;
        self.memory.superseded(shard, states).await
    }

    async fn apply(&self, shard: u32, watermark: Watermark, states: Arc<Vec<StoredOrder>>) -> Result<(), ModelError> {
        self.check(true).await?;
        self.memory.apply(shard, watermark, states).await
    }

    async fn store_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        self.check(true).await?;
        self.memory.store_policies(shard, position, versions).await
    }

    async fn listings(&self, shard: u32) -> Result<Vec<Arc<ListingChange>>, ModelError> {
        self.check(false).await?;
        self.memory.listings(shard).await
    }

    async fn store_listings(&self, shard: u32, changes: Arc<Vec<Arc<ListingChange>>>) -> Result<(), ModelError> {
        self.check(true).await?;
        self.memory.store_listings(shard, changes).await
    }
}

/// The state of the n-th payment: unresolved, and due since long ago.
fn due_payment(n: u64) -> Entry {
    let form = payments::form("M", &format!("T{n}"), 9);
    let charge = Movement::in_phase(BEGAN, Phase::Unresolved { next_check: BEGAN });
    let payment = payments::payment(form, TradeNo::new(ShardId(0), n, BEGAN), BEGAN, charge);
    let body = StateBody::Order(Box::new(Order::Payment(payment)));
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position: n + 1, body });
    Entry { key, value: Some(value) }
}

fn open_journal(folder: &Path) -> Arc<EmbeddedJournal> {
    let one = NonZeroU32::MIN;
    EmbeddedJournal::open(EmbeddedSettings { dir: folder.join("journal"), shards: one, task_partitions: one }).unwrap()
}

/// Followers with a read model on a faulty disk.
struct Followers {
    journal: Arc<EmbeddedJournal>,
    model: Arc<FaultyModel>,
    health: Health,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Followers {
    fn start(folder: &Path, disk: Disk) -> Self {
        Self::start_with(folder, disk, Arc::new(SystemClock))
    }

    fn start_with(folder: &Path, disk: Disk, clock: Arc<dyn Clock>) -> Self {
        let (journal, model) = (open_journal(folder), FaultyModel::on(disk));
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let context = Context { clock, shutdown: shutdown.clone(), health: health.clone() };
        let running = tokio::spawn(twqr_tracker::follow(model.clone(), journal.clone(), context));
        Self { journal, model, health, shutdown, running }
    }

    async fn until_reported(&self, part: &str) {
        let reported = || format!("{:?}", self.health.report()).contains(part);
        wait_until(&format!("{part} in {:?}", self.health.report()), reported).await;
    }

    async fn until_model_has(&self, next: u64) {
        for _ in 0..1_000 {
            if self.model.memory.snapshot(0).await.unwrap().next == next {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the read model did not catch up: {:?}", self.health.report());
    }

    async fn close(self) {
        assert!(!self.running.is_finished(), "the followers run until shutdown");
        assert_eq!(self.health.dead(), None);
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.running).await.unwrap().unwrap();
    }
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 20 s: {what}");
}

/// Waits until due records of so many different orders are written.
async fn until_due(journal: &EmbeddedJournal, orders: usize) {
    let mut reader = journal.reader(ORDERS, 0).await.unwrap();
    let mut due = BTreeSet::new();
    while due.len() < orders {
        let records = tokio::time::timeout(Duration::from_secs(10), reader.next(1_024)).await;
        for record in records.unwrap_or_else(|_| panic!("only {} orders were due", due.len())).unwrap() {
            let Command::Due(key) = decode_record(record.entry.value.unwrap()).unwrap().command else { continue };
            due.insert(key.to_string());
        }
    }
}

#[tokio::test]
async fn alarms_ring_while_the_read_model_fails_and_it_catches_up_later() {
    for disk in [Disk::Full, Disk::Broken] {
        let folder = tempfile::tempdir().unwrap();
        let followers = Followers::start(folder.path(), disk);
        followers.journal.append(STATES, vec![due_payment(0)]).await.unwrap();
        until_due(&followers.journal, 1).await;
        followers.until_reported("the disk is full").await;
        assert!(followers.health.is_ready(), "{disk:?}: {:?}", followers.health.report());
        // More than is kept in memory for the read model.
        followers.journal.append(STATES, (1..10_000).map(due_payment).collect()).await.unwrap();
        until_due(&followers.journal, 10_000).await;

        followers.model.set(Disk::Works);
        followers.until_model_has(10_000).await;
        assert_eq!(followers.model.memory.snapshot(0).await.unwrap().in_progress.len(), 10_000, "{disk:?}");
        wait_until("ready", || !format!("{:?}", followers.health.report()).contains("full")).await;
        followers.journal.append(STATES, vec![due_payment(10_000)]).await.unwrap();
        followers.until_model_has(10_001).await;
        followers.close().await;
    }
}

/// Routers delete what older epochs have written about an order. Its newest state stays.
#[tokio::test]
async fn a_deleted_key_of_an_older_epoch_does_not_end_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let followers = Followers::start(folder.path(), Disk::Works);
    let state = due_payment(0);
    let deleted = Entry { key: state.key.clone(), value: None };
    followers.journal.append(STATES, vec![state, deleted]).await.unwrap();
    followers.until_model_has(2).await;
    assert_eq!(followers.model.memory.snapshot(0).await.unwrap().in_progress.len(), 1);
    until_due(&followers.journal, 1).await;
    followers.close().await;
}

#[tokio::test]
async fn alarms_ring_while_the_read_model_hangs() {
    for hangs_from_the_start in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let followers = Followers::start(folder.path(), if hangs_from_the_start { Disk::Hangs } else { Disk::Works });
        followers.journal.append(STATES, vec![due_payment(0)]).await.unwrap();
        until_due(&followers.journal, 1).await;
        followers.model.set(Disk::Hangs);
        followers.journal.append(STATES, vec![due_payment(1)]).await.unwrap();
        until_due(&followers.journal, 2).await;
        followers.until_reported("read-model-0\": Degraded").await;
        assert!(followers.health.is_ready(), "{:?}", followers.health.report());
        followers.close().await;
    }
}

#[tokio::test]
async fn alarms_ring_although_the_read_model_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    // A folder in the place of the file.
    let database = folder.path().join("read-model.sqlite");
    std::fs::create_dir(&database).unwrap();
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let listen = socket.address();
    let settings = Settings { database: database.clone(), policy_wait_ms: 1_000, access: AccessSettings::default() };
    let running = tokio::spawn(twqr_tracker::run(socket, settings, journal.clone(), context));
    journal.append(STATES, vec![due_payment(0)]).await.unwrap();
    until_due(&journal, 1).await;
    assert!(health.is_ready(), "{:?}", health.report());

    std::fs::remove_dir(&database).unwrap();
    wait_until("the operators' API serves", || std::net::TcpStream::connect(listen).is_ok()).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// The system's clock, which a test declares to be wrong.
struct DoubtfulClock(AtomicBool);

impl Clock for DoubtfulClock {
    fn now(&self) -> UnixMs {
        SystemClock.now()
    }

    fn is_skewed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn no_alarm_rings_while_the_clock_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(DoubtfulClock(AtomicBool::new(true)));
    let followers = Followers::start_with(folder.path(), Disk::Works, clock.clone());
    followers.journal.append(STATES, vec![due_payment(0)]).await.unwrap();
    followers.until_model_has(1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(followers.journal.end(ORDERS).await.unwrap(), 0);
    clock.0.store(false, Ordering::Relaxed);
    until_due(&followers.journal, 1).await;
    followers.close().await;
}
