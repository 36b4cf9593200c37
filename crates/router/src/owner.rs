//! The owner of one shard: claims it, restores it, applies it. It stops for good when it reads a
//! newer claim, and after any failed append: what was in flight may still land, and whoever claims
//! next meets it again under the same identities.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{StreamExt, future::OptionFuture, stream::FuturesOrdered};
use rand::Rng;
use tracing::info;
use twqr_consumer::DeadLetters;
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Topic};
use twqr_order::{Command, POLICY_SHARD, PolicyChange, Record};
use twqr_service::{CancellationToken, Clock, Part, StallWatch};
use twqr_types::{OrderKey, ShardId};
use twqr_wire::convert::encode_record;

use crate::{
    Error, Settings, batch::Batch, checkpoint::Checkpoint, metrics, restore::restore, shard::Shard, store::StoreMark,
};

/// How an ownership ended without a failure.
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another router's claim was read.
    Superseded { epoch: u64, newer: u64 },
    /// What was restored is past the own claim: another router claimed the shard before it was
    /// restored, and both claims stand below this.
    Overtaken { applied: u64 },
}

/// How many records are applied at once.
const BATCH_RECORDS_MAX: usize = 1024;
/// How many batches may wait for the acknowledgement of their effects before reading pauses.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

pub(crate) struct Owner<'a> {
    shard: ShardId,
    settings: &'a Settings,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    part: Part,
    watch: StallWatch,
    dead_letters: DeadLetters,
    nonce: u64,
}

type Acked = Pin<Box<dyn Future<Output = Result<u64, JournalError>> + Send>>;
type Writing = Pin<Box<dyn Future<Output = Result<(Vec<OrderKey>, StoreMark), Error>> + Send>>;

/// What the owner has under way.
struct Flight {
    shard: Shard,
    reader: Box<dyn Reader>,
    /// The own claim's offset, once it is read.
    epoch: Option<u64>,
    /// The own claim stands below this.
    claimed_below: u64,
    /// Effects in flight, each batch with the position after it.
    acks: FuturesOrdered<Acked>,
    /// Every effect below this position is acknowledged.
    acked: u64,
    /// A checkpoint that waits for acknowledgements.
    waiting: Option<Checkpoint>,
    /// A checkpoint that is being written.
    writing: Option<Writing>,
    mark: StoreMark,
}

impl Flight {
    /// Without a claim of its own that can still be read, it would never checkpoint.
    fn overtaken(&self) -> Option<Ended> {
        let passed = self.epoch.is_none() && self.shard.next >= self.claimed_below;
        passed.then_some(Ended::Overtaken { applied: self.shard.next })
    }
}

impl<'a> Owner<'a> {
    pub(crate) fn new(
        shard: ShardId,
        settings: &'a Settings,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        part: Part,
        watch: StallWatch,
    ) -> Self {
        let dead_letters = DeadLetters::new(journal.clone(), clock.clone(), metrics::DEAD_LETTERS);
        Self { shard, settings, journal, clock, part, watch, dead_letters, nonce: rand::rng().random() }
    }

