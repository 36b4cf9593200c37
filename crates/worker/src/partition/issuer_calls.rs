//! Makes the holder's calls to its backend: decides whether a task is sent or inquired about, and
//! reports the outcome after an answer, a time-out or a broken connection.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc::OwnedPermit, time::Instant};
use tracing::info;
use twqr_journal::{Entry, Offset};
use twqr_order::{MovementOutcome, Outcome, Task};
use twqr_types::UnixMs;
use twqr_wire::convert::{BackendAnswer, encode_outcome};

use super::{
    Ended, Holder, Stage,
    in_flight::{CallInFlight, FinishedCall, TaskSummary},
    transfer_queue::QueuedTransfer,
};
use crate::{
    answer::{not_sent, outcome, took_effect, unknown},
    call::{Call, Purpose},
    lanes::{Admission, Lane, Place},
    link::Event,
};

const NO_CONNECTION: &str = "there is no connection to the issuer";

impl Holder {
    /// Sends a fresh transfer, or reports with evidence that it was not sent.
    pub(super) fn send(&mut self, offset: Offset, task: Task) {
        let now = self.clock.now();
        if now > task.send_by {
            return self.report_not_sent(offset, &task, "its time to be sent had passed");
        }
        if self.calls.is_none() {
            return self.report_not_sent(offset, &task, NO_CONNECTION);
        }
        match self.settings.lanes.of(task.issuer, task.limits).admit(now) {
            Admission::Send(place) => self.transfer(offset, task, place),
            Admission::Wait(place) => self.queue.push(QueuedTransfer { offset, task, place }),
            Admission::Refused(why) => self.report_not_sent(offset, &task, why),
        }
    }

    /// Sends queued transfers while places in flight are free. A queued transfer that cannot
    /// be sent any more is reported as not sent.
    pub(super) fn send_queued(&mut self) {
        let now = self.clock.now();
        for issuer in self.queue.issuers() {
            while let Some(QueuedTransfer { offset, task, place }) = self.queue.pop(issuer) {
                let obstacle = if matches!(self.stage, Stage::Ending(Ended::Superseded)) {
                    Some("another worker took over before it was sent")
                } else if self.calls.is_none() {
                    Some("the connection to the issuer broke before it was sent")
                } else if now > task.send_by {
                    Some("its time to be sent passed in the issuer's queue")
                } else {
                    None
                };
                if let Some(why) = obstacle {
                    self.report_not_sent(offset, &task, why);
                    continue;
                }
                match self.settings.lanes.of(task.issuer, task.limits).readmit(place, now) {
                    Admission::Send(place) => self.transfer(offset, task, place),
                    Admission::Wait(place) => {
                        self.queue.push_front(QueuedTransfer { offset, task, place });
                        break;
                    }
                    Admission::Refused(why) => self.report_not_sent(offset, &task, why),
                }
            }
        }
    }

    fn transfer(&mut self, offset: Offset, task: Task, place: Place) {
        match self.reserve_call() {
            Ok(slot) => self.hand_over(slot, offset, task, Purpose::Transfer, Some(place)),
            Err(why) => self.report_not_sent(offset, &task, why),
        }
    }

    pub(super) fn inquire(&mut self, offset: Offset, task: Task) {
        let now = self.clock.now();
        let lane = self.settings.lanes.of(task.issuer, task.limits);
        match self.reserve_call().and_then(|slot| lane.take_inquiry(now).map(|()| slot)) {
            Ok(slot) => {
                let purpose = Purpose::Inquiry { proves_absence: self.proves_absence(&task, now) };
                self.hand_over(slot, offset, task, purpose, None);
            }
            Err(why) => self.report_unknown(offset, &TaskSummary::of(&task), why),
        }
    }

    /// Whether the issuer's "not known" proves absence, if it is asked about the task's movement
    /// at `now`: no transfer of it may arrive any more (protocol rule P6). A policy in the log may
    /// have a window that is too short for this worker.
    fn proves_absence(&self, task: &Task, now: UnixMs) -> bool {
        let window_ends = task.absent_after.max(task.send_by.plus(self.settings.held_back_ms_max()));
        now > window_ends && !self.in_flight.has_transfer_of(task)
    }

