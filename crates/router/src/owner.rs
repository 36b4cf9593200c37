//! The owner of one claimed shard: restores it, and applies its records. The owner ends when it
//! reads that its claim does not count or that a newer one counts (protocol rule P4), and after any
//! failed append. Its effects in flight may still reach the log afterwards; the next owner emits
//! them again under the same identities (protocol rule P3).

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{StreamExt, future::OptionFuture, stream::FuturesOrdered};
use tokio::time::Instant;
use tracing::info;
use twqr_consumer::{DeadLetters, Held, Signs, order_record_mark};
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Topic, read_whole};
use twqr_order::{Command, HoldRecord, POLICY_SHARD, PolicyChange, Record};
use twqr_service::{CancellationToken, Clock, Part, StallWatch};
use twqr_types::ShardId;
use twqr_wire::convert::encode_record;

use crate::{
    Error, Links, Settings,
    batch::{Batch, DecodedRecord},
    checkpoint::{Checkpoint, Written},
    early_records::EarlyRecords,
    metrics::{self, OwnedGauges},
    newest_claim::NewestClaim,
    outgoing::Reading,
    reply_appends::ReplyAppends,
    restore::{Beginning, restore},
    shard::Shard,
    states_end::StatesEnd,
    store::{ShardStore, StoreMark},
};

/// How an owner ended without a failure.
pub(crate) enum Ended {
    /// It was asked to stop, or has released the shard.
    Stopped,
    /// It read the claim of another router at the offset `newer`; its own claim is at `epoch`.
    Superseded { epoch: u64, newer: u64 },
    /// Our claim does not count. The newest claim before it that counts is at `newest`, if that is
    /// known.
    Void { newest: Option<u64> },
    /// The checkpoint is newer than our claim: another router took over during the restore. Both
    /// claims are below the position `applied`.
    Overtaken { applied: u64 },
}

/// The maximum number of records in a batch.
const BATCH_RECORDS_MAX: usize = 1024;
/// Reading pauses while so many batches wait until their effects are acknowledged.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// How long an owner that was asked to stop keeps working until another router asks for the shard,
/// in ms. Two owners at once are harmless: their effects have the same identities (protocol rule
/// P3).
const GRACE_MS: u64 = 3_000;
/// How long an owner that has released the shard keeps working until another router claims it, in
/// ms.
const RELEASED_MS: u64 = 1_000;

/// Owns one shard until it ends; a new claim needs a new owner.
pub(crate) struct Owner<'a> {
    shard: ShardId,
    settings: &'a Settings,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    part: Part,
    watch: StallWatch,
    store: ShardStore,
    dead_letters: DeadLetters,
    replies: Arc<ReplyAppends>,
    /// The offset of our claim.
    claim: u64,
    stop: CancellationToken,
}

type Acked = Pin<Box<dyn Future<Output = Result<u64, JournalError>> + Send>>;
type CheckpointWrite = Pin<Box<dyn Future<Output = Result<Written, Error>> + Send>>;

/// The restored shard, and what is in progress on it.
struct OwnedShard {
    shard: Shard,
    reader: Box<dyn Reader>,
    /// The offset of our claim, once it was read and counts.
    epoch: Option<u64>,
    newest_claim: NewestClaim,
    signs: Signs,
    /// Every record from this position on is only a sign of life.
    worked_to: u64,
    /// When the owner ends, since it was asked to stop or has released the shard.
    end_at: Option<Instant>,
    /// The batches whose effects are not acknowledged yet. Each returns the position after it, once
    /// they are.
    acks: FuturesOrdered<Acked>,
    /// Every effect below this position is acknowledged.
    acked: u64,
    /// A checkpoint that waits for the effects before it to be acknowledged.
    pending_checkpoint: Option<Checkpoint>,
    /// A checkpoint that is being written.
    checkpoint_write: Option<CheckpointWrite>,
    mark: StoreMark,
    states_end: StatesEnd,
    early_records: EarlyRecords,
    gauges: OwnedGauges,
}

