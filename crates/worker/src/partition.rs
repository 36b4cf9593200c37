//! The holder of one task partition: reads its tasks in order, makes many calls at once, and writes
//! their outcomes to `orders`. A task that moves money is sent only if it belongs to the holder's
//! claim and only at its first reading, or if it is idempotent; every other task leads to an
//! inquiry.

mod claim;
mod in_flight;
mod issuer_calls;
mod outcomes;
mod records;
mod sent_tasks;
mod task_hops;
mod task_spans;
mod token_echo;
mod transfer_queue;
mod transfers;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};
use twqr_consumer::{DeadLetters, Held};
use twqr_journal::{Group, Journal, Partition, Reader};
use twqr_service::Clock;

use crate::{
    call::Call,
    error::Error,
    holding::{HeldBy, Holding},
    link::{EVENTS_MAX, Event},
    metrics::UnfinishedGauge,
    read_position::ReadPosition,
    settings::Settings,
};
use in_flight::InFlight;
use outcomes::Outcomes;
use sent_tasks::SentTasks;
use task_hops::TaskHops;
use token_echo::TokenEcho;
use transfer_queue::TransferQueue;

/// How a holder ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It released the partition.
    Released,
    /// It read the claim of another worker.
    Superseded,
}

/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// Reading pauses while so many tasks of the partition are unfinished.
const UNFINISHED_TASKS_MAX: usize = 8_192;
/// How many transfers may wait for their issuers: so few that a partition whose issuers are all out
/// of reach still reads the tasks of others.
const QUEUED_TRANSFERS_MAX: usize = UNFINISHED_TASKS_MAX / 2;
/// How many calls may wait for the transport: one for each unfinished task. The last batch read may
/// exceed the limit on unfinished tasks.
const QUEUED_CALLS_MAX: usize = UNFINISHED_TASKS_MAX + BATCH_RECORDS_MAX;
/// The shortest time between two commits of the position, in ms. A late commit only costs a few
/// inquiries after a crash.
const COMMIT_SPACING_MS: u64 = 100;

/// The stages of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It reads and sends.
    Working,
    /// Its release is appended: it still sends the tasks before the release.
    Releasing,
    /// It has read its release, or another worker's claim: it reads and sends nothing more, and
    /// waits for the calls in flight.
    Ending(Ended),
}

/// Holds a claimed partition.
pub(crate) struct Holder {
    partition: Partition,
    settings: Settings,
    journal: Arc<dyn Journal>,
    dead_letters: DeadLetters,
    clock: Arc<dyn Clock>,
    holding: Holding,
    read: ReadPosition,
    /// The position that was committed last.
    committed: u64,
    /// When the position may be committed again.
    commit_after: Instant,
    stage: Stage,
    held: Held,
    reader: Box<dyn Reader>,
    events: mpsc::Receiver<Event>,
    /// Absent while there is no connection to the backend.
    calls: Option<mpsc::Sender<Call>>,
    in_flight: InFlight,
    queue: TransferQueue,
    sent: SentTasks,
    hops: TaskHops,
    token_echo: TokenEcho,
    outcomes: Outcomes,
    unfinished: UnfinishedGauge,
}

