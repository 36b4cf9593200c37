//! The owner of one shard: claims it, restores it, and applies its records. It ends when it reads a
//! newer claim (protocol rule P4), and after any failed append. The effects in flight may still
//! reach the log then, and the next owner emits them again under the same identities (protocol rule
//! P3).

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{StreamExt, future::OptionFuture, stream::FuturesOrdered};
use rand::Rng;
use tracing::info;
use twqr_consumer::{DeadLetters, order_record_mark};
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Topic, check_end, read_whole};
use twqr_order::{Command, HoldRecord, POLICY_SHARD, PolicyChange, Record};
use twqr_service::{CancellationToken, Clock, Part, StallWatch};
use twqr_types::ShardId;
use twqr_wire::convert::encode_record;

use crate::{
    Error, Links, Settings,
    batch::{Batch, DecodedRecord},
    checkpoint::{Checkpoint, Written},
    metrics,
    reply_appends::ReplyAppends,
    restore::restore,
    shard::Shard,
    states_end::StatesEnd,
    store::{ShardStore, StoreMark},
};

/// How an owner ended without a failure.
pub(crate) enum Ended {
    /// Its `stop` fired.
    Stopped,
    /// It read the claim of another router at the offset `newer`; its own claim is at `epoch`.
    Superseded { epoch: u64, newer: u64 },
    /// The checkpoint is newer than our claim: another router took over during the restore. Both
    /// claims are below the position `applied`.
    Overtaken { applied: u64 },
}

/// The maximum number of records in a batch.
const BATCH_RECORDS_MAX: usize = 1024;
/// Reading pauses while so many batches wait until their effects are acknowledged.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

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
    /// A random number in our claim, by which the owner recognises it.
    nonce: u64,
}

type Acked = Pin<Box<dyn Future<Output = Result<u64, JournalError>> + Send>>;
type CheckpointWrite = Pin<Box<dyn Future<Output = Result<Written, Error>> + Send>>;

/// The restored shard, and what is in progress on it.
struct OwnedShard {
    shard: Shard,
    reader: Box<dyn Reader>,
    /// The offset of our claim, once it was read.
    epoch: Option<u64>,
    /// Our claim is below this position.
    claimed_below: u64,
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
}

impl OwnedShard {
    /// Notes that a checkpoint is in `order-states` and in the local store.
    fn finish_checkpoint(&mut self, written: Written) {
        self.mark = written.mark;
        self.shard.settle(&written.keys);
        self.shard.superseded.extend(written.superseded);
        if let Some(epoch) = self.epoch {
            self.shard.superseded.add_marker(epoch);
        }
        self.states_end.set_outdated();
    }

    /// Returns how the owner ends if the restored position is past our claim. It would never read
    /// its claim then, and so never write a checkpoint.
    fn overtaken(&self) -> Option<Ended> {
        let passed = self.epoch.is_none() && self.shard.next >= self.claimed_below;
        passed.then_some(Ended::Overtaken { applied: self.shard.next })
    }
}

impl<'a> Owner<'a> {
    pub(crate) fn new(shard: ShardId, settings: &'a Settings, links: Links, part: Part, watch: StallWatch) -> Self {
        let Links { journal, context, replies, owned: _ } = links;
        let dead_letters = DeadLetters::new(journal.clone(), &context, metrics::DEAD_LETTERS);
        let store = ShardStore::new(shard.0, settings.store.clone());
        let (clock, nonce) = (context.clock, rand::rng().random());
        Self { shard, settings, journal, clock, part, watch, store, dead_letters, replies, nonce }
    }

