//! Begins to hold a partition that this process has claimed: the claims and releases up to our
//! claim decide which older tasks belong to it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tracing::info;
use twqr_consumer::{DeadLetters, Held, task_record_mark};
use twqr_journal::{Group, Journal, JournalError, Offset, Partition, Reader, Witness, read_whole};
use twqr_order::HoldRecord;
use twqr_service::{Context, Stalled};
use twqr_wire::convert::HeldTopic;

use super::{
    BATCH_RECORDS_MAX, Holder, QUEUED_CALLS_MAX, Stage, in_flight::InFlight, outcomes::Outcomes, sent_tasks::SentTasks,
    task_hops::TaskHops, token_echo::TokenEcho, transfer_queue::TransferQueue,
};
use crate::{
    call::Call,
    error::Error,
    holding::{HeldBy, Hold, Holding},
    link::{EVENTS_MAX, Event, LinkLimits, keep_connected},
    metrics::{ConnectionMetrics, DEAD_LETTERS, UnfinishedGauge},
    read_position::ReadPosition,
    settings::Settings,
};

/// How long a new holder waits for its backend before it reads tasks without a connection, in ms.
const CONNECT_WAIT_MS: u64 = 2_000;

/// How long to wait for records that are known to exist. After that the partition is claimed again.
const SCAN_WAIT: Duration = Duration::from_secs(20);

impl Holder {
    /// Compares the log with the committed position, before this worker may claim the partition.
    pub(crate) async fn check_log(journal: Arc<dyn Journal>, partition: Partition) -> Result<(), JournalError> {
        let position = journal.position(Group::Workers, partition).await?;
        let (read, _) = ReadPosition::from_committed(position.as_ref());
        open(&*journal, partition, read.position(), read.witness()).await.map(drop)
    }

    /// Finds out which claims held the older tasks of the partition. Returns `None` if our claim
    /// does not count.
    pub(crate) async fn begin(
        mut held: Held,
        settings: &Settings,
        journal: Arc<dyn Journal>,
        context: &Context,
    ) -> Result<Option<Self>, Error> {
        let (partition, claim) = (held.partition, held.claim);
        let signs = &mut held.signs;
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let limits = LinkLimits { calls_max: QUEUED_CALLS_MAX, silence: settings.silence() };
        let connections = ConnectionMetrics::of(partition.topic);
        tokio::spawn(keep_connected(settings.backend.clone(), context.clock.clone(), sender, limits, connections));
        let reading = async {
            let position = journal.position(Group::Workers, partition).await?;
            let (read, start) = ReadPosition::from_committed(position.as_ref());
            let from = read.position();
            let mut scan = Scan { holds: Vec::new(), start, next: from };
            let mut reader = open(&*journal, partition, from, read.witness()).await?;
            scan.read_to_claim(&mut *reader, claim).await?;
            drop(reader);
            let holding = Holding::new(scan.start, scan.holds, claim);
            let reader = open(&*journal, partition, from, None).await?;
            Ok::<_, Error>((read, holding, reader))
        };
        let (read, holding, reader) = signs.during(claim, reading).await?;
        if !holding.own_counts() {
            info!(%partition, claim, "our claim does not count");
            return Ok(None);
        }
        let from = read.position();
        info!(%partition, claim, from, "partition claimed");
        let calls = signs.during(claim, first_connection(&mut events)).await;
        Ok(Some(Self {
            partition,
            settings: settings.clone(),
            dead_letters: DeadLetters::new(journal.clone(), context, DEAD_LETTERS),
            journal,
            clock: context.clock.clone(),
            holding,
            read,
            committed: from,
            commit_after: tokio::time::Instant::now(),
            stage: Stage::Working,
            held,
            reader,
            events,
            calls,
            in_flight: InFlight::default(),
            queue: TransferQueue::default(),
            sent: SentTasks::default(),
            hops: TaskHops::default(),
            token_echo: TokenEcho::default(),
            outcomes: Outcomes::default(),
            unfinished: UnfinishedGauge::of(partition),
        }))
    }
}

async fn first_connection(events: &mut mpsc::Receiver<Event>) -> Option<mpsc::Sender<Call>> {
    match tokio::time::timeout(Duration::from_millis(CONNECT_WAIT_MS), events.recv()).await {
        Ok(Some(Event::Connected(calls))) => Some(calls),
        Ok(_) | Err(_) => None,
    }
}

/// Opens a reader at a committed position, and refuses a log that is not whole. Without a position
/// it begins with the oldest record: the tasks that retention has deleted may have been sent, so
/// they are never sent, and their orders are inquired about when they are due.
async fn open(
    journal: &dyn Journal,
    partition: Partition,
    from: Offset,
    witness: Option<Witness>,
) -> Result<Box<dyn Reader>, JournalError> {
    let next = if from == 0 { journal.start(partition).await? } else { from };
    read_whole(journal, partition, next, witness, task_record_mark).await
}

/// Reads claims and releases from the committed position up to our claim.
struct Scan {
    /// The holder of the partition at the committed position.
    start: HeldBy,
    holds: Vec<(Offset, Hold)>,
    next: Offset,
}

impl Scan {
    async fn read_to_claim(&mut self, reader: &mut dyn Reader, claim: Offset) -> Result<(), Error> {
        let mut is_at_start = true;
        while self.next <= claim {
            let read = tokio::time::timeout(SCAN_WAIT, reader.next(BATCH_RECORDS_MAX)).await;
            for record in read.map_err(|_| Stalled { next: self.next })?? {
                // The first record may have a higher offset than was asked for: then retention has
                // deleted records before it, and it is unknown who held the partition.
                if std::mem::take(&mut is_at_start) && record.offset > self.next {
                    self.start = HeldBy::UNKNOWN;
                }
                self.next = record.offset + 1;
                let hold = record.entry.value.as_ref().and_then(|value| HeldTopic::Tasks.decode_hold(value));
                match hold {
                    Some(HoldRecord::Claim { replaces, .. }) => {
                        self.holds.push((record.offset, Hold::Claim { replaces }));
                    }
                    Some(HoldRecord::Release { claim }) => self.holds.push((record.offset, Hold::Release { claim })),
                    Some(HoldRecord::Intent(_) | HoldRecord::Alive(_) | HoldRecord::Doubt(_)) | None => {}
                }
            }
        }
        Ok(())
    }
}
