//! The work that a session has in progress: one queue for each partition, whose appends and
//! positions take effect in the order of the calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use twqr_journal::{Ack, AckSender, Entry, Group, JournalError, LogTime, Partition, Position};

use crate::{
    cluster::Cluster,
    faults::Fate,
    status::{Status, until_running},
};

pub(crate) enum Work {
    Append(Vec<Entry>),
    Commit(Group, Position),
}

// Unbounded: like the client of a real broker, a session accepts appends while it is paused. The
// system under test limits how many are in flight.
type Queue = mpsc::UnboundedSender<(Work, AckSender)>;

/// The queues of one session.
pub(crate) struct AppendQueues {
    cluster: Arc<Cluster>,
    status: watch::Receiver<Status>,
    queues: Mutex<BTreeMap<Partition, Queue>>,
}

impl AppendQueues {
    pub(crate) fn new(cluster: Arc<Cluster>, status: watch::Receiver<Status>) -> Self {
        Self { cluster, status, queues: Mutex::default() }
    }

    pub(crate) fn push(&self, partition: Partition, work: Work) -> Ack {
        let (sender, ack) = Ack::pending(partition);
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(partition).or_insert_with(|| {
            let (queue, receiver) = mpsc::unbounded_channel();
            tokio::spawn(run(partition, receiver, self.cluster.clone(), self.status.clone()));
            queue
        });
        drop(queue.send((work, sender)));
        ack
    }
}

async fn run(
    partition: Partition,
    mut queue: mpsc::UnboundedReceiver<(Work, AckSender)>,
    cluster: Arc<Cluster>,
    mut status: watch::Receiver<Status>,
) {
    let failed = |reason: &str| JournalError::AppendUnknown { partition, reason: reason.into() };
    while let Some((work, sender)) = queue.recv().await {
        let (delay_ms, fate) = cluster.draw_append();
        let fate =
            if cluster.is_failing(partition.topic) && matches!(work, Work::Append(_)) { Fate::Lost } else { fate };
        let alive = until_running(&mut status).await;
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let crashed = !alive || *status.borrow() == Status::Crashed;
        let fate = match (crashed, cluster.draw_survival()) {
            (false, _) => fate,
            (true, true) => Fate::AckLost,
            (true, false) => Fate::Lost,
        };
        let log_time = match fate {
            Fate::Acknowledged | Fate::AckLost => land(&cluster, partition, work),
            Fate::Lost => None,
            Fate::Late { after_ms } => {
                let cluster = cluster.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    land(&cluster, partition, work);
                });
                None
            }
        };
        // A paused process receives the result only after it is resumed.
        let receives = until_running(&mut status).await;
        match (receives, fate) {
            (true, Fate::Acknowledged) => sender.send_with_time(Ok(log_time)),
            (true, Fate::AckLost | Fate::Lost | Fate::Late { .. }) => {
                sender.send(Err(failed("a fault that the simulation has drawn")));
            }
            (false, _) => sender.send(Err(failed("the session has crashed"))),
        }
    }
}

fn land(cluster: &Cluster, partition: Partition, work: Work) -> Option<LogTime> {
    match work {
        Work::Append(entries) => cluster.land(partition, entries),
        Work::Commit(group, position) => {
            cluster.store_position(group, partition, position);
            None
        }
    }
}
