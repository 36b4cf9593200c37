//! One held task partition: reads its tasks in order, runs many at once, and tells the orders what
//! came of them. What moves money is sent only by its owner and only at its first reading;
//! everything else is asked about.

mod claim;
mod flight;
mod task;
mod waiting;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};
use twqr_consumer::DeadLetters;
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Record, Topic};
use twqr_order::{MovementOutcome, Outcome, TaskResult};
use twqr_service::{CancellationToken, Clock, Part, StallWatch};
use twqr_types::UnixMs;
use twqr_wire::{
    RECORD_VERSION,
    backend::{ExchangeRequest, exchange_request::Call as Request},
    bus::{self, tasks_record::Body},
    convert::encode_outcome,
};

use crate::{
    Error, Settings,
    answer::{Asked, NoEffect, came},
    call::{inquiry_call, transfer_call},
    holding::Holding,
    lane::{Admission, Lane, Place},
    link::Event,
    progress::Progress,
};
use flight::{Call, Flight, Over};
pub(crate) use task::{Task, Transfer};
use waiting::{Waiter, Waiting};

/// How a holding ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In good order.
    Released,
    /// Another worker's claim was read.
    Superseded,
}

/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// How many tasks of the partition may be unfinished before reading pauses.
const OPEN_TASKS_MAX: usize = 8_192;
/// How many events of the link are taken at once.
const BATCH_EVENTS_MAX: usize = 256;
/// The shortest time between two commits of the position, in ms: a late one costs a restart after a
/// crash a few inquiries.
const COMMIT_SPACING_MS: u64 = 100;

/// How far a holding has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It reads and sends.
    Working,
    /// The release is appended: it still sends what stands before it.
    Releasing,
    /// The release, or another's claim, was read: nothing is read or sent any more, and calls in
    /// flight end.
    Ending(Ended),
}

type Acked = Pin<Box<dyn Future<Output = (Vec<u64>, Result<(), JournalError>)> + Send>>;

/// A claimed partition.
pub(crate) struct Holder {
    partition: Partition,
    settings: Settings,
    journal: Arc<dyn Journal>,
    dead_letters: DeadLetters,
    clock: Arc<dyn Clock>,
    holding: Holding,
    progress: Progress,
    committed: u64,
    /// When the position may be committed again.
    commit_after: Instant,
    stage: Stage,
    reader: Box<dyn Reader>,
    events: mpsc::UnboundedReceiver<Event>,
    calls: Option<mpsc::UnboundedSender<ExchangeRequest>>,
    flight: Flight,
    waiting: Waiting,
    /// Outcomes to append, by shard, each with the offset of its task if that is finished with it.
    outcomes: BTreeMap<u32, (Vec<Entry>, Vec<u64>)>,
    acks: FuturesUnordered<Acked>,
}