impl OwnedShard {
    /// Notes that a checkpoint is in `order-states` and in the local store.
    fn finish_checkpoint(&mut self, written: Written) {
        self.mark = written.mark;
        self.shard.replay_starts = [self.mark.position; 2];
        self.shard.settle(&written.keys);
        self.shard.directory.settle(&written.listings);
        self.shard.superseded.extend(written.superseded);
        if let Some(epoch) = self.epoch {
            self.shard.superseded.add_marker(epoch);
        }
        self.states_end.set_outdated();
        self.gauges.checkpoint_written();
    }

    /// Returns how the owner ends if the restored position is past our claim. It would never read
    /// its claim then, and so never write a checkpoint.
    fn overtaken(&self, claim: u64) -> Option<Ended> {
        let passed = self.epoch.is_none() && self.shard.next > claim;
        passed.then_some(Ended::Overtaken { applied: self.shard.next })
    }
}

impl<'a> Owner<'a> {
    pub(crate) fn new(shard: ShardId, settings: &'a Settings, links: Links, held: &Held) -> Self {
        let Links { journal, context, replies, .. } = links;
        let dead_letters = DeadLetters::new(journal.clone(), &context, metrics::DEAD_LETTERS);
        let store = ShardStore::new(shard.0, settings.store.clone());
        let (clock, part, watch) = (context.clock, held.part.clone(), held.stall_watch.clone());
        let (claim, stop) = (held.claim, held.stop.clone());
        Self { shard, settings, journal, clock, part, watch, store, dead_letters, replies, claim, stop }
    }

    /// Restores the shard and applies its records until the owner was asked to stop, another router
    /// claims the shard, or something fails.
    pub(crate) async fn own(self, held: Held) -> Result<Ended, Error> {
        let Held { partition: orders, mut signs, .. } = held;
        let claimed = Instant::now();
        let beginning = Beginning { epoch: self.claim, number: signs.process_nonce() };
        let restoring = restore(self.shard, &*self.journal, self.store.clone(), Some(beginning));
        let (shard, mark) = signs.during(self.claim, restoring).await?;
        note_protocol(&mut signs, &shard);
        info!(shard = self.shard.0, from = shard.next, "shard restored, applying");
        metrics::restored(claimed);
        self.store.learn_keys(self.stop.clone());
        let reader = read_whole(&*self.journal, orders, shard.next, shard.witness, order_record_mark).await?;
        let owned = OwnedShard {
            acked: shard.next,
            states_end: StatesEnd::new(self.shard, self.journal.clone(), shard.first_unreadable),
            early_records: EarlyRecords::new(self.shard, self.clock.clone()),
            gauges: OwnedGauges::of(self.shard),
            shard,
            reader,
            epoch: None,
            newest_claim: NewestClaim::at_marker(&mark),
            signs,
            worked_to: 0,
            end_at: None,
            acks: FuturesOrdered::new(),
            pending_checkpoint: None,
            checkpoint_write: None,
            mark,
        };
        if let Some(ended) = owned.overtaken(self.claim) {
            return Ok(ended);
        }
        self.watch.set_applied(owned.shard.next);
        self.run(owned, orders).await
    }

