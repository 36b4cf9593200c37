//! The journal of tests: in memory, in virtual time, with seeded faults. A [`Sim`] is the cluster;
//! each process of the system under test uses it through a [`SimSession`] of its own, which can
//! crash, or be paused and come back as a zombie.
//!
//! Made for a runtime on one thread with paused time (`start_paused = true`): delays are timers, so
//! that hours pass in moments. What goes wrong is drawn from the seed:
//!
//! - an append is delayed; it lands and its acknowledgement is lost; it never lands; or it lands
//!   long after it was said to have failed, even after its session is gone. Appends of one session
//!   to one partition land in the order of the calls, but for these late ones: after a failed
//!   append nothing may be assumed of it.
//! - a session that crashes leaves what it had under way to chance: each append lands or not.
//! - a paused session reads nothing, hears no acknowledgement and appends nothing, until it is
//!   resumed and goes on where it was. Its partitions are meanwhile assigned to others.
//! - `order-states` is compacted at any moment; readers get batches of any size.
//!
//! ```
//! # use twqr_journal::{Entry, Journal, Partition, Topic, sim::{Faults, Layout, Sim}};
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

mod cluster;
mod faults;
mod lanes;
mod reader;
mod session;

pub use cluster::{Layout, Sim};
pub use faults::Faults;
pub use session::SimSession;