impl Holder {
    /// Works until it is told to stop, superseded, or something fails. Told to stop, it goes on for
    /// `grace`, so that whoever comes next asks for the partition first and nothing waits in
    /// between.
    pub(crate) async fn work(
        mut self,
        stop: &CancellationToken,
        grace: Duration,
        (part, watch): (&Part, &StallWatch),
    ) -> Result<Ended, Error> {
        let (journal, partition) = (self.journal.clone(), self.partition);
        let stalled = watch.until_stalled(part, || async { journal.end(partition).await.ok() });
        tokio::pin!(stalled);
        let mut events = Vec::new();
        let freed = self.settings.lanes.freed();
        let mut release_at = None;
        loop {
            if let (Stage::Ending(ended), 0) = (self.stage, self.progress.open()) {
                return self.end(ended).await;
            }
            let place_freed = freed.notified();
            tokio::pin!(place_freed);
            place_freed.as_mut().enable();
            self.send_waiting();
            self.append_outcomes();
            let next_timeout = self.next_timeout();
            let commit_at = (self.progress.position() > self.committed).then_some(self.commit_after);
            let reads = !matches!(self.stage, Stage::Ending(_)) && self.progress.open() < OPEN_TASKS_MAX;
            watch.set_applied(self.progress.next());
            watch.set_paused(!reads);
            tokio::select! {
                biased;
                () = stop.cancelled(), if release_at.is_none() => release_at = Some(Instant::now() + grace),
                Some((offsets, acked)) = self.acks.next(), if !self.acks.is_empty() => {
                    acked?;
                    self.finish(&offsets);
                }
                received = self.events.recv_many(&mut events, BATCH_EVENTS_MAX) => {
                    debug_assert!(received > 0, "the link lives as long as its partition");
                    for event in events.drain(..) {
                        self.on_event(event);
                    }
                }
                () = until(release_at), if self.stage == Stage::Working => self.release(),
                () = until(commit_at) => self.commit_if_moved(),
                () = until(next_timeout) => self.time_out(),
                stalled = &mut stalled => return Err(stalled.into()),
                () = place_freed, if !self.waiting.is_empty() => {}
                records = self.reader.next(BATCH_RECORDS_MAX), if reads => {
                    for record in records? {
                        self.on_record(record);
                        if matches!(self.stage, Stage::Ending(_)) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Everything of this holding is done. A successor of one that ended in good order finds the
    /// position right after the release.
    async fn end(&mut self, ended: Ended) -> Result<Ended, Error> {
        if ended == Ended::Released {
            let position = self.progress.to_commit(None);
            self.journal.commit(twqr_journal::Group::Workers, self.partition, position).await?;
            info!(partition = %self.partition, "partition released");
        }
        Ok(ended)
    }

    fn on_record(&mut self, record: Record) {
        let offset = record.offset;
        let payload = record.entry.value.unwrap_or_default();
        let body = match bus::TasksRecord::decode(payload.clone()) {
            Ok(bus::TasksRecord { version: RECORD_VERSION, body: Some(body) }) => body,
            Ok(other) => {
                return self.bury(offset, &payload, &format!("version {} or body is not known", other.version));
            }
            Err(_) => return self.bury(offset, &payload, "the bytes are no protobuf record"),
        };
        let after_own = offset > self.holding.own();
        match body {
            Body::Claim(_) if after_own => self.stage = Stage::Ending(Ended::Superseded),
            Body::Release(release) if release.claim == self.holding.own() => {
                self.progress.read(offset, false);
                self.stage = Stage::Ending(Ended::Released);
            }
            Body::Intent(intent) if after_own && self.stage == Stage::Working => {
                info!(partition = %self.partition, by = intent.owner, "another worker wants the partition");
                self.progress.read(offset, false);
                self.release();
            }
            Body::Claim(_) | Body::Release(_) | Body::Intent(_) => self.progress.read(offset, false),
            Body::Task(task) => match Task::parse(task) {
                Ok(task) => self.on_task(offset, task),
                Err(reason) => self.bury(offset, &payload, reason),
            },
        }
    }

    fn on_task(&mut self, offset: u64, mut task: Task) {
        self.progress.read(offset, true);
        let first = self.progress.first_reading(task.id);
        let fresh = first && self.holding.owns(offset);
        let now = self.clock.now();
        match (task.transfer.take(), fresh) {
            (Some(transfer), true) => self.send(offset, task, transfer, now),
            (Some(_), false) => {
                info!(trade_no = task.record.trade_no, offset, "maybe sent before; asking, not sending");
                self.ask(offset, task, now);
            }
            (None, _) => self.ask(offset, task, now),
        }
    }

    /// Sends a fresh transfer, or says with evidence that it was not sent.
    fn send(&mut self, offset: u64, task: Task, transfer: Transfer, now: UnixMs) {
        if now.0 > task.record.send_by_ms {
            return self.not_sent(offset, &task, "its time to be sent had passed");
        }
        let Some(calls) = self.calls.clone() else {
            return self.not_sent(offset, &task, "there is no connection to the issuer");
        };
        match self.lane(&task).admit(now) {
            Admission::Go(place) => self.transfer(&calls, offset, task, transfer, place),
            Admission::Wait(place) => self.waiting.push(Waiter { offset, task, transfer, place }),
            Admission::Refused(why) => self.not_sent(offset, &task, why),
        }
    }

    /// The lane of the task's issuer, under the limits that the task brings.
    fn lane(&self, task: &Task) -> Arc<Lane> {
        self.settings.lanes.of(&task.record.institution, task.limits)
    }

    fn transfer(
        &mut self,
        calls: &mpsc::UnboundedSender<ExchangeRequest>,
        offset: u64,
        task: Task,
        transfer: Transfer,
        place: Place,
    ) {
        let call = transfer_call(&task.record, transfer);
        self.hand_over(calls, Call { offset, task, asked: Asked::Transfer, place: Some(place) }, call);
    }

    /// Transfers that waited go as far as there are places; those that cannot any more are not
    /// sent.
    fn send_waiting(&mut self) {
        let now = self.clock.now();
        for institution in self.waiting.institutions() {
            while let Some(Waiter { offset, task, transfer, place }) = self.waiting.pop(&institution) {
                if matches!(self.stage, Stage::Ending(Ended::Superseded)) {
                    self.not_sent(offset, &task, "another worker took over before it was sent");
                    continue;
                }
                let Some(calls) = self.calls.clone() else {
                    self.not_sent(offset, &task, "the connection to the issuer broke before it was sent");
                    continue;
                };
                if now.0 > task.record.send_by_ms {
                    self.not_sent(offset, &task, "its time to be sent passed in the issuer's queue");
                    continue;
                }
                match self.lane(&task).readmit(place, now) {
                    Admission::Go(place) => self.transfer(&calls, offset, task, transfer, place),
                    Admission::Wait(place) => {
                        self.waiting.push_front(Waiter { offset, task, transfer, place });
                        break;
                    }
                    Admission::Refused(why) => self.not_sent(offset, &task, why),
                }
            }
        }
    }

    /// When a call times out, or a transfer that waits must be given up.
    fn next_timeout(&mut self) -> Option<Instant> {
        let expiry = self.waiting.next_send_by().map(|send_by| {
            let left_ms = send_by.plus(1).since(self.clock.now()).max(1).cast_unsigned();
            Instant::now() + Duration::from_millis(left_ms)
        });
        self.flight.next_timeout().into_iter().chain(expiry).min()
    }

    fn ask(&mut self, offset: u64, task: Task, now: UnixMs) {
        let Some(calls) = self.calls.clone() else {
            return self.unknown(offset, &task, "there is no connection to the issuer");
        };
        if let Err(why) = self.lane(&task).may_inquire(now) {
            return self.unknown(offset, &task, why);
        }
        let asked = Asked::Inquiry { proves_absence: now.0 > task.record.absent_after_ms };
        let call = inquiry_call(&task.record, &task.subject);
        self.hand_over(&calls, Call { offset, task, asked, place: None }, call);
    }

    fn hand_over(&mut self, calls: &mpsc::UnboundedSender<ExchangeRequest>, call: Call, request: Request) {
        let institution = call.task.record.institution.clone();
        let timeout = Instant::now() + Duration::from_millis(self.settings.call_timeout_ms);
        let call_id = self.flight.add(call, timeout);
        drop(calls.send(ExchangeRequest { call_id, institution, call: Some(request) }));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Up(calls) => self.calls = Some(calls),
            Event::Answer(response) => self.on_answer(response.call_id, response.answer),
            Event::TooLate { call_id } => {
                if let Some(call) = self.take(call_id) {
                    self.not_sent(call.offset, &call.task, "its time to be sent passed while it waited");
                }
            }
            Event::Down => {
                self.calls = None;
                for call_id in self.flight.ids() {
                    self.unanswered(call_id, "the connection broke before the answer");
                }
            }
        }
    }

    fn on_answer(&mut self, call_id: u64, answer: Option<twqr_wire::backend::exchange_response::Answer>) {
        if let Some(call) = self.take(call_id) {
            self.lane(&call.task).answered();
            let came = came(answer, call.asked, &call.task.subject);
            let took_effect = took_effect(&came);
            self.outcome(&call.task, Some(call.offset), came);
            self.flight.remember(call_id, Over { task: call.task, asked: call.asked, took_effect });
        } else if let Some(over) = self.flight.over(call_id) {
            // The same answer again says nothing new; a late one, or another one, does.
            let came = came(answer, over.asked, &over.task.subject);
            let took_effect = took_effect(&came);
            if took_effect.is_some() && took_effect != over.took_effect {
                over.took_effect = took_effect;
                let task = over.task.clone();
                info!(trade_no = task.record.trade_no, "an answer came after its time-out, or another one before");
                self.outcome(&task, None, came);
            }
        }
    }

    /// Takes a call out of flight, and gives its place in the lane back.
    fn take(&mut self, call_id: u64) -> Option<Call> {
        let mut call = self.flight.take(call_id)?;
        call.place = None;
        Some(call)
    }

    fn time_out(&mut self) {
        for call_id in self.flight.timed_out(Instant::now()) {
            self.unanswered(call_id, "no answer in time");
        }
    }

    fn unanswered(&mut self, call_id: u64, why: &'static str) {
        if let Some(call) = self.take(call_id) {
            self.lane(&call.task).failed(self.clock.now());
            self.unknown(call.offset, &call.task, why);
            self.flight.remember(call_id, Over { task: call.task, asked: call.asked, took_effect: None });
        }
    }

    fn not_sent(&mut self, offset: u64, task: &Task, why: &str) {
        self.outcome(task, Some(offset), NoEffect::not_sent(why).of(&task.subject));
    }

    fn unknown(&mut self, offset: u64, task: &Task, why: &str) {
        self.outcome(task, Some(offset), NoEffect::unknown(why).of(&task.subject));
    }

    /// Queues an outcome; `offset` is the task's, where this finishes it.
    fn outcome(&mut self, task: &Task, offset: Option<u64>, movement: MovementOutcome) {
        let outcome = Outcome { key: task.key.clone(), task: task.id, movement };
        let entry = Entry::plain(encode_outcome(self.clock.now(), &outcome));
        let (entries, offsets) = self.outcomes.entry(u32::from(task.id.shard.0)).or_default();
        entries.push(entry);
        offsets.extend(offset);
    }

    fn append_outcomes(&mut self) {
        for (shard, (entries, offsets)) in std::mem::take(&mut self.outcomes) {
            let ack = self.journal.append(Partition { topic: Topic::Orders, index: shard }, entries);
            self.acks.push(Box::pin(async move { (offsets, ack.await) }));
        }
    }

    /// Their outcomes are acknowledged: the position moves on.
    fn finish(&mut self, offsets: &[u64]) {
        for offset in offsets {
            self.progress.finish(*offset);
        }
    }

    fn commit_if_moved(&mut self) {
        let position = self.progress.position();
        if position > self.committed && self.stage != Stage::Ending(Ended::Superseded) {
            let holder = self.holding.holder_before(position);
            let ack =
                self.journal.commit(twqr_journal::Group::Workers, self.partition, self.progress.to_commit(holder));
            let partition = self.partition;
            tokio::spawn(async move {
                if let Err(error) = ack.await {
                    warn!(%partition, %error, "a position was not kept; after a crash more is asked about");
                }
            });
        }
        self.committed = self.committed.max(position);
        self.commit_after = Instant::now() + Duration::from_millis(COMMIT_SPACING_MS);
    }

    /// Gives the partition back: what stands before this is still ours, what comes after belongs to
    /// the next claim.
    fn release(&mut self) {
        self.stage = Stage::Releasing;
        let release = Body::Release(bus::WorkerRelease { claim: self.holding.own() });
        let ack = claim::append(&*self.journal, self.partition, release);
        self.acks.push(Box::pin(async move { (Vec::new(), ack.await) }));
    }

    /// To the dead letters; never a reason to stop.
    fn bury(&mut self, offset: u64, payload: &Bytes, reason: &str) {
        self.progress.read(offset, true);
        let ack = self.dead_letters.write(self.partition, offset, payload, reason);
        self.acks.push(Box::pin(async move { (vec![offset], ack.await) }));
    }
}

/// Whether the issuer says that it took effect, or refused; none where it says neither.
fn took_effect(movement: &MovementOutcome) -> Option<bool> {
    fn said<A>(result: &TaskResult<A>) -> Option<bool> {
        match result {
            TaskResult::Done(_) => Some(true),
            TaskResult::Declined(_) => Some(false),
            TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => None,
        }
    }
    match movement {
        MovementOutcome::Charge(result) => said(result),
        MovementOutcome::Refund(_, result) => said(result),
        MovementOutcome::Reversal(result) => said(result),
    }
}

/// Until then; for ever where there is no time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