    async fn run(&self, mut owned: OwnedShard, orders: Partition) -> Result<Ended, Error> {
        let end = || async { self.journal.end(orders).await.ok() };
        let stalled = self.watch.until_stalled(&self.part, end);
        tokio::pin!(stalled);
        let interval = Duration::from_millis(self.settings.checkpoint_interval_ms);
        let mut tick = Box::pin(tokio::time::sleep(interval));
        loop {
            let checkpoint_write: OptionFuture<_> = owned.checkpoint_write.as_mut().into();
            self.watch.set_paused(owned.acks.len() >= BATCHES_IN_FLIGHT_MAX);
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if owned.end_at.is_none() => {
                    let grace_ms = if self.journal.is_shared() { GRACE_MS } else { 0 };
                    owned.end_at = Some(Instant::now() + Duration::from_millis(grace_ms));
                    owned.signs.leave();
                }
                () = until(owned.end_at) => return Ok(give_up(&mut owned)),
                () = owned.signs.due() => owned.signs.show(owned.shard.next),
                Some(acked) = owned.acks.next(), if !owned.acks.is_empty() => {
                    owned.acked = owned.acked.max(acked?);
                    self.write_when_acked(&mut owned);
                }
                Some(written) = checkpoint_write => {
                    owned.checkpoint_write = None;
                    owned.finish_checkpoint(written?);
                }
                () = owned.states_end.answered() => {}
                stalled = &mut stalled => return Err(stalled.into()),
                () = &mut tick => {
                    self.begin_checkpoint(&mut owned);
                    tick.as_mut().reset(Instant::now() + interval);
                }
                records = owned.reader.next(BATCH_RECORDS_MAX), if owned.acks.len() < BATCHES_IN_FLIGHT_MAX => {
                    let reading = Reading::now(&*self.clock);
                    let records: Vec<_> = records?.into_iter().map(DecodedRecord::decode).collect();
                    // This may wait for the disk.
                    tokio::select! {
                        biased;
                        () = until(owned.end_at) => return Ok(give_up(&mut owned)),
                        loaded = owned.shard.load_targets(records.iter().filter_map(DecodedRecord::readable)) => loaded?,
                        stalled = &mut stalled => return Err(stalled.into()),
                    }
                    if let Some(ended) = self.apply(&mut owned, records, reading)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Applies a batch and emits its effects; returns how the owner ends if the records show that
    /// the shard is not ours.
    fn apply(
        &self,
        owned: &mut OwnedShard,
        records: Vec<DecodedRecord>,
        reading: Reading<'_>,
    ) -> Result<Option<Ended>, Error> {
        owned.early_records.note(&records);
        let count = records.len();
        let mut batch = Batch::new(&self.dead_letters, reading);
        let mut ended = None;
        for record in records {
            batch.apply(&mut owned.shard, record)?;
            if let Some((offset, hold)) = batch.hold.take() {
                ended = self.take_hold(owned, offset, &hold);
                if ended.is_some() {
                    break;
                }
            } else {
                owned.worked_to = owned.shard.next;
            }
        }
        note_protocol(&mut owned.signs, &owned.shard);
        owned.shard.end_batch();
        if owned.epoch.is_some() && owned.shard.versions.newest().is_some() {
            self.part.ready();
        }
        let acks = batch.emit(self.shard, &*self.journal, &self.replies);
        let position = owned.shard.next;
        let read_at = reading.at();
        self.watch.set_applied(position);
        owned.acks.push_back(Box::pin(async move {
            for ack in acks {
                ack.await?;
            }
            metrics::batch_acknowledged(count, read_at);
            Ok(position)
        }));
        Ok(ended.or_else(|| owned.overtaken(self.claim)))
    }

    /// Takes a record about who holds the shard; returns how the owner ends if the shard is not
    /// ours.
    fn take_hold(&self, owned: &mut OwnedShard, offset: u64, hold: &HoldRecord) -> Option<Ended> {
        if let HoldRecord::Claim { replaces, .. } = hold {
            return self.take_claim(owned, offset, *replaces);
        }
        owned.epoch?;
        match hold {
            HoldRecord::Intent(by) if owned.signs.is_other(by) && !owned.signs.is_released() => {
                info!(shard = self.shard.0, by = %by.name, "another router asks for the shard");
                // The release is no effect: if it is lost, the other router asks again.
                drop(owned.signs.release());
                owned.end_at = Some(Instant::now() + Duration::from_millis(RELEASED_MS));
            }
            HoldRecord::Doubt(by) if owned.signs.is_other(by) => owned.signs.answer_doubt(),
            HoldRecord::Claim { .. }
            | HoldRecord::Release { .. }
            | HoldRecord::Intent(_)
            // A router that shows life by a newer claim has not read yet that it does not count.
            | HoldRecord::Alive(_)
            | HoldRecord::Doubt(_) => {}
        }
        None
    }

    /// Takes a claim. One that does not count changes nothing, unless it is ours.
    fn take_claim(&self, owned: &mut OwnedShard, offset: u64, replaces: Option<u64>) -> Option<Ended> {
        let counts = owned.newest_claim.take(offset, replaces);
        match owned.epoch {
            Some(epoch) if counts => return Some(Ended::Superseded { epoch, newer: offset }),
            None if offset == self.claim && counts => self.begin_epoch(owned, offset),
            None if offset == self.claim => return Some(Ended::Void { newest: owned.newest_claim.offset() }),
            // Its author may write a beginning before it learns that the claim does not count.
            Some(_) => owned.states_end.freeze(),
            None => {}
        }
        None
    }

    /// Notes that our claim was read and counts: from here on the shard is ours. If this is the
    /// policy's shard and there has never been a policy, it appends the configured one as version
    /// 1. Applying that record forwards it to all other shards.
    fn begin_epoch(&self, owned: &mut OwnedShard, epoch: u64) {
        info!(shard = self.shard.0, epoch, "shard claimed");
        owned.gauges.begin();
        owned.epoch = Some(epoch);
        // The marker must pass our claim.
        owned.worked_to = epoch + 1;
        if self.shard == POLICY_SHARD && owned.shard.versions.newest().is_none() {
            let change = PolicyChange {
                version: 1,
                policy: self.settings.policy.clone(),
                who: self.settings.member.as_str().into(),
                why: "the first policy, from the configuration".into(),
                at: self.clock.now(),
            };
            let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard.0) };
            let ack = self.append_record(orders, Command::Policy(Box::new(change)));
            let position = owned.acked;
            owned.acks.push_back(Box::pin(async move { ack.await.map(|()| position) }));
        }
    }

    fn append_record(&self, orders: Partition, command: Command) -> twqr_journal::Ack {
        let record = encode_record(&Record { at: self.clock.now(), signed_by: None, nonce: None, command });
        self.journal.append(orders, vec![Entry::plain(record)])
    }

    /// Takes a checkpoint if one is due, no other one is in progress, and our claim was read.
    fn begin_checkpoint(&self, owned: &mut OwnedShard) {
        let is_idle = owned.pending_checkpoint.is_none() && owned.checkpoint_write.is_none();
        let is_due = Checkpoint::is_due(&owned.shard, &owned.mark, owned.worked_to);
        owned.gauges.tick(!is_idle || is_due);
        let (true, Some(epoch)) = (is_idle, owned.epoch) else { return };
        owned.states_end.ask_if_due(owned.mark.position);
        if is_due {
            let mut checkpoint = Checkpoint::take(&mut owned.shard, epoch, &owned.mark);
            // Our marker is past our claim.
            if owned.mark.position > epoch {
                checkpoint.delete(owned.shard.superseded.take_deletions());
            }
            owned.pending_checkpoint = Some(checkpoint);
            self.write_when_acked(owned);
        } else if owned.mark.position > epoch {
            let mark = owned.states_end.after_marker(owned.mark);
            if mark != owned.mark {
                let store = self.store.clone();
                let write = async move {
                    let superseded = store.put(Vec::new(), mark).await?;
                    Ok(Written { keys: Vec::new(), listings: Vec::new(), superseded, mark })
                };
                owned.checkpoint_write = Some(Box::pin(write));
            }
        }
    }

    fn write_when_acked(&self, owned: &mut OwnedShard) {
        let acked = owned.acked;
        if let Some(checkpoint) = owned.pending_checkpoint.take_if(|checkpoint| checkpoint.position <= acked) {
            let mark = owned.states_end.before_marker(owned.mark, checkpoint.position);
            let write = checkpoint.write(self.journal.clone(), self.store.clone(), mark);
            owned.checkpoint_write = Some(Box::pin(write));
        }
    }
}

/// Signs of life are shown from the protocol version on that knows them.
fn note_protocol(signs: &mut Signs, shard: &Shard) {
    signs.note_protocol(shard.versions.newest().map_or(0, |newest| newest.policy.protocol_version));
}

/// Ends an owner whose time is over. Other routers may claim the shard at once then.
fn give_up(owned: &mut OwnedShard) -> Ended {
    if owned.signs.is_on() && owned.epoch.is_some() && !owned.signs.is_released() {
        drop(owned.signs.release());
    }
    Ended::Stopped
}

/// Returns at that time; never, if there is no time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
