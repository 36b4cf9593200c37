//! Makes the holder's inquiries, hands its calls to the backend, and reports the outcome after an
//! answer, a time-out or a broken connection.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc::OwnedPermit, time::Instant};
use tracing::info;
use twqr_journal::{Entry, Offset};
use twqr_order::{MovementOutcome, Outcome, Subject, Task};
use twqr_telemetry::hops_without_call;
use twqr_types::UnixMs;
use twqr_wire::{
    convert::{BackendAnswer, encode_outcome, with_hops},
    hops::Hop,
    trace::TraceId,
};

use super::{
    Holder,
    in_flight::{CallInFlight, FinishedCall, TaskSummary},
    task_spans::service_of,
};
use crate::{
    answer::{decides, not_sent, outcome, took_effect, unknown},
    call::{Call, Purpose},
    lanes::{Lane, Place},
    link::Event,
    metrics::CallEnd,
    obstacle::Obstacle,
};

impl Holder {
    pub(super) fn inquire(&mut self, offset: Offset, task: Task) {
        let now = self.clock.now();
        let lane = self.settings.lanes.of(task.issuer, task.limits);
        match self.reserve_call().and_then(|slot| lane.take_inquiry(now).map(|()| slot)) {
            Ok(slot) => {
                let purpose = Purpose::Inquiry { proves_absence: self.proves_absence(&task, now) };
                let mut summary = TaskSummary::of(&task);
                if summary.subject == Subject::Charge && summary.card_token.is_none() {
                    summary.card_token = self.in_flight.card_token_of(task.trade_no);
                }
                self.hand_over(slot, offset, (task, summary), purpose, None);
            }
            Err(why) => {
                lane.metrics().not_made(Purpose::Inquiry { proves_absence: false }, why);
                self.report_unknown(offset, &TaskSummary::of(&task), why.text());
            }
        }
    }

    /// Whether the issuer's "not known" proves absence, if it is asked about the task's movement
    /// at `now`: no transfer of it may arrive any more (protocol rule P6). A policy in the log may
    /// have a window that is too short for this worker, or for its clock and that of the sender.
    fn proves_absence(&self, task: &Task, now: UnixMs) -> bool {
        let held_back_ms_max = self.settings.held_back_ms_max(self.clock.skew_max_ms());
        let window_ends = task.absent_after.max(task.send_by.plus(held_back_ms_max));
        now > window_ends && !self.in_flight.has_transfer_of(task) && !self.clock.is_skewed()
    }

    /// Reserves the link for one call. An error says why the link takes no call; the call is
    /// certainly not sent then.
    pub(super) fn reserve_call(&self) -> Result<OwnedPermit<Call>, Obstacle> {
        let calls = self.calls.clone().ok_or(Obstacle::NoConnection)?;
        calls.try_reserve_owned().map_err(|_| Obstacle::TransportFull)
    }

