//! A journal for tests: in memory, in virtual time, with seeded faults.
//!
//! A [`Sim`] is the cluster. Each process of the system under test uses it through its own
//! [`SimSession`], which the test can crash, or pause and resume: a resumed process continues as if
//! no time had passed, although others may have taken over.
//!
//! Run it on a runtime with one thread and paused time (`start_paused = true`): delays are timers,
//! so hours of virtual time take moments. The seed decides what goes wrong:
//!
//! - An append lands, which means that it becomes readable, after a delay; or it lands but its
//!   acknowledgement is lost; or it never lands; or it lands long after it was reported as failed,
//!   even after its session has crashed. Except for these late appends, those of one session to one
//!   partition land in the order of the calls. As with a real broker, the entries of a failed
//!   append may or may not be in the log.
//! - When a session crashes, each of its appends in progress lands or is lost, by chance.
//! - A paused session reads nothing, receives no acknowledgement and appends nothing until it is
//!   resumed. Meanwhile its partitions are assigned to others.
//! - `order-states` is compacted at any moment, and readers get batches of any size.
//!
//! ```
//! # use twqr_journal::{Entry, Journal, Partition, Topic};
//! # use twqr_journal_sim::{Faults, Layout, Sim};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
//! let session = sim.session("router-0");
//! let orders = Partition { topic: Topic::Orders, index: 0 };
//! session.append(orders, vec![Entry::plain("record")]).await.unwrap();
//! session.crash();
//! assert_eq!(sim.records(orders).len(), 1);
//! # }
//! ```

mod append_queues;
mod assignments;
mod cluster;
mod faults;
mod reader;
mod session;
mod status;

use std::sync::Arc;

use twqr_journal::{LogTime, Offset, Partition, Record};

use cluster::Cluster;

pub use cluster::Layout;
pub use faults::Faults;
pub use session::SimSession;

/// A simulated cluster. Cloning gives another handle of the same cluster.
#[derive(Clone)]
pub struct Sim(Arc<Cluster>);

impl Sim {
    /// An empty cluster whose faults are drawn from `seed`.
    pub fn new(layout: Layout, faults: Faults, seed: u64) -> Self {
        Self(Arc::new(Cluster::new(layout, faults, seed)))
    }

    /// Connects a process; `member` names it in errors.
    pub fn session(&self, member: &str) -> Arc<SimSession> {
        SimSession::new(self.0.clone(), member)
    }

    /// Replaces the faults for everything that happens from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.set_faults(faults);
    }

    /// Stamps records with this clock, in Unix ms, as brokers do. Without it, acknowledgements have
    /// no time. Only the first clock counts.
    pub fn stamp_with(&self, clock: impl Fn() -> LogTime + Send + Sync + 'static) {
        self.0.set_broker_clock(Box::new(clock));
    }

    /// Every record that the partition holds, independent of any session's state.
    pub fn records(&self, partition: Partition) -> Vec<Record> {
        self.0.records(partition)
    }

    /// Deletes the records below `start`, as retention does.
    pub fn trim(&self, partition: Partition, start: Offset) {
        self.0.trim(partition, start);
    }

    /// Deletes the records from `end` on, as the election of a replica that lags behind does. With
    /// 0 the topic is created again.
    pub fn truncate(&self, partition: Partition, end: Offset) {
        self.0.truncate(partition, end);
    }

    /// Compacts the partition now: keeps only the newest record of each key.
    pub fn compact(&self, partition: Partition) {
        self.0.compact(partition);
    }
}
