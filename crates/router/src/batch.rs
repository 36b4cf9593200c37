//! Applies one batch of records with the order machine, and groups the effects by their destination
//! partition.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tracing::{debug, error, info, warn};
use twqr_consumer::DeadLetters;
use twqr_journal::{Ack, Entry, Journal, Partition, Record, Topic, Witness};
use twqr_order::{
    Command, Effect, HoldRecord, ListingChange, MovementOutcome, Order, POLICY_SHARD, Policy, PolicyChange, Position,
    Remembering, Step, Target, apply, refuse_unknown_payment,
};
use twqr_types::{Issuer, OrderKey, ShardId, UnixMs};
use twqr_wire::{
    convert::{
        HopTimes, RecordFault, ReplyContent, ReplyRecord, decode_record_with_hops, encode_record, encode_reply,
        encode_reply_record, encode_task,
    },
    trace::TraceId,
};

use crate::{
    Error, metrics,
    outgoing::{Outgoing, Reading, queue_of},
    reply_appends::ReplyAppends,
    restore::check_protocol,
    shard::Shard,
    spans::RecordSpans,
    store::StoreError,
};

/// The effects of a batch, and what its latest record says about who holds the shard.
pub(crate) struct Batch<'a> {
    dead_letters: &'a DeadLetters,
    reading: Reading<'a>,
    /// The hops of the record that is being applied, if its call asked for them or is traced.
    hops: Option<HopTimes>,
    spans: RecordSpans,
    wallet: Outgoing,
    fisc: Outgoing,
    replies: BTreeMap<u32, Outgoing>,
    /// Records for shards, by the shard's number; this shard may be among them.
    forwards: BTreeMap<u32, Outgoing>,
    /// Records for every shard except this one.
    broadcasts: Vec<Entry>,
    /// Replies for every ingress.
    to_ingresses: Vec<Entry>,
    /// Whether the policy or the directory of merchants has changed.
    has_new_rules: bool,
    effects: Vec<Effect>,
    steps: metrics::Steps,
    /// The latest record, if it is about who holds the shard, with its offset.
    pub(crate) hold: Option<(u64, HoldRecord)>,
}

/// A record of `orders`.
pub(crate) struct DecodedRecord {
    offset: u64,
    payload: Bytes,
    decoded: Result<(twqr_order::Record, Option<HopTimes>), RecordFault>,
}

impl DecodedRecord {
    pub(crate) fn decode(record: Record) -> Self {
        let payload = record.entry.value.unwrap_or_default();
        Self { offset: record.offset, decoded: decode_record_with_hops(payload.clone()), payload }
    }

    pub(crate) fn readable(&self) -> Option<&twqr_order::Record> {
        self.decoded.as_ref().ok().map(|(record, _)| record)
    }
}

impl<'a> Batch<'a> {
    /// A batch of records that were read at `reading`.
    pub(crate) fn new(dead_letters: &'a DeadLetters, reading: Reading<'a>) -> Self {
        Self {
            dead_letters,
            reading,
            hops: None,
            spans: RecordSpans::default(),
            wallet: Outgoing::default(),
            fisc: Outgoing::default(),
            replies: BTreeMap::new(),
            forwards: BTreeMap::new(),
            broadcasts: Vec::new(),
            to_ingresses: Vec::new(),
            has_new_rules: false,
            effects: Vec::new(),
            steps: metrics::Steps::default(),
            hold: None,
        }
    }

