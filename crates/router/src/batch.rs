//! One batch of records through the machine, and its effects collected by where they go.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message;
use tracing::{debug, error, info, warn};
use twqr_journal::{Ack, Entry, Journal, Partition, Record, Topic};
use twqr_order::{Command, Effect, Position, Step, apply};
use twqr_types::{Issuer, OrderKey, ShardId, UnixMs};
use twqr_wire::convert::{RecordFault, dead_letter, decode_record, reply_out, task_out};

use crate::{metrics, shard::Shard, store::StoreError};

/// What a batch wants done, and what it saw.
#[derive(Default)]
pub(crate) struct Batch {
    wallet: Vec<Entry>,
    fisc: Vec<Entry>,
    replies: BTreeMap<u32, Vec<Entry>>,
    dead: Vec<Entry>,
    effects: Vec<Effect>,
    /// Claims that were read: offset and nonce.
    pub(crate) claims: Vec<(u64, u64)>,
}

impl Batch {
    /// Applies one record. A record that cannot be decoded goes to the dead letters and stops nothing.
    pub(crate) fn apply(&mut self, shard: &mut Shard, record: Record, now: UnixMs) -> Result<(), StoreError> {
        let offset = record.offset;
        shard.next = offset + 1;
        let payload = record.entry.value.unwrap_or_default();
        let decoded = match decode_record(payload.clone()) {
            Ok(decoded) => decoded,
            Err(fault) => {
                self.bury(shard.id, offset, &payload, &fault, now);
                return Ok(());
            }
        };
        match &decoded.command {
            Command::Claim { nonce, .. } => self.claims.push((offset, *nonce)),
            Command::Policy(change) => {
                info!(shard = shard.id.0, offset, policy = change.policy.name, who = %change.who, "a policy takes effect");
                shard.versions.insert(offset, Arc::new(change.policy.clone()));
                shard.versions_dirty = true;
            }
            Command::Pay(_) | Command::Query(_) | Command::Outcome(_) | Command::Due(_) => {
                self.apply_to_order(shard, &decoded, offset)?;
            }
        }
        Ok(())
    }

    fn apply_to_order(
        &mut self,
        shard: &mut Shard,
        record: &twqr_order::Record,
        offset: u64,
    ) -> Result<(), StoreError> {
        let Some(key) = record.command.key() else { return Ok(()) };
        let policy = shard.versions.at(offset).cloned();
        let cause = Position { shard: shard.id, offset };
        let hot = shard.load(key)?;
        if offset < hot.reflects {
            return Ok(());
        }
        let applied = apply(&mut hot.order, record, cause, policy.as_deref(), &mut self.effects);
        metrics::step(applied.step);
        for effect in std::mem::take(&mut self.effects) {
            self.collect(shard, key, effect);
        }
        if applied.changed {
            shard.touch(key);
        } else {
            shard.forget_if_cold(key);
        }
        log_step(shard, key, applied.step, cause);
        Ok(())
    }

    fn collect(&mut self, shard: &Shard, key: &OrderKey, effect: Effect) {
        match effect {
            Effect::Task(task) => {
                let entry = Entry::plain(task_out(&task).encode_to_vec());
                match task.issuer {
                    Issuer::Wallet => self.wallet.push(entry),
                    Issuer::Institution(_) => self.fisc.push(entry),
                }
            }
            Effect::Reply(reply) => {
                let entry = Entry::plain(reply_out(&reply, shard.hot(key)).encode_to_vec());
                self.replies.entry(reply.to.partition).or_default().push(entry);
            }
        }
    }

    fn bury(&mut self, shard: ShardId, offset: u64, payload: &Bytes, fault: &RecordFault, now: UnixMs) {
        error!(shard = shard.0, offset, %fault, "a record cannot be used; it goes to the dead letters");
        metrics::dead_letter();
        let place = (u32::from(shard.0), offset);
        let letter = dead_letter(Topic::Orders.name(), place, payload, &fault.to_string(), now);
        self.dead.push(Entry::plain(letter));
    }

    /// Appends every effect; the acknowledgements tell when all are durable.
    pub(crate) fn emit(self, shard: ShardId, journal: &dyn Journal) -> Vec<Ack> {
        let task_partition = |topic| Partition { topic, index: u32::from(shard.0) % journal.partitions(topic).max(1) };
        let mut appends = vec![
            (task_partition(Topic::WalletTasks), self.wallet),
            (task_partition(Topic::FiscTasks), self.fisc),
            (Partition { topic: Topic::DeadLetters, index: 0 }, self.dead),
        ];
        for (index, entries) in self.replies {
            if index < journal.partitions(Topic::Replies) {
                appends.push((Partition { topic: Topic::Replies, index }, entries));
            } else {
                warn!(shard = shard.0, partition = index, "a reply names a partition that does not exist; dropped");
            }
        }
        let append = |(partition, entries)| journal.append(partition, entries);
        appends.into_iter().filter(|(_, entries)| !entries.is_empty()).map(append).collect()
    }
}

/// One line for each decision out of the ordinary; ordinary ones at debug.
fn log_step(shard: &Shard, key: &OrderKey, step: Step, cause: Position) {
    let (merchant_id, merchant_trade_no) = (&key.merchant_id, &key.merchant_trade_no);
    let order = shard.hot(key);
    let trade_no = order.map_or_else(String::new, |order| order.trade_no.to_string());
    let (shard, offset) = (cause.shard.0, cause.offset);
    match step {
        Step::Contradicted => {
            let contradiction = order.and_then(|order| order.contradiction.as_deref()).unwrap_or_default();
            error!(%merchant_id, %merchant_trade_no, trade_no, shard, offset, contradiction, "an issuer contradicted a final state");
        }
        Step::Failed(_) | Step::Unresolved | Step::Asked | Step::Conflicted => {
            info!(%merchant_id, %merchant_trade_no, trade_no, shard, offset, ?step, "order");
        }
        Step::Accepted | Step::Refused | Step::Repeated | Step::Queried | Step::Paid | Step::Ignored => {
            debug!(%merchant_id, %merchant_trade_no, trade_no, shard, offset, ?step, "order");
        }
    }
}
