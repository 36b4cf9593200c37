//! One process's access to the cluster. The process can crash, or be paused and resumed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, NewestByKey, Offset, Partition, Position, Reader,
    RepliesHold, Topic, check_entries,
};

use crate::{
    append_queues::{AppendQueues, Work},
    assignments::SimAssignments,
    cluster::{Cluster, REPLIES_PARTITIONS},
    reader::SimReader,
    status::{Stalls, Status, until_running},
};

/// The journal as one process of the system under test uses it.
pub struct SimSession {
    cluster: Arc<Cluster>,
    id: u64,
    member: String,
    status: watch::Sender<Status>,
    queues: AppendQueues,
    stalls: Arc<Stalls>,
}

impl SimSession {
    pub(crate) fn new(cluster: Arc<Cluster>, member: &str) -> Arc<Self> {
        let id = cluster.next_session();
        let status = watch::Sender::new(Status::Running);
        let queues = AppendQueues::new(cluster.clone(), status.subscribe());
        Arc::new(Self { cluster, id, member: member.to_owned(), status, queues, stalls: Arc::default() })
    }

    /// Ends the process at once, as kill -9 does. Each append in progress lands or is lost, by
    /// chance.
    pub fn crash(&self) {
        self.status.send_replace(Status::Crashed);
        self.cluster.release_replies_of(self.id);
        self.leave_after_timeout(false);
    }

    /// Stops the process, as SIGSTOP does. Has no effect on a crashed session.
    pub fn pause(&self) {
        self.change_status(Status::Running, Status::Paused);
        self.leave_after_timeout(true);
    }

    /// Continues a paused process, which does not know that time has passed.
    pub fn resume(&self) {
        self.change_status(Status::Paused, Status::Running);
    }

    fn change_status(&self, from: Status, to: Status) {
        self.status.send_if_modified(|status| {
            let applies = *status == from;
            if applies {
                *status = to;
            }
            applies
        });
    }

    /// Stalls the open readers of a partition: they return neither records nor errors any more.
    /// Readers that are opened later work.
    pub fn stall(&self, partition: Partition) {
        self.stalls.add(partition);
    }

    /// Waits while the process is paused; returns false if it has crashed. For test code that
    /// simulates the other connections of the process.
    pub async fn until_running(&self) -> bool {
        until_running(&mut self.status.subscribe()).await
    }

    /// Leaves the session's groups after the time-out, unless the process runs again by then, so
    /// that others are assigned its partitions. If `can_rejoin`, a resumed session joins the groups
    /// again.
    fn leave_after_timeout(&self, can_rejoin: bool) {
        let (cluster, id, mut status) = (self.cluster.clone(), self.id, self.status.subscribe());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(cluster.session_timeout_ms())).await;
            if *status.borrow() == Status::Running {
                return;
            }
            let topics = cluster.leave(id);
            if can_rejoin && until_running(&mut status).await {
                for topic in topics {
                    cluster.join(topic, id);
                }
            }
        });
    }

    async fn check_alive(&self) -> Result<(), JournalError> {
        let gone = || JournalError::Unusable(format!("the session of {} has crashed", self.member).into());
        if self.until_running().await { Ok(()) } else { Err(gone()) }
    }
}

#[async_trait]
impl Journal for SimSession {
    fn partitions(&self, topic: Topic) -> u32 {
        self.cluster.layout.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if !self.cluster.has(partition) {
            return Ack::ready(partition, Err(JournalError::NoPartition(partition)));
        }
        match check_entries(&entries) {
            Ok(()) => self.queues.push(partition, Work::Append(entries)),
            Err(reason) => Ack::refused(partition, reason),
        }
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.check_alive().await?;
        let end = self.cluster.end(partition).ok_or(JournalError::NoPartition(partition))?;
        Ok(Box::new(SimReader {
            cluster: self.cluster.clone(),
            partition,
            next: from,
            stalls: self.stalls.clone(),
            stalls_when_opened: self.stalls.count(partition),
            end,
            status: self.status.subscribe(),
        }))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check_alive().await?;
        let end = self.cluster.end(partition).ok_or(JournalError::NoPartition(partition))?;
        let delay_ms = self.cluster.draw_end_delay();
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            self.check_alive().await?;
        }
        Ok(*end.borrow())
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check_alive().await?;
        let end = self.cluster.end(partition).ok_or(JournalError::NoPartition(partition))?;
        let oldest = self.cluster.records(partition).first().map(|record| record.offset);
        Ok(oldest.unwrap_or(*end.borrow()))
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.check_alive().await?;
        self.cluster.name_member(topic, self.id, member);
        let assignments = SimAssignments::join(self.cluster.clone(), topic, self.id, self.status.subscribe());
        Ok(Box::new(assignments))
    }

    async fn hold_replies(&self, _member: &str) -> Result<RepliesHold, JournalError> {
        self.check_alive().await?;
        let index = self.cluster.hold_replies(self.id).ok_or_else(|| {
            JournalError::Unusable(
                format!("all {REPLIES_PARTITIONS} partitions of replies are held; stop an ingress").into(),
            )
        })?;
        let guard = RepliesGuard { cluster: self.cluster.clone(), index };
        Ok(RepliesHold::new(Partition { topic: Topic::Replies, index }, Some(Box::new(guard))))
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        self.check_alive().await?;
        Ok(self.cluster.members())
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        match position.check() {
            Ok(()) => self.queues.push(partition, Work::Commit(group, position)),
            Err(reason) => Ack::refused(partition, reason),
        }
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.check_alive().await?;
        Ok(self.cluster.position(group, partition))
    }

    async fn close(&self) {}
}

impl NewestByKey for SimSession {
    fn newest(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        Ok(self.cluster.newest(partition, key))
    }
}

/// Releases a partition of `replies` when it is dropped.
struct RepliesGuard {
    cluster: Arc<Cluster>,
    index: u32,
}

impl Drop for RepliesGuard {
    fn drop(&mut self) {
        self.cluster.release_replies(self.index);
    }
}