    /// Applies one record, whose order was loaded before. A record that cannot be used is written
    /// to `dead-letters`.
    pub(crate) fn apply(&mut self, shard: &mut Shard, record: DecodedRecord) -> Result<(), Error> {
        let DecodedRecord { offset, payload, decoded } = record;
        shard.next = offset + 1;
        let (decoded, hops) = match decoded {
            Ok(decoded) => decoded,
            Err(fault) => {
                self.dead_letter(shard.id, offset, &payload, &fault);
                return Ok(());
            }
        };
        self.hops = hops.map(|times| self.reading.arrived(times, &decoded.command));
        shard.witness = Some(Witness { offset, mark: decoded.at.0.cast_unsigned() });
        match &decoded.command {
            Command::Hold(hold) => self.hold = Some((offset, hold.clone())),
            Command::Policy(change) => self.take_policy(shard, change, payload, offset)?,
            Command::CloseBooks(until) => close_books(shard, offset, decoded.at, *until),
            Command::Listing(change) => self.take_listing(shard, change, payload, offset),
            Command::Reserve(reserve) if shard.key_of(reserve.payment).is_none() => {
                if shard.first_unreadable.is_some() {
                    self.dead_letter(shard.id, offset, &payload, &RecordFault::UnreadableOrder);
                    return Ok(());
                }
                let cause = Position { shard: shard.id, offset };
                refuse_unknown_payment(reserve, decoded.at, cause, &mut self.effects);
                self.collect_all(shard, None, offset);
            }
            Command::Pay(_)
            | Command::Refund(_)
            | Command::Cancel(_)
            | Command::Reserve(_)
            | Command::RefundResult(_)
            | Command::Query(_)
            | Command::Outcome(_)
            | Command::Due(_) => {
                if !self.apply_to_order(shard, &decoded, offset)? {
                    self.dead_letter(shard.id, offset, &payload, &RecordFault::UnreadableOrder);
                }
            }
        }
        Ok(())
    }

    /// Takes a policy if its version follows the newest one (on the policy's shard) or is higher
    /// (on all others). The policy's shard also forwards it to all others.
    fn take_policy(
        &mut self,
        shard: &mut Shard,
        change: &PolicyChange,
        payload: Bytes,
        offset: u64,
    ) -> Result<(), Error> {
        let (version, policy) = (change.version, &change.policy.name);
        if !shard.versions.take(shard.id, offset, Arc::new(change.clone())) {
            info!(shard = shard.id.0, offset, version, policy, who = %change.who, "a policy is ignored: its version does not follow the newest one");
            return Ok(());
        }
        check_protocol(&shard.versions)?;
        metrics::register_issuers(Some(&change.policy));
        info!(shard = shard.id.0, offset, version, policy, who = %change.who, "a policy takes effect");
        shard.touch_versions();
        self.has_new_rules = true;
        if shard.id == POLICY_SHARD {
            self.broadcasts.push(Entry::plain(payload));
        }
        Ok(())
    }

    /// Takes a version of an entry of the directory of merchants, by the same rule as a policy.
    fn take_listing(&mut self, shard: &mut Shard, change: &ListingChange, payload: Bytes, offset: u64) {
        let is_known = shard.versions.at(offset).is_some_and(Policy::takes_listings);
        let (version, key) = (change.version, &change.key);
        if !is_known || !shard.directory.take(shard.id, offset, change, &shard.replay_starts) {
            info!(shard = shard.id.0, offset, %key, version, who = %change.who, "a listing is ignored: its version does not follow the newest one");
            return;
        }
        debug!(shard = shard.id.0, offset, %key, version, who = %change.who, "a listing takes effect");
        self.has_new_rules = true;
        if shard.id == POLICY_SHARD {
            self.broadcasts.push(Entry::plain(payload));
        }
    }

