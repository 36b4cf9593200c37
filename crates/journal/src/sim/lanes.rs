//! What a session has under way: a lane for each partition, in which appends and positions land in
//! the order of the calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    cluster::Shared,
    faults::Fate,
    session::{Status, until_running},
};
use crate::{AckSender, Entry, Group, JournalError, Partition, Position};

pub(super) enum Work {
    Append(Vec<Entry>),
    Commit(Group, Position),
}

type Lane = mpsc::UnboundedSender<(Work, AckSender)>;

#[derive(Default)]
pub(super) struct Lanes(Mutex<BTreeMap<Partition, Lane>>);

impl Lanes {
    pub(super) fn push(
        &self,
        partition: Partition,
        work: Work,
        sender: AckSender,
        (shared, status): (&Arc<Shared>, &watch::Sender<Status>),
    ) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(partition).or_insert_with(|| {
            let (lane, queue) = mpsc::unbounded_channel();
            tokio::spawn(run(partition, queue, shared.clone(), status.subscribe()));
            lane
        });
        drop(lane.send((work, sender)));
    }
}

async fn run(
    partition: Partition,
    mut queue: mpsc::UnboundedReceiver<(Work, AckSender)>,
    shared: Arc<Shared>,
    mut status: watch::Receiver<Status>,
) {
    let failed = |reason: &str| JournalError::AppendUnknown { partition, reason: reason.into() };
    while let Some((work, sender)) = queue.recv().await {
        let (delay_ms, fate) = shared.draw_append();
        let alive = until_running(&mut status).await;
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let crashed = !alive || *status.borrow() == Status::Crashed;
        let fate = match (crashed, shared.draw_survival()) {
            (false, _) => fate,
            (true, true) => Fate::AckLost,
            (true, false) => Fate::Lost,
        };
        match fate {
            Fate::Lands | Fate::AckLost => land(&shared, partition, work),
            Fate::Lost => {}
            Fate::Late { after_ms } => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    land(&shared, partition, work);
                });
            }
        }
        // The process hears of it only while it runs.
        let hears = until_running(&mut status).await;
        match (hears, fate) {
            (true, Fate::Lands) => sender.send(Ok(())),
            (true, Fate::AckLost | Fate::Lost | Fate::Late { .. }) => {
                sender.send(Err(failed("drawn by the simulation")));
            }
            (false, _) => sender.send(Err(failed("the session has crashed"))),
        }
    }
}

fn land(shared: &Shared, partition: Partition, work: Work) {
    match work {
        Work::Append(entries) => shared.land(partition, entries),
        Work::Commit(group, position) => shared.keep_position(group, partition, position),
    }
}
