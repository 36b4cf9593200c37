//! Fetches records without the client library. For each broker, one task asks for the records of
//! all open partitions that the broker leads in one request, and has at most one request in flight.
//! A second reader of a partition at the same pace is in another *lane*, which has its own tasks.
//!
//! A record reaches a reader only if it is the next one: an answer counts only if the reader is
//! still at the offset that was asked for. So partitions may move while requests are in flight.

mod batch;
mod failing;
mod lane;
mod leaders;
mod request;
#[cfg(test)]
mod simulated;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Pace, Source, buffer::Buffer};
use crate::{
    Offset, Partition, Topic,
    kafka::{
        KafkaSettings, lock,
        wire::{Address, Leader, LeaderSearch},
    },
};
pub use batch::fuzz_records;
use subscription::Subscription;

/// The fetcher of the process.
pub(super) struct DirectFetcher(Arc<FetcherHandle>);

/// Ends the fetcher when neither the process nor a reader uses it.
struct FetcherHandle(Arc<FetcherShared>);

impl Drop for FetcherHandle {
    fn drop(&mut self) {
        self.0.ended.cancel();
    }
}

/// The state that the readers and the tasks of a fetcher share.
struct FetcherShared {
    client_id: String,
    /// The topics' names on the brokers.
    topics: BTreeMap<Topic, String>,
    state: Mutex<FetcherState>,
    /// Asks for the partitions' leaders.
    ask_leaders: Notify,
    ended: CancellationToken,
}

#[derive(Default)]
struct FetcherState {
    /// The open readers, by their numbers.
    subscriptions: BTreeMap<u64, Subscription>,
    /// The number of the next reader.
    next: u64,
    leaders: BTreeMap<Partition, Leader>,
    /// Since when brokers name an older leader than the known one.
    older_since: BTreeMap<Partition, Instant>,
    brokers: BTreeMap<i32, Address>,
    /// How often a broker has said who leads.
    answers: u64,
    /// Wakes the task of each lane and broker.
    tasks: BTreeMap<TaskKey, Arc<Notify>>,
}

/// Which partitions one request may contain: each at most once, and all with the same pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    pace: Pace,
    number: u32,
}

/// Identifies a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TaskKey {
    broker: i32,
    lane: Lane,
}

impl FetcherState {
    /// The first lane that does not contain this partition.
    fn free_lane(&self, partition: Partition, pace: Pace) -> Lane {
        let taken: Vec<Lane> =
            self.subscriptions.values().filter(|of| of.partition == partition).map(|of| of.lane).collect();
        let lanes = (0..).map(|number| Lane { pace, number });
        lanes.into_iter().find(|lane| !taken.contains(lane)).unwrap_or(Lane { pace, number: u32::MAX })
    }
}

impl DirectFetcher {
    /// Starts the fetcher on the present runtime.
    pub(super) fn start(settings: &KafkaSettings, client_id: &str) -> Self {
        let shared = Arc::new(FetcherShared {
            client_id: client_id.to_owned(),
            topics: Topic::ALL.into_iter().map(|topic| (topic, settings.topic(topic))).collect(),
            state: Mutex::default(),
            ask_leaders: Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(leaders::follow(shared.clone(), LeaderSearch::new(settings, client_id)));
        Self(Arc::new(FetcherHandle(shared)))
    }

    /// Starts to fetch a partition.
    pub(super) fn open(&self, partition: Partition, from: Offset, pace: Pace) -> (Arc<Buffer>, Box<dyn Source>) {
        let shared = &self.0.0;
        let buffer = Arc::<Buffer>::default();
        let mut state = lock(&shared.state);
        let lane = state.free_lane(partition, pace);
        let number = state.next;
        state.next += 1;
        state.subscriptions.insert(number, Subscription::new(partition, lane, from, buffer.clone()));
        shared.wake_task(&mut state, number);
        (buffer, Box::new(Subscribed { handle: self.0.clone(), number }))
    }
}

impl FetcherShared {
    /// Wakes the task that fetches for a reader, and starts it if there is none. Without a leader
    /// it asks for one.
    fn wake_task(self: &Arc<Self>, state: &mut FetcherState, number: u64) {
        let Some(subscription) = state.subscriptions.get(&number) else { return };
        let Some(leader) = state.leaders.get(&subscription.partition) else {
            self.ask_leaders.notify_one();
            return;
        };
        let key = TaskKey { broker: leader.broker, lane: subscription.lane };
        let wake = state.tasks.entry(key).or_insert_with(|| {
            let wake = Arc::<Notify>::default();
            tokio::spawn(lane::run(self.clone(), key, wake.clone()));
            wake
        });
        wake.notify_one();
    }
}

/// An open reader's part of the fetcher.
struct Subscribed {
    handle: Arc<FetcherHandle>,
    number: u64,
}

impl Source for Subscribed {
    fn resume(&self) -> bool {
        true
    }

    fn resumed(&self) {
        let shared = &self.handle.0;
        shared.wake_task(&mut lock(&shared.state), self.number);
    }
}

impl Drop for Subscribed {
    /// Another reader of the partition takes the place in the lane, so that the highest lanes
    /// become empty.
    fn drop(&mut self) {
        let shared = &self.handle.0;
        let state = &mut *lock(&shared.state);
        let Some(left) = state.subscriptions.remove(&self.number) else { return };
        let higher = state.subscriptions.iter_mut().filter(|(_, of)| {
            of.partition == left.partition && of.lane.pace == left.lane.pace && of.lane.number > left.lane.number
        });
        if let Some((number, highest)) = higher.max_by_key(|(_, of)| of.lane.number) {
            highest.lane = left.lane;
            let number = *number;
            shared.wake_task(state, number);
        }
    }
}
