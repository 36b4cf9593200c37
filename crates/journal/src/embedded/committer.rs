//! The committer takes all queued work, writes it in one batch, syncs once, and then makes the
//! records readable and acknowledges the calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tracing::error;

use super::{disk::Disk, tail::Tails};
use crate::{AckSender, Entry, Group, JournalError, Offset, Partition, Position, Record, metrics};

/// How many appends and positions may be queued before further ones are refused.
const QUEUED_APPENDS_MAX: usize = 65_536;

/// A call of `append` or `commit` that waits to be written.
pub(super) enum Work {
    Append {
        partition: Partition,
        entries: Vec<Entry>,
        sender: AckSender,
    },
    Commit {
        group: Group,
        partition: Partition,
        position: Position,
        sender: AckSender,
    },
    /// Raises the floor of a partition.
    Trim {
        partition: Partition,
        floor: Offset,
        sender: AckSender,
    },
}

impl Work {
    fn refuse(self, reason: &Arc<str>) {
        let (Self::Append { partition, sender, .. }
        | Self::Commit { partition, sender, .. }
        | Self::Trim { partition, sender, .. }) = self;
        sender.send(Err(JournalError::AppendRefused { partition, reason: reason.clone() }));
    }
}

#[derive(Default)]
pub(super) struct Committer {
    queue: Mutex<AppendQueue>,
    more: Condvar,
    /// When the write in progress began.
    writing_since: Mutex<Option<Instant>>,
    /// The reason why nothing can be written any more.
    failure: OnceLock<Arc<str>>,
}

#[derive(Default)]
struct AppendQueue {
    work: Vec<Work>,
    /// The reason for refusing new work; set when the queue closes.
    closed: Option<Arc<str>>,
}

impl Committer {
    fn lock(&self) -> MutexGuard<'_, AppendQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, work: Work) {
        let mut queue = self.lock();
        let full = || Arc::from(format!("{QUEUED_APPENDS_MAX} appends are queued already; try again later"));
        let refusal = queue.closed.clone().or_else(|| (queue.work.len() >= QUEUED_APPENDS_MAX).then(full));
        if let Some(reason) = refusal {
            drop(queue);
            work.refuse(&reason);
        } else {
            queue.work.push(work);
            let was_empty = queue.work.len() == 1;
            drop(queue);
            // The committer waits only while the queue is empty.
            if was_empty {
                self.more.notify_one();
            }
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed.get_or_insert_with(|| "the journal is closed".into());
        self.more.notify_one();
    }

    /// Waits for work; returns `None` once the queue is closed and empty.
    fn take(&self) -> Option<Vec<Work>> {
        let mut queue = self.lock();
        loop {
            if !queue.work.is_empty() {
                return Some(std::mem::take(&mut queue.work));
            }
            if queue.closed.is_some() {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The reason why nothing can be written any more: a write failed, or one is in progress for
    /// longer than `within`. `None` while the journal works.
    pub(super) fn failure(&self, within: Duration) -> Option<String> {
        if let Some(reason) = self.failure.get() {
            return Some(reason.to_string());
        }
        let since = *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let took = since.map(|since| since.elapsed()).filter(|took| *took > within)?;
        Some(format!("a write has not ended for {} s; check the disk, then restart", took.as_secs()))
    }

    fn set_writing(&self, since: Option<Instant>) {
        *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Runs until the queue is closed. A failed write also closes it: the content of the disk is
    /// then unknown, so no later append may be acknowledged, and what is queued is refused.
    pub(super) fn run(&self, disk: &Disk, tails: &Tails) {
        while let Some(work) = self.take() {
            if let Some(reason) = self.failure.get() {
                for work in work {
                    work.refuse(reason);
                }
                continue;
            }
            let mut group = GroupCommit::default();
            self.set_writing(Some(Instant::now()));
            let written = group.fill(work, disk, tails);
            self.set_writing(None);
            match written {
                Ok(()) => group.finish(disk, tails),
                Err(failure) => {
                    error!(%failure, "the journal cannot write; it refuses every append until the process is restarted");
                    let reason: Arc<str> = format!("writing failed ({failure}); repair the disk, then restart").into();
                    self.lock().closed = Some(reason.clone());
                    self.failure.get_or_init(|| reason.clone());
                    group.fail(&reason);
                }
            }
        }
    }
}

/// One batch that is written with one sync.
#[derive(Default)]
struct GroupCommit {
    records: BTreeMap<Partition, Vec<Record>>,
    floors: BTreeMap<Partition, Offset>,
    senders: Vec<(Partition, AckSender)>,
    /// The offset of the newest entry in this batch, by partition index and key of a compacted
    /// topic.
    newest: BTreeMap<Vec<u8>, Offset>,
}

impl GroupCommit {
    fn fill(&mut self, work: Vec<Work>, disk: &Disk, tails: &Tails) -> fjall::Result<()> {
        let mut batch = disk.batch();
        for work in work {
            match work {
                Work::Append { partition, entries, sender } => {
                    self.senders.push((partition, sender));
                    let records = self.records.entry(partition).or_default();
                    let end = || tails.get(partition).map_or(0, |tail| tail.end());
                    let first: Offset = records.last().map_or_else(end, |record| record.offset + 1);
                    for (offset, entry) in (first..).zip(entries) {
                        disk.put(&mut batch, &mut self.newest, partition, &Record { offset, entry: entry.clone() })?;
                        records.push(Record { offset, entry });
                    }
                }
                Work::Commit { group, partition, position, sender } => {
                    disk.put_position(&mut batch, group, partition, &position);
                    self.senders.push((partition, sender));
                }
                Work::Trim { partition, floor, sender } => {
                    let known = self.floors.entry(partition).or_default();
                    *known = floor.max(*known);
                    disk.put_floor(&mut batch, partition, *known);
                    self.senders.push((partition, sender));
                }
            }
        }
        metrics::committed(self.senders.len());
        disk.write(batch)
    }

    fn finish(self, disk: &Disk, tails: &Tails) {
        for (partition, floor) in self.floors {
            disk.raise_floor(partition, floor);
        }
        for (partition, records) in self.records {
            if let Some(tail) = tails.get(partition) {
                tail.publish(records);
            }
        }
        for (_, sender) in self.senders {
            sender.send(Ok(()));
        }
    }

    fn fail(self, reason: &Arc<str>) {
        for (partition, sender) in self.senders {
            sender.send(Err(JournalError::AppendUnknown { partition, reason: reason.clone() }));
        }
    }
}