    /// Makes a call about a task; `summary` is that of the task as its record has it.
    pub(super) fn hand_over(
        &mut self,
        slot: OwnedPermit<Call>,
        offset: Offset,
        (task, summary): (Task, TaskSummary),
        purpose: Purpose,
        place: Option<Place>,
    ) {
        let since = Instant::now();
        let timeout = since + Duration::from_millis(self.settings.call_timeout_ms);
        let call = CallInFlight { offset, task: summary, purpose, place, since };
        let id = self.in_flight.add(call, timeout);
        self.hops.enter(offset, Hop::Backend);
        slot.send(Call { id, task, purpose });
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(calls) => self.calls = Some(calls),
            Event::Answer { call_id, answer } => self.on_answer(call_id, answer),
            Event::TooLate { call_id } => {
                if let Some(call) = self.take_call(call_id) {
                    let why = Obstacle::LateAtTransport;
                    self.lane(&call.task).metrics().not_made(call.purpose, why);
                    let is_evidence = !call.task.is_idempotent && !self.clock.is_skewed();
                    let report = if is_evidence { not_sent } else { unknown };
                    self.report(Some(call.offset), &call.task, report(why.text(), &call.task.subject));
                }
            }
            Event::Disconnected => {
                self.calls = None;
                for call_id in self.in_flight.ids() {
                    self.on_no_answer(call_id, CallEnd::Disconnected);
                }
            }
        }
    }

    fn on_answer(&mut self, call_id: u64, mut answer: BackendAnswer) {
        if let Some(call) = self.take_call(call_id) {
            self.token_echo.blank(&mut answer, &call.task, &self.settings.card_keys, self.clock.now());
            self.note_answer(&call, &answer);
            let movement = outcome(answer, call.purpose, &call.task.subject);
            let took_effect = took_effect(&movement);
            self.report(Some(call.offset), &call.task, movement);
            self.in_flight.remember(call_id, FinishedCall { task: call.task, purpose: call.purpose, took_effect });
        } else if let Some(finished) = self.in_flight.finished(call_id) {
            // An answer that repeats the first one is ignored. A late answer, or one that differs
            // from the first, is reported.
            self.token_echo.blank(&mut answer, &finished.task, &self.settings.card_keys, self.clock.now());
            let movement = outcome(answer, finished.purpose, &finished.task.subject);
            let took_effect = took_effect(&movement);
            if took_effect.is_some() && took_effect != finished.took_effect {
                finished.took_effect = took_effect;
                let task = finished.task.clone();
                info!(trace_id = %TraceId::of_order(&task.key), trade_no = %task.trade_no, "an answer arrived after the call's time-out, or differs from the first");
                self.report(None, &task, movement);
            }
        }
    }

    /// Counts the answer, and notes for the circuit that the issuer answered. There a transfer
    /// whose answer decides nothing counts as one without an answer. An inquiry may find a movement
    /// that is not decided yet, so such an answer to it counts neither way.
    fn note_answer(&self, call: &CallInFlight, answer: &BackendAnswer) {
        let lane = self.lane(&call.task);
        lane.metrics().call(call.purpose, CallEnd::of(answer), call.since.elapsed());
        match call.purpose {
            _ if decides(answer) => lane.answered(),
            Purpose::Transfer => lane.failed(self.clock.now()),
            Purpose::Inquiry { .. } => {}
        }
    }

    /// Ends a call, and frees its slot in the lane.
    fn take_call(&mut self, call_id: u64) -> Option<CallInFlight> {
        let mut call = self.in_flight.take(call_id)?;
        call.place = None;
        self.hops.enter(call.offset, Hop::Worker);
        Some(call)
    }

    /// When the next call times out, or the next queued transfer may not be sent any more, or may
    /// try an open circuit.
    pub(super) fn next_timeout(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let expiry = self.queue.next_send_by().map(|send_by| send_by.plus(1));
        let wake_at = expiry.into_iter().chain(self.next_trial()).min().map(|at| {
            let left_ms = at.since(now).max(1).cast_unsigned();
            Instant::now() + Duration::from_millis(left_ms)
        });
        self.in_flight.next_timeout().into_iter().chain(wake_at).min()
    }

    /// When a queued transfer may try a circuit that is open.
    fn next_trial(&self) -> Option<UnixMs> {
        self.calls.as_ref()?;
        let trial = |task: &Task| self.settings.lanes.of(task.issuer, task.limits).next_trial();
        self.queue.first_for_places().filter_map(trial).min()
    }

    pub(super) fn on_timeout(&mut self) {
        for call_id in self.in_flight.timed_out(Instant::now()) {
            self.on_no_answer(call_id, CallEnd::TimedOut);
        }
    }

    fn on_no_answer(&mut self, call_id: u64, end: CallEnd) {
        if let Some(call) = self.take_call(call_id) {
            let lane = self.lane(&call.task);
            lane.failed(self.clock.now());
            lane.metrics().call(call.purpose, end, call.since.elapsed());
            self.report_unknown(call.offset, &call.task, end.text());
            self.in_flight
                .remember(call_id, FinishedCall { task: call.task, purpose: call.purpose, took_effect: None });
        }
    }

    /// The lane of the task's issuer, with the limits that the task brings.
    fn lane(&self, task: &TaskSummary) -> Arc<Lane> {
        self.settings.lanes.of(task.issuer, task.limits)
    }

    pub(super) fn report_unknown(&mut self, offset: Offset, task: &TaskSummary, why: &str) {
        self.report(Some(offset), task, unknown(why, &task.subject));
    }

    /// Writes an outcome to the order's shard; `offset` is the task's, if this finishes it.
    pub(super) fn report(&mut self, offset: Option<Offset>, task: &TaskSummary, movement: MovementOutcome) {
        let outcome = Outcome { key: task.key.clone(), task: task.id, movement };
        let record = encode_outcome(self.clock.now(), &outcome);
        let hops = match offset {
            Some(offset) => self.hops.end(offset, || self.clock.now_us()).map(|(times, spans)| {
                if let Some(spans) = spans {
                    spans.export(task, &outcome.movement);
                }
                times
            }),
            // It belongs to no call that waits.
            None => hops_without_call(service_of(task.issuer), "late_answer", &task.key, self.clock.now_us()),
        };
        let record = match hops {
            Some(times) => with_hops(&record, &times),
            None => record,
        };
        self.outcomes.add(task.id.shard, Entry::plain(record), offset);
    }
}