    /// Claims the shard and owns it until it is told to stop, superseded, or something fails.
    pub(crate) async fn own(self, stop: &CancellationToken) -> Result<Ended, Error> {
        let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard.0) };
        let claim = Command::Claim { owner: self.settings.member.as_str().into(), nonce: self.nonce };
        self.append_own(orders, claim).await?;
        let claimed_below = self.journal.end(orders).await?;
        let (shard, mark) = restore(self.shard, &*self.journal, self.settings.store.clone()).await?;
        info!(shard = self.shard.0, from = shard.next, "shard restored, applying");
        let reader = self.journal.reader(orders, shard.next).await?;
        let mut flight = Flight {
            acked: shard.next,
            shard,
            reader,
            epoch: None,
            claimed_below,
            acks: FuturesOrdered::new(),
            waiting: None,
            writing: None,
            mark,
        };
        if let Some(ended) = flight.overtaken() {
            return Ok(ended);
        }
        self.watch.set_applied(flight.shard.next);
        let end = || async { self.journal.end(orders).await.ok() };
        let stalled = self.watch.until_stalled(&self.part, end);
        tokio::pin!(stalled);
        let interval = Duration::from_millis(self.settings.checkpoint_interval_ms);
        let mut tick = Box::pin(tokio::time::sleep(interval));
        loop {
            let writing: OptionFuture<_> = flight.writing.as_mut().into();
            self.watch.set_paused(flight.acks.len() >= BATCHES_IN_FLIGHT_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Stopped),
                Some(acked) = flight.acks.next(), if !flight.acks.is_empty() => {
                    flight.acked = flight.acked.max(acked?);
                    self.write_when_acked(&mut flight);
                }
                Some(written) = writing => {
                    flight.writing = None;
                    let (keys, mark) = written?;
                    flight.mark = mark;
                    flight.shard.settle(&keys);
                }
                stalled = &mut stalled => return Err(stalled.into()),
                () = &mut tick => {
                    self.begin_checkpoint(&mut flight);
                    tick.as_mut().reset(tokio::time::Instant::now() + interval);
                }
                records = flight.reader.next(BATCH_RECORDS_MAX), if flight.acks.len() < BATCHES_IN_FLIGHT_MAX => {
                    if let Some(ended) = self.apply(&mut flight, records?)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Applies a batch and emits its effects; tells if a newer claim was among the records.
    fn apply(&self, flight: &mut Flight, records: Vec<twqr_journal::Record>) -> Result<Option<Ended>, Error> {
        let mut batch = Batch::new(&self.dead_letters);
        let mut ended = None;
        for record in records {
            batch.apply(&mut flight.shard, record)?;
            if let Some((offset, nonce)) = batch.claims.pop() {
                match flight.epoch {
                    None if nonce == self.nonce => self.begin_epoch(flight, offset),
                    Some(epoch) if nonce != self.nonce => {
                        ended = Some(Ended::Superseded { epoch, newer: offset });
                        break;
                    }
                    None | Some(_) => {}
                }
            }
        }
        if flight.epoch.is_some() && flight.shard.versions.newest().is_some() {
            self.part.ready();
        }
        let acks = batch.emit(self.shard, &*self.journal);
        let position = flight.shard.next;
        self.watch.set_applied(position);
        flight.acks.push_back(Box::pin(async move {
            for ack in acks {
                ack.await?;
            }
            Ok(position)
        }));
        Ok(ended.or_else(|| flight.overtaken()))
    }

    /// The own claim was read: from here on the shard is ours. Where there have never been rules,
    /// the configured ones are the first version; the policy's shard hands them on to all others.
    fn begin_epoch(&self, flight: &mut Flight, epoch: u64) {
        info!(shard = self.shard.0, epoch, "shard claimed");
        flight.epoch = Some(epoch);
        if self.shard == POLICY_SHARD && flight.shard.versions.newest().is_none() {
            let change = PolicyChange {
                version: 1,
                policy: self.settings.policy.clone(),
                who: self.settings.member.as_str().into(),
                why: "the configured rules, where there were none".into(),
                at: self.clock.now(),
            };
            let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard.0) };
            let ack = self.append_own(orders, Command::Policy(Box::new(change)));
            let position = flight.acked;
            flight.acks.push_back(Box::pin(async move { ack.await.map(|()| position) }));
        }
    }

    fn append_own(&self, orders: Partition, command: Command) -> twqr_journal::Ack {
        let record = encode_record(&Record { at: self.clock.now(), signed_by: None, command });
        self.journal.append(orders, vec![Entry::plain(record)])
    }

    /// One checkpoint at a time, and only under the own epoch.
    fn begin_checkpoint(&self, flight: &mut Flight) {
        let idle = flight.waiting.is_none() && flight.writing.is_none();
        if let (true, true, Some(epoch)) = (idle, Checkpoint::is_due(&flight.shard, &flight.mark), flight.epoch) {
            flight.waiting = Some(Checkpoint::take(&mut flight.shard, epoch));
            self.write_when_acked(flight);
        }
    }

    fn write_when_acked(&self, flight: &mut Flight) {
        let acked = flight.acked;
        if let Some(checkpoint) = flight.waiting.take_if(|checkpoint| checkpoint.position <= acked) {
            let write = checkpoint.write(self.journal.clone(), self.settings.store.clone(), flight.mark);
            flight.writing = Some(Box::pin(write));
        }
    }
}