impl Holder {
    /// Works until the partition is released or superseded, or something fails. After it
    /// was asked to stop it keeps working for `grace`, so that no task waits: within that time the
    /// next worker asks for the partition.
    pub(crate) async fn work(mut self, grace: Duration) -> Result<Ended, Error> {
        let Held { stop, part, stall_watch: watch, .. } = &self.held;
        let (stop, part, watch) = (stop.clone(), part.clone(), watch.clone());
        let (journal, partition) = (self.journal.clone(), self.partition);
        let stalled = watch.until_stalled(&part, || async { journal.end(partition).await.ok() });
        tokio::pin!(stalled);
        let mut events = Vec::new();
        let freed = self.settings.lanes.freed();
        let mut release_at = None;
        loop {
            if let (Stage::Ending(ended), 0) = (self.stage, self.read.unfinished()) {
                return self.end(ended).await;
            }
            // Enabled before the queue is checked, so that a place that is freed during the check
            // is not missed.
            let place_freed = freed.notified();
            tokio::pin!(place_freed);
            place_freed.as_mut().enable();
            if self.stage == Stage::Working && self.clock.is_skewed() {
                warn!(%partition, "the clock is wrong; releasing the partition to another worker");
                self.release();
            }
            self.send_queued();
            self.outcomes.append(&*journal);
            let next_timeout = self.next_timeout();
            let commit_at = self.read.is_commit_due(self.committed).then_some(self.commit_after);
            let reads = !matches!(self.stage, Stage::Ending(_)) && self.read.unfinished() < UNFINISHED_TASKS_MAX;
            watch.set_applied(self.read.next());
            self.unfinished.set(self.read.unfinished());
            watch.set_paused(!reads);
            tokio::select! {
                biased;
                () = stop.cancelled(), if release_at.is_none() => {
                    release_at = Some(Instant::now() + grace);
                    self.held.signs.leave();
                }
                () = self.held.signs.due(), if self.stage == Stage::Working => {
                    if release_at.is_none() {
                        // Charges wait here, but another worker may have the keys.
                        self.held.signs.invite(self.settings.card_keys.cannot_open(self.clock.now()));
                    }
                    // Our claim counts, however far behind it the oldest unfinished task is.
                    let position = self.read.next().max(self.holding.own() + 1);
                    self.held.signs.show(position);
                }
                Some(finished) = self.outcomes.next_acknowledged() => {
                    for offset in finished? {
                        self.read.finish(offset);
                    }
                }
                received = self.events.recv_many(&mut events, EVENTS_MAX) => {
                    if received == 0 {
                        return Err(Error::LinkEnded);
                    }
                    for event in events.drain(..) {
                        self.on_event(event);
                    }
                }
                () = until(release_at), if self.stage == Stage::Working => self.release(),
                () = until(commit_at) => self.commit_if_moved(),
                () = until(next_timeout) => self.on_timeout(),
                stalled = &mut stalled => return Err(stalled.into()),
                () = place_freed, if self.queue.len() > 0 => {}
                records = self.reader.next(BATCH_RECORDS_MAX), if reads => {
                    for record in records? {
                        self.on_record(record)?;
                        if matches!(self.stage, Stage::Ending(_)) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Ends a holder that has finished all of its tasks. After a release it commits the position
    /// right behind the release, where the next holder begins.
    async fn end(&mut self, ended: Ended) -> Result<Ended, Error> {
        if ended == Ended::Released {
            let position = self.read.to_commit(HeldBy { newest: Some(self.holding.own()), holder: None });
            self.journal.commit(Group::Workers, self.partition, position).await?;
            info!(partition = %self.partition, "partition released");
        }
        Ok(ended)
    }

    fn commit_if_moved(&mut self) {
        let position = self.read.position();
        if position > self.committed && self.stage != Stage::Ending(Ended::Superseded) {
            let held = self.holding.before(position);
            let ack = self.journal.commit(Group::Workers, self.partition, self.read.to_commit(held));
            let partition = self.partition;
            tokio::spawn(async move {
                if let Err(error) = ack.await {
                    warn!(%partition, %error, "a position was not committed; after a crash, the next worker inquires about more tasks");
                }
            });
        }
        self.committed = self.committed.max(position);
        self.commit_after = Instant::now() + Duration::from_millis(COMMIT_SPACING_MS);
    }

    /// Appends the release of the partition: tasks before the release still belong to this holder,
    /// tasks after it belong to the next claim.
    fn release(&mut self) {
        self.stage = Stage::Releasing;
        let ack = self.held.signs.release();
        self.outcomes.await_ack(Vec::new(), ack);
    }
}

/// Returns at that time; never, if there is no time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
