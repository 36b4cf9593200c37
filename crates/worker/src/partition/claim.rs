//! Claims a partition. The claim is appended and then read back (protocol rule P4); the claims and
//! releases before it decide which older tasks belong to it. A worker that holds the partition is
//! asked first to release it.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::sync::mpsc;
use tracing::info;
use twqr_consumer::{DeadLetters, task_record_mark};
use twqr_journal::{Ack, Entry, Group, Journal, JournalError, Offset, Partition, Reader, Witness, read_whole};
use twqr_order::{HoldRecord, Process};
use twqr_service::{CancellationToken, Context};
use twqr_wire::convert::{TaskRecord, decode_task_record, encode_task_record};

use super::{
    BATCH_RECORDS_MAX, Holder, QUEUED_CALLS_MAX, Stage, in_flight::InFlight, outcomes::Outcomes, sent_tasks::SentTasks,
    transfer_queue::TransferQueue,
};
use crate::{
    call::Call,
    error::Error,
    holding::{Hold, Holding},
    link::{EVENTS_MAX, Event, LinkLimits, keep_connected},
    read_position::ReadPosition,
    settings::Settings,
};

const DEAD_LETTERS: &str = "twqr_worker_dead_letters_total";

/// Represents a claim that retention has deleted: the tasks that it held may have been sent.
const UNKNOWN_HOLDER: Offset = Offset::MAX;

/// How long a new holder waits for its backend before it reads tasks without a connection, in ms.
const CONNECT_WAIT_MS: u64 = 2_000;

/// How long a holder may take to release the partition before it counts as gone, in ms.
const RELEASE_WAIT_MS: u64 = 1_000;

impl Holder {
    /// Claims the partition, and finds out which claims held its older tasks. A holder that may
    /// still run is asked to release it first: otherwise the tasks that it has not read yet would
    /// count as possibly sent. Returns `None` if `unassigned` fired before the claim was appended.
    pub(crate) async fn claim(
        index: u32,
        settings: &Settings,
        journal: Arc<dyn Journal>,
        context: &Context,
        unassigned: &CancellationToken,
    ) -> Result<Option<Self>, Error> {
        let partition = Partition { topic: settings.topic, index };
        let position = journal.position(Group::Workers, partition).await?;
        let (read, holder) = ReadPosition::from_committed(position.as_ref());
        let from = read.position();
        let mut scan = Scan::begin(&*journal, partition, from, read.witness(), holder).await?;
        tokio::select! {
            () = unassigned.cancelled() => return Ok(None),
            prepared = scan.prepare(&*journal, &settings.member) => prepared?,
        }
        // From here on `unassigned` must not stop this: no worker would send the tasks after the
        // claim, and they would fail.
        let nonce: u64 = rand::rng().random();
        let claim = HoldRecord::Claim { owner: settings.member.as_str().into(), nonce, replaces: None };
        append(&*journal, partition, claim).await?;
        let holding = scan.until_claim(nonce).await?;
        info!(%partition, claim = holding.own(), from, "partition claimed");
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let limits = LinkLimits { calls_max: QUEUED_CALLS_MAX, silence: settings.silence() };
        tokio::spawn(keep_connected(settings.backend.clone(), context.clock.clone(), sender, limits));
        let reader = open(&*journal, partition, from, None).await?;
        let calls = first_connection(&mut events).await;
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
            reader,
            events,
            calls,
            in_flight: InFlight::default(),
            queue: TransferQueue::default(),
            sent: SentTasks::default(),
            outcomes: Outcomes::default(),
        }))
    }
}

fn append(journal: &dyn Journal, partition: Partition, hold: HoldRecord) -> Ack {
    journal.append(partition, vec![Entry::plain(encode_task_record(&TaskRecord::Hold(hold)))])
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

/// Reads claims and releases from the committed position on.
struct Scan {
    partition: Partition,
    reader: Box<dyn Reader>,
    /// The claim that held the partition at the committed position.
    holder: Option<Offset>,
    holds: Vec<(Offset, Hold)>,
    /// Whether no record was read yet. The first one may have a higher offset than was asked for:
    /// then retention has deleted records before it, and it is unknown who held the partition.
    is_at_start: bool,
    next: Offset,
}

impl Scan {
    async fn begin(
        journal: &dyn Journal,
        partition: Partition,
        from: Offset,
        witness: Option<Witness>,
        holder: Option<Offset>,
    ) -> Result<Self, JournalError> {
        let reader = open(journal, partition, from, witness).await?;
        Ok(Self { partition, reader, holder, holds: Vec::new(), is_at_start: true, next: from })
    }

    /// Reads the next records, or waits until there are some. Returns the claims among them, each
    /// with its offset and nonce.
    async fn step(&mut self) -> Result<Vec<(Offset, u64)>, JournalError> {
        let mut claims = Vec::new();
        for record in self.reader.next(BATCH_RECORDS_MAX).await? {
            if std::mem::take(&mut self.is_at_start) && record.offset > self.next {
                self.holder = Some(UNKNOWN_HOLDER);
            }
            self.next = record.offset + 1;
            match decode_task_record(record.entry.value.unwrap_or_default()) {
                Ok(TaskRecord::Hold(HoldRecord::Claim { nonce, .. })) => {
                    claims.push((record.offset, nonce));
                    self.holds.push((record.offset, Hold::Claim));
                }
                Ok(TaskRecord::Hold(HoldRecord::Release { claim })) => {
                    self.holds.push((record.offset, Hold::Release { claim }))
                }
                // The holder writes a record that cannot be read to `dead-letters`.
                Ok(TaskRecord::Task(_) | TaskRecord::Hold(_)) | Err(_) => {}
            }
        }
        Ok(claims)
    }

    /// Reads to the end, and asks a holder that may still run to release the partition.
    async fn prepare(&mut self, journal: &dyn Journal, member: &str) -> Result<(), JournalError> {
        self.read_to_end(journal).await?;
        if journal.is_shared() && self.is_held() {
            let intent = HoldRecord::Intent(Process { name: member.into(), nonce: 0 });
            append(journal, self.partition, intent).await?;
            self.until_released().await?;
        }
        Ok(())
    }

    async fn read_to_end(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        let (start, end) = (journal.start(self.partition).await?, journal.end(self.partition).await?);
        while self.next.max(start) < end {
            self.step().await?;
        }
        Ok(())
    }

    /// Whether a known claim holds the partition, so that its worker can be asked.
    fn is_held(&self) -> bool {
        let holding = Holding::new(self.holder, self.holds.clone(), Offset::MAX);
        holding.holder_before(Offset::MAX).is_some_and(|holder| holder != UNKNOWN_HOLDER)
    }

    /// Waits for the release, but not for longer than [`RELEASE_WAIT_MS`]: the holder may be gone.
    async fn until_released(&mut self) -> Result<(), JournalError> {
        let wait = tokio::time::sleep(Duration::from_millis(RELEASE_WAIT_MS));
        tokio::pin!(wait);
        while self.is_held() {
            tokio::select! {
                () = &mut wait => return Ok(()),
                stepped = self.step() => drop(stepped?),
            }
        }
        Ok(())
    }

    /// Reads up to our own claim; returns the claims and releases before it.
    async fn until_claim(mut self, nonce: u64) -> Result<Holding, JournalError> {
        loop {
            let claims = self.step().await?;
            if let Some((own, _)) = claims.into_iter().find(|(_, claimed)| *claimed == nonce) {
                self.holds.retain(|(at, _)| *at < own);
                return Ok(Holding::new(self.holder, self.holds, own));
            }
        }
    }
}