    /// Applies a record to its order. Returns false if the order's state cannot be read, since
    /// nothing may be decided about it then.
    fn apply_to_order(
        &mut self,
        shard: &mut Shard,
        record: &twqr_order::Record,
        offset: u64,
    ) -> Result<bool, StoreError> {
        let named = match record.command.target() {
            None => None,
            Some(Target::Key(key)) => Some(key.clone()),
            Some(Target::Number(number)) => shard.key_of(number),
        };
        let Some(key) = &named else { return Ok(true) };
        let cause = Position { shard: shard.id, offset };
        let Some((hot, versions, directory)) = shard.order_mut(key)? else { return Ok(false) };
        if offset < hot.reflects {
            return Ok(true);
        }
        let rules = directory.rules_at(offset, &record.command, versions);
        let applied = apply(&mut hot.order, record, cause, rules, &mut self.effects);
        self.steps.count(applied.step);
        note_result(hot.order.as_ref(), record, applied.step);
        self.begin_span(key, record, cause, applied.step);
        // Before the replies, so that no ingress remembers a success when its caller hears of the
        // cancel.
        if applied.changed && matches!(record.command, Command::Cancel(_)) {
            self.forget_answers(shard, key);
        }
        self.collect_all(shard, Some(key), offset);
        if applied.changed {
            shard.touch(key);
        }
        let trace_id = || TraceId::of_record(self.hops.and_then(|times| times.trace), key);
        log_step(shard, key, applied.step, cause, trace_id);
        Ok(true)
    }

    /// Begins the span of a record that was applied, if it is traced. Its effects belong to it.
    fn begin_span(&mut self, key: &OrderKey, record: &twqr_order::Record, cause: Position, step: Step) {
        let span = self.spans.begin(self.hops.as_ref(), queue_of(&record.command), key, cause, step);
        if span.is_some() {
            self.hops.get_or_insert_default().trace = span;
        }
    }

    /// Makes the ingresses that may have cached an answer to a payment discard it.
    fn forget_answers(&mut self, shard: &Shard, key: &OrderKey) {
        let Some(remembering) = shard.hot(key).and_then(Order::remembering) else { return };
        let forget = Entry::plain(encode_reply_record(&ReplyRecord::broadcast(ReplyContent::Forget(key.clone()))));
        match remembering {
            Remembering::All => self.to_ingresses.push(forget),
            Remembering::Only(partitions) => {
                for index in partitions {
                    self.replies.entry(*index).or_default().push(forget.clone(), None);
                }
            }
        }
    }

    fn collect_all(&mut self, shard: &Shard, key: Option<&OrderKey>, offset: u64) {
        for effect in std::mem::take(&mut self.effects) {
            self.collect(shard, key, effect, offset);
        }
    }

    fn collect(&mut self, shard: &Shard, key: Option<&OrderKey>, effect: Effect, offset: u64) {
        let hops = self.hops;
        match effect {
            Effect::Task(task) => {
                let entry = Entry::plain(encode_task(&task));
                match task.issuer {
                    Issuer::Wallet => self.wallet.push(entry, hops),
                    Issuer::Institution(_) => self.fisc.push(entry, hops),
                }
            }
            Effect::Reply(reply) => {
                let order = key.and_then(|key| shard.hot(key));
                let policy = shard.versions.at(offset);
                let entry = Entry::plain(encode_reply(&reply, order, policy));
                self.replies.entry(reply.to.partition).or_default().push(entry, hops);
            }
            Effect::Forward(forward) => {
                let entry = Entry::plain(encode_record(&forward.record));
                self.forwards.entry(u32::from(forward.to.0)).or_default().push(entry, hops);
            }
        }
    }

    fn dead_letter(&self, shard: ShardId, offset: u64, payload: &Bytes, fault: &RecordFault) {
        let orders = Partition { topic: Topic::Orders, index: u32::from(shard.0) };
        self.dead_letters.write(orders, offset, payload, fault);
    }

