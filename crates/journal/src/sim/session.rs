//! One process' use of the cluster; it can crash, or be paused and come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    cluster::{REPLIES_PARTITIONS, Sim},
    lanes::{Lanes, Work},
    reader::SimReader,
};
use crate::{
    Ack, Assignments, ENTRY_BYTES_MAX, Entry, Group, Journal, JournalError, Offset, POSITION_METADATA_BYTES_MAX,
    Partition, Position, Reader, RepliesHold, Topic,
};

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    Paused,
    Crashed,
}

/// Waits while the session is paused; false if it has crashed.
pub(super) async fn until_running(status: &mut watch::Receiver<Status>) -> bool {
    let settled = status.wait_for(|status| *status != Status::Paused).await;
    settled.is_ok_and(|status| *status == Status::Running)
}

/// A process of the system under test.
pub struct SimSession {
    sim: Sim,
    id: u64,
    member: String,
    status: watch::Sender<Status>,
    lanes: Lanes,
    stalls: Arc<Stalls>,
}

/// How often the readers of a partition were stalled: one that was opened before the last time
/// reads nothing any more.
#[derive(Default)]
pub(super) struct Stalls(Mutex<BTreeMap<Partition, u64>>);

impl Stalls {
    pub(super) fn count(&self, partition: Partition) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied().unwrap_or_default()
    }
}

impl SimSession {
    pub(super) fn new(sim: Sim, id: u64, member: &str) -> Arc<Self> {
        let status = watch::Sender::new(Status::Running);
        Arc::new(Self { sim, id, member: member.to_owned(), status, lanes: Lanes::default(), stalls: Arc::default() })
    }

    /// The process is gone, at once; what it had under way is left to chance.
    pub fn crash(&self) {
        self.status.send_replace(Status::Crashed);
        self.sim.0.free_replies_of(self.id);
        self.leave_after_timeout(false);
    }

    /// The process stands still, as after SIGSTOP.
    pub fn pause(&self) {
        self.status.send_if_modified(|status| {
            let running = *status == Status::Running;
            if running {
                *status = Status::Paused;
            }
            running
        });
        self.leave_after_timeout(true);
    }

    /// It goes on where it was, and does not know that time has passed.
    pub fn resume(&self) {
        self.status.send_if_modified(|status| {
            let paused = *status == Status::Paused;
            if paused {
                *status = Status::Running;
            }
            paused
        });
    }

    /// The readers that are open on a partition read nothing any more, and do not say so: as
    /// consumers do that stall silently. Readers that are opened later are well.
    pub fn stall(&self, partition: Partition) {
        *self.stalls.0.lock().unwrap_or_else(PoisonError::into_inner).entry(partition).or_default() += 1;
    }

    /// Returns when the process runs (at once, unless it is paused); false if it has crashed. For
    /// the parts of a test that stand for the process' other connections.
    pub async fn until_running(&self) -> bool {
        until_running(&mut self.status.subscribe()).await
    }

    /// Its partitions go to others after the time-out; one that comes back joins again.
    fn leave_after_timeout(&self, comes_back: bool) {
        let (shared, id, mut status) = (self.sim.0.clone(), self.id, self.status.subscribe());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(shared.session_timeout_ms())).await;
            if *status.borrow() == Status::Running {
                return;
            }
            let topics = shared.leave(id);
            if comes_back && until_running(&mut status).await {
                for topic in topics {
                    shared.join(topic, id);
                }
            }
        });
    }

    fn refused(partition: Partition, reason: String) -> Ack {
        Ack::ready(partition, Err(JournalError::AppendRefused { partition, reason: reason.into() }))
    }

    fn push(&self, partition: Partition, work: Work) -> Ack {
        let (sender, ack) = Ack::pending(partition);
        self.lanes.push(partition, work, sender, (&self.sim.0, &self.status));
        ack
    }

    async fn alive(&self) -> Result<(), JournalError> {
        let gone = || JournalError::Unusable(format!("the session of {} has crashed", self.member).into());
        if self.until_running().await { Ok(()) } else { Err(gone()) }
    }
}

#[async_trait]
impl Journal for SimSession {
    fn partitions(&self, topic: Topic) -> u32 {
        self.sim.0.layout.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if !self.sim.0.knows(partition) {
            return Ack::ready(partition, Err(JournalError::NoPartition(partition)));
        }
        let size = |entry: &Entry| entry.key.len() + entry.value.as_ref().map_or(0, bytes::Bytes::len);
        if let Some(bytes) = entries.iter().map(size).find(|bytes| *bytes > ENTRY_BYTES_MAX) {
            let reason = format!("the entry has {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed");
            return Self::refused(partition, reason);
        }
        self.push(partition, Work::Append(entries))
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.alive().await?;
        let end = self.sim.0.end(partition).ok_or(JournalError::NoPartition(partition))?;
        Ok(Box::new(SimReader {
            shared: self.sim.0.clone(),
            partition,
            next: from,
            stalls: (self.stalls.clone(), self.stalls.count(partition)),
            end,
            status: self.status.subscribe(),
        }))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.alive().await?;
        let end = self.sim.0.end(partition).ok_or(JournalError::NoPartition(partition))?;
        Ok(*end.borrow())
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.alive().await?;
        let end = self.sim.0.end(partition).ok_or(JournalError::NoPartition(partition))?;
        let oldest = self.sim.records(partition).first().map(|record| record.offset);
        Ok(oldest.unwrap_or(*end.borrow()))
    }

    async fn assignments(&self, topic: Topic, _member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.alive().await?;
        self.sim.0.join(topic, self.id);
        Ok(Box::new(SimAssignments {
            sim: self.sim.clone(),
            topic,
            session: self.id,
            told: None,
            members: self.sim.0.watch_members(),
            status: self.status.subscribe(),
        }))
    }

    async fn hold_replies(&self, _member: &str) -> Result<RepliesHold, JournalError> {
        self.alive().await?;
        let index = self.sim.0.hold_replies(self.id).ok_or_else(|| {
            JournalError::Unusable(
                format!("all {REPLIES_PARTITIONS} partitions of replies are held; stop an ingress").into(),
            )
        })?;
        let guard = Held { sim: self.sim.clone(), index };
        Ok(RepliesHold::new(Partition { topic: Topic::Replies, index }, Some(Box::new(guard))))
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        if position.metadata.len() > POSITION_METADATA_BYTES_MAX {
            return Self::refused(partition, format!("metadata of {} bytes is too long", position.metadata.len()));
        }
        self.push(partition, Work::Commit(group, position))
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.alive().await?;
        Ok(self.sim.0.position(group, partition))
    }

    async fn close(&self) {}
}

/// Gives a partition of `replies` back.
struct Held {
    sim: Sim,
    index: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sim.0.free_replies(self.index);
    }
}

struct SimAssignments {
    sim: Sim,
    topic: Topic,
    session: u64,
    told: Option<BTreeSet<u32>>,
    members: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
}

#[async_trait]
impl Assignments for SimAssignments {
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError> {
        loop {
            if !until_running(&mut self.status).await {
                return Err(JournalError::Unusable("the session has crashed".into()));
            }
            self.members.mark_unchanged();
            let share = self.sim.0.share(self.topic, self.session);
            if self.told.as_ref() != Some(&share) {
                self.told = Some(share.clone());
                return Ok(share);
            }
            let changed = tokio::select! {
                changed = self.members.changed() => changed.is_ok(),
                changed = self.status.changed() => changed.is_ok(),
            };
            if !changed {
                return Err(JournalError::Unusable("the cluster is gone".into()));
            }
        }
    }
}