    /// Claims the shard and applies its records until `stop` fires, another router claims it, or
    /// something fails.
    pub(crate) async fn own(self, stop: &CancellationToken) -> Result<Ended, Error> {
        let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard.0) };
        // A claim in another log would be the first step of making it ours.
        check_end(&*self.journal, orders, self.store.mark().await?.position).await?;
        let owner = self.settings.member.as_str().into();
        let claim = HoldRecord::Claim { owner, nonce: self.nonce, replaces: None };
        self.append_record(orders, Command::Hold(claim)).await?;
        let claimed_below = self.journal.end(orders).await?;
        let (shard, mark) = restore(self.shard, &*self.journal, self.store.clone()).await?;
        info!(shard = self.shard.0, from = shard.next, "shard restored, applying");
        let reader = read_whole(&*self.journal, orders, shard.next, shard.witness, order_record_mark).await?;
        let owned = OwnedShard {
            acked: shard.next,
            states_end: StatesEnd::new(self.shard, self.journal.clone(), shard.first_unreadable),
            shard,
            reader,
            epoch: None,
            claimed_below,
            acks: FuturesOrdered::new(),
            pending_checkpoint: None,
            checkpoint_write: None,
            mark,
        };
        if let Some(ended) = owned.overtaken() {
            return Ok(ended);
        }
        self.watch.set_applied(owned.shard.next);
        self.run(owned, orders, stop).await
    }

    async fn run(&self, mut owned: OwnedShard, orders: Partition, stop: &CancellationToken) -> Result<Ended, Error> {
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
                () = stop.cancelled() => return Ok(Ended::Stopped),
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
                    tick.as_mut().reset(tokio::time::Instant::now() + interval);
                }
                records = owned.reader.next(BATCH_RECORDS_MAX), if owned.acks.len() < BATCHES_IN_FLIGHT_MAX => {
                    let records: Vec<_> = records?.into_iter().map(DecodedRecord::decode).collect();
                    // This may wait for the disk.
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                        loaded = owned.shard.load_targets(records.iter().filter_map(DecodedRecord::readable)) => loaded?,
                        stalled = &mut stalled => return Err(stalled.into()),
                    }
                    if let Some(ended) = self.apply(&mut owned, records)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Applies a batch and emits its effects; returns how the owner ends if a newer claim was among
    /// the records.
    fn apply(&self, owned: &mut OwnedShard, records: Vec<DecodedRecord>) -> Result<Option<Ended>, Error> {
        let mut batch = Batch::new(&self.dead_letters);
        let mut ended = None;
        for record in records {
            batch.apply(&mut owned.shard, record)?;
            if let Some((offset, HoldRecord::Claim { nonce, .. })) = batch.hold.take() {
                match owned.epoch {
                    None if nonce == self.nonce => self.begin_epoch(owned, offset),
                    Some(epoch) if nonce != self.nonce => {
                        ended = Some(Ended::Superseded { epoch, newer: offset });
                        break;
                    }
                    None | Some(_) => {}
                }
            }
        }
        owned.shard.end_batch();
        if owned.epoch.is_some() && owned.shard.versions.newest().is_some() {
            self.part.ready();
        }
        let acks = batch.emit(self.shard, &*self.journal, &self.replies);
        let position = owned.shard.next;
        self.watch.set_applied(position);
        owned.acks.push_back(Box::pin(async move {
            for ack in acks {
                ack.await?;
            }
            Ok(position)
        }));
        Ok(ended.or_else(|| owned.overtaken()))
    }

    /// Notes that our claim was read: from here on the shard is ours. If this is the policy's shard
    /// and there has never been a policy, it appends the configured one as version 1. Applying that
    /// record forwards it to all other shards.
    fn begin_epoch(&self, owned: &mut OwnedShard, epoch: u64) {
        info!(shard = self.shard.0, epoch, "shard claimed");
        owned.epoch = Some(epoch);
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
        let record = encode_record(&Record { at: self.clock.now(), signed_by: None, command });
        self.journal.append(orders, vec![Entry::plain(record)])
    }

    /// Takes a checkpoint if one is due, no other one is in progress, and our claim was read.
    fn begin_checkpoint(&self, owned: &mut OwnedShard) {
        let is_idle = owned.pending_checkpoint.is_none() && owned.checkpoint_write.is_none();
        let (true, Some(epoch)) = (is_idle, owned.epoch) else { return };
        owned.states_end.ask_if_due();
        if Checkpoint::is_due(&owned.shard, &owned.mark) {
            let mut checkpoint = Checkpoint::take(&mut owned.shard, epoch);
            // Our marker is past our claim.
            if owned.mark.position > epoch {
                checkpoint.delete(owned.shard.superseded.take_deletions());
            }
            owned.pending_checkpoint = Some(checkpoint);
            self.write_when_acked(owned);
        } else if owned.mark.position > epoch {
            let mark = owned.states_end.advance(owned.mark, owned.mark.position);
            if mark != owned.mark {
                let store = self.store.clone();
                let write = async move {
                    let superseded = store.put(Vec::new(), mark).await?;
                    Ok(Written { keys: Vec::new(), superseded, mark })
                };
                owned.checkpoint_write = Some(Box::pin(write));
            }
        }
    }

    fn write_when_acked(&self, owned: &mut OwnedShard) {
        let acked = owned.acked;
        if let Some(checkpoint) = owned.pending_checkpoint.take_if(|checkpoint| checkpoint.position <= acked) {
            let mark = owned.states_end.advance(owned.mark, checkpoint.position);
            let write = checkpoint.write(self.journal.clone(), self.store.clone(), mark);
            owned.checkpoint_write = Some(Box::pin(write));
        }
    }
}