    /// Appends every effect; all of them except the replies are durable once every returned
    /// acknowledgement has arrived.
    pub(crate) fn emit(mut self, shard: ShardId, journal: &dyn Journal, reply_appends: &Arc<ReplyAppends>) -> Vec<Ack> {
        self.steps.publish();
        let task_partition = |topic| Partition { topic, index: u32::from(shard.0) % journal.partitions(topic).max(1) };
        let reading = self.reading;
        std::mem::take(&mut self.spans).export(reading);
        let mut appends = vec![
            (task_partition(Topic::WalletTasks), self.wallet.into_entries(reading)),
            (task_partition(Topic::FiscTasks), self.fisc.into_entries(reading)),
        ];
        let mut forwards = self.forwards;
        if !self.broadcasts.is_empty() {
            for index in (0..journal.partitions(Topic::Orders)).filter(|index| *index != u32::from(shard.0)) {
                forwards.entry(index).or_default().extend(&self.broadcasts);
            }
        }
        let mut replies = self.replies;
        let mut to_ingresses = self.to_ingresses;
        if self.has_new_rules {
            let record = ReplyRecord::broadcast(ReplyContent::RulesChanged);
            to_ingresses.push(Entry::plain(encode_reply_record(&record)));
        }
        if !to_ingresses.is_empty() {
            for index in 0..journal.partitions(Topic::Replies) {
                replies.entry(index).or_default().extend(&to_ingresses);
            }
        }
        for (topic, by_index) in [(Topic::Orders, forwards), (Topic::Replies, replies)] {
            for (index, outgoing) in by_index {
                let entries = outgoing.into_entries(reading);
                if index >= journal.partitions(topic) {
                    warn!(
                        shard = shard.0,
                        topic = topic.name(),
                        index,
                        "an effect for a partition that does not exist is dropped"
                    );
                } else if topic == Topic::Replies {
                    reply_appends.append(index, entries);
                } else {
                    appends.push((Partition { topic, index }, entries));
                }
            }
        }
        let append = |(partition, entries)| journal.append(partition, entries);
        appends.into_iter().filter(|(_, entries)| !entries.is_empty()).map(append).collect()
    }
}

/// Measures the final results that the record decided: the outcome of a movement, or a refund's
/// result.
fn note_result(order: Option<&Order>, record: &twqr_order::Record, step: Step) {
    match (&record.command, order) {
        (Command::Outcome(outcome), Some(order)) => {
            let is_charge = matches!(outcome.movement, MovementOutcome::Charge(_));
            metrics::outcome(order, step, is_charge, record.at);
        }
        (Command::RefundResult(_), Some(order)) if step != Step::Ignored => metrics::refund_final(order, record.at),
        _ => {}
    }
}

/// Closes the shard's books up to a time, unless they are.
fn close_books(shard: &mut Shard, offset: u64, at: UnixMs, until: UnixMs) {
    if shard.versions.close_books(offset, at, until) {
        info!(shard = shard.id.0, offset, until = %until.taipei(), "the books are closed up to this time");
        shard.touch_versions();
    }
}

/// Logs one line for each decision: unusual ones at info or error, all others at debug.
fn log_step(shard: &Shard, key: &OrderKey, step: Step, cause: Position, trace_id: impl Fn() -> TraceId) {
    let (merchant_id, merchant_trade_no) = (&key.merchant_id, &key.merchant_trade_no);
    let order = shard.hot(key);
    // Made only for lines that are written.
    let trade_no = || order.and_then(Order::trade_no).map_or_else(String::new, |number| number.to_string());
    let (shard, offset) = (cause.shard.0, cause.offset);
    match step {
        Step::Contradicted => {
            let contradiction = order.and_then(Order::contradiction).unwrap_or_default();
            error!(trace_id = %trace_id(), %merchant_id, %merchant_trade_no, trade_no = trade_no(), shard, offset, contradiction, "an issuer contradicted a final state");
        }
        Step::Failed(_)
        | Step::Unresolved
        | Step::Inquired
        | Step::Conflicted
        | Step::KeyRefused
        | Step::Replayed
        | Step::Reserved
        | Step::Refunded
        | Step::Cancelling
        | Step::Cancelled => {
            info!(trace_id = %trace_id(), %merchant_id, %merchant_trade_no, trade_no = trade_no(), shard, offset, ?step, "order");
        }
        Step::Accepted | Step::Refused | Step::Repeated | Step::Queried | Step::Paid | Step::Ignored => {
            debug!(trace_id = %trace_id(), %merchant_id, %merchant_trade_no, trade_no = trade_no(), shard, offset, ?step, "order");
        }
    }
}