    /// Reserves the link for one call. An error says why the link takes no call; the call is
    /// certainly not sent then.
    fn reserve_call(&self) -> Result<OwnedPermit<Call>, &'static str> {
        let calls = self.calls.clone().ok_or(NO_CONNECTION)?;
        calls.try_reserve_owned().map_err(|_| "the connection to the issuer takes no more calls")
    }

    fn hand_over(
        &mut self,
        slot: OwnedPermit<Call>,
        offset: Offset,
        task: Task,
        purpose: Purpose,
        place: Option<Place>,
    ) {
        let timeout = Instant::now() + Duration::from_millis(self.settings.call_timeout_ms);
        let id = self.in_flight.add(CallInFlight { offset, task: TaskSummary::of(&task), purpose, place }, timeout);
        slot.send(Call { id, task, purpose });
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(calls) => self.calls = Some(calls),
            Event::Answer { call_id, answer } => self.on_answer(call_id, answer),
            Event::TooLate { call_id } => {
                if let Some(call) = self.take_call(call_id) {
                    let movement =
                        not_sent("its time to be sent passed before the transport took it", &call.task.subject);
                    self.report(Some(call.offset), &call.task, movement);
                }
            }
            Event::Disconnected => {
                self.calls = None;
                for call_id in self.in_flight.ids() {
                    self.on_no_answer(call_id, "the connection broke before the answer");
                }
            }
        }
    }

    fn on_answer(&mut self, call_id: u64, answer: BackendAnswer) {
        if let Some(call) = self.take_call(call_id) {
            self.lane(&call.task).answered();
            let movement = outcome(answer, call.purpose, &call.task.subject);
            let took_effect = took_effect(&movement);
            self.report(Some(call.offset), &call.task, movement);
            self.in_flight.remember(call_id, FinishedCall { task: call.task, purpose: call.purpose, took_effect });
        } else if let Some(finished) = self.in_flight.finished(call_id) {
            // An answer that repeats the first one is ignored. A late answer, or one that differs
            // from the first, is reported.
            let movement = outcome(answer, finished.purpose, &finished.task.subject);
            let took_effect = took_effect(&movement);
            if took_effect.is_some() && took_effect != finished.took_effect {
                finished.took_effect = took_effect;
                let task = finished.task.clone();
                info!(trade_no = %task.trade_no, "an answer arrived after the call's time-out, or differs from the first");
                self.report(None, &task, movement);
            }
        }
    }

    /// Ends a call, and gives its place in the lane back.
    fn take_call(&mut self, call_id: u64) -> Option<CallInFlight> {
        let mut call = self.in_flight.take(call_id)?;
        call.place = None;
        Some(call)
    }

    /// When the next call times out, or the next queued transfer may not be sent any more.
    pub(super) fn next_timeout(&mut self) -> Option<Instant> {
        let expiry = self.queue.next_send_by().map(|send_by| {
            let left_ms = send_by.plus(1).since(self.clock.now()).max(1).cast_unsigned();
            Instant::now() + Duration::from_millis(left_ms)
        });
        self.in_flight.next_timeout().into_iter().chain(expiry).min()
    }

    pub(super) fn on_timeout(&mut self) {
        for call_id in self.in_flight.timed_out(Instant::now()) {
            self.on_no_answer(call_id, "no answer in time");
        }
    }

    fn on_no_answer(&mut self, call_id: u64, why: &str) {
        if let Some(call) = self.take_call(call_id) {
            self.lane(&call.task).failed(self.clock.now());
            self.report_unknown(call.offset, &call.task, why);
            self.in_flight
                .remember(call_id, FinishedCall { task: call.task, purpose: call.purpose, took_effect: None });
        }
    }

    /// The lane of the task's issuer, with the limits that the task brings.
    fn lane(&self, task: &TaskSummary) -> Arc<Lane> {
        self.settings.lanes.of(task.issuer, task.limits)
    }

    fn report_not_sent(&mut self, offset: Offset, task: &Task, why: &str) {
        let task = TaskSummary::of(task);
        let movement = not_sent(why, &task.subject);
        self.report(Some(offset), &task, movement);
    }

    fn report_unknown(&mut self, offset: Offset, task: &TaskSummary, why: &str) {
        self.report(Some(offset), task, unknown(why, &task.subject));
    }

    /// Writes an outcome to the order's shard; `offset` is the task's, if this finishes it.
    fn report(&mut self, offset: Option<Offset>, task: &TaskSummary, movement: MovementOutcome) {
        let outcome = Outcome { key: task.key.clone(), task: task.id, movement };
        let entry = Entry::plain(encode_outcome(self.clock.now(), &outcome));
        self.outcomes.add(task.id.shard, entry, offset);
    }
}
