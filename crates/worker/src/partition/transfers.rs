//! Sends the holder's transfers: fresh ones, and those of idempotent movements that another worker
//! may have sent before (protocol rule P6). A transfer that cannot be sent is reported as not sent.
//! An idempotent transfer waits instead, and is then reported as unknown, since another worker may
//! send it too. A transfer whose card token is encrypted with a missing key waits for that key.

use twqr_card_keys::CannotOpen;
use twqr_journal::Offset;
use twqr_order::{Task, TaskKind};
use twqr_types::{SpendableToken, UnixMs};
use twqr_wire::hops::Hop;

use super::{
    Ended, Holder, QUEUED_TRANSFERS_MAX, Stage,
    in_flight::TaskSummary,
    transfer_queue::{QueuedTransfer, Transfer, WaitsFor},
};
use crate::{
    answer::not_sent,
    call::Purpose,
    lanes::{Admission, Place},
    obstacle::Obstacle,
};

impl Holder {
    /// Sends a transfer, lets it wait, or gives it up.
    pub(super) fn send(&mut self, transfer: Transfer) {
        let now = self.clock.now();
        if self.clock.is_skewed() {
            return self.give_up(transfer, Obstacle::WrongClock);
        }
        if now > transfer.task.send_by {
            return self.give_up(transfer, Obstacle::Late);
        }
        let lane = self.settings.lanes.of(transfer.task.issuer, transfer.task.limits);
        let admission = if self.calls.is_some() { lane.admit(now) } else { Admission::Refused(Obstacle::NoConnection) };
        match admission {
            Admission::Send(place) => self.transfer(transfer, place),
            Admission::Wait(place) => self.wait(transfer, WaitsFor::Place(place)),
            Admission::Refused(why) => match lane.take_queue_place().filter(|_| transfer.task.is_idempotent) {
                Some(place) => self.wait(transfer, WaitsFor::Place(place)),
                None => self.give_up(transfer, why),
            },
        }
    }

    fn wait(&mut self, transfer: Transfer, waits_for: WaitsFor) {
        if self.queue.len() < QUEUED_TRANSFERS_MAX {
            self.hops.enter(transfer.offset, Hop::WorkerWait);
            self.queue.push(QueuedTransfer { transfer, waits_for });
        } else {
            self.give_up(transfer, Obstacle::PartitionFull);
        }
    }

    /// Sends queued transfers while slots in flight are free, and those whose card key has arrived.
    /// A queued transfer that cannot be sent any more is given up.
    pub(super) fn send_queued(&mut self) {
        let now = self.clock.now();
        for key in self.queue.keys() {
            while let Some(queued) = self.queue.pop(&key) {
                if let Some(queued) = self.try_queued(queued, now) {
                    self.queue.push_front(queued);
                    break;
                }
            }
        }
    }

    /// Sends a queued transfer or gives it up; returns it if it must wait longer.
    fn try_queued(&mut self, queued: QueuedTransfer, now: UnixMs) -> Option<QueuedTransfer> {
        let task = &queued.transfer.task;
        let place = if matches!(self.stage, Stage::Ending(Ended::Superseded)) {
            self.give_up(queued.transfer, Obstacle::Superseded);
            return None;
        } else if self.clock.is_skewed() {
            self.give_up(queued.transfer, Obstacle::WrongClock);
            return None;
        } else if now > task.send_by {
            self.give_up(queued.transfer, queued.waits_for.when_late());
            return None;
        } else if let WaitsFor::CardKey(name) = &queued.waits_for {
            if !self.settings.card_keys.has_sealing(name) {
                return Some(queued);
            }
            self.send(queued.transfer);
            return None;
        } else if self.calls.is_none() {
            Err(Obstacle::ConnectionLost)
        } else {
            self.settings.lanes.of(task.issuer, task.limits).take_place(now)
        };
        match place {
            Ok(Some(in_flight)) => {
                drop(queued.waits_for);
                self.transfer(queued.transfer, in_flight);
            }
            Ok(None) => return Some(queued),
            Err(_) if task.is_idempotent => return Some(queued),
            Err(why) => self.give_up(queued.transfer, why),
        }
        None
    }

    fn transfer(&mut self, transfer: Transfer, place: Place) {
        let Transfer { offset, mut task, is_fresh } = transfer;
        if self.sent.contains(&task) {
            return self.inquire(offset, task);
        }
        let summary = TaskSummary::of(&task);
        if let Err(fault) = self.open_token(&mut task) {
            return self.keep_sealed(Transfer { offset, task, is_fresh }, &fault);
        }
        match self.reserve_call() {
            Ok(slot) => {
                if !is_fresh {
                    self.settings.lanes.of(task.issuer, task.limits).metrics().resent.increment(1);
                    tracing::info!(trace_id = %self.trace_id(offset, &task), trade_no = %task.trade_no, offset, "the task may have been sent before; sending it again");
                }
                self.sent.note(&task, self.clock.now());
                self.hand_over(slot, offset, (task, summary), Purpose::Transfer, Some(place));
            }
            Err(why) => self.give_up(Transfer { offset, task, is_fresh }, why),
        }
    }

    /// Opens the card token of a charge, just before it is sent.
    fn open_token(&self, task: &mut Task) -> Result<(), CannotOpen> {
        let TaskKind::Charge(charge) = &mut task.kind else { return Ok(()) };
        let SpendableToken::Sealed(sealed) = &charge.card_token else { return Ok(()) };
        let token = self.settings.card_keys.open(sealed, &task.key, self.clock.now())?;
        charge.card_token = SpendableToken::Clear(token);
        Ok(())
    }

    /// Lets a fresh charge wait whose key may still arrive here: only this holder may send it. Any
    /// other one whose token cannot be opened is given up.
    fn keep_sealed(&mut self, transfer: Transfer, fault: &CannotOpen) {
        let trace_id = self.trace_id(transfer.offset, &transfer.task);
        let trade_no = &transfer.task.trade_no;
        match fault {
            CannotOpen::MissingKey(name) if transfer.is_fresh => {
                tracing::warn!(%trace_id, %trade_no, %fault, "a charge waits for the key of its card token");
                self.wait(transfer, WaitsFor::CardKey(name.as_str().into()));
            }
            CannotOpen::MissingKey(_) => self.give_up(transfer, Obstacle::CardKeyMissing),
            CannotOpen::DestroyedKey(_) | CannotOpen::Forged => {
                tracing::error!(%trace_id, %trade_no, %fault, "a charge cannot be sent");
                self.give_up(transfer, Obstacle::SealedToken);
            }
        }
    }

    /// Reports a transfer that cannot be sent. This is evidence only if it is fresh and not
    /// idempotent, and the clock is right. One that another worker may have sent is inquired about.
    fn give_up(&mut self, transfer: Transfer, why: Obstacle) {
        let Transfer { offset, task, is_fresh } = transfer;
        self.settings.lanes.of(task.issuer, task.limits).metrics().not_made(Purpose::Transfer, why);
        let is_superseded = matches!(self.stage, Stage::Ending(Ended::Superseded));
        if !task.is_idempotent && !self.clock.is_skewed() {
            self.report_not_sent(offset, &task, why.text());
        } else if is_fresh || is_superseded {
            self.report_unknown(offset, &TaskSummary::of(&task), why.text());
        } else {
            self.inquire(offset, task);
        }
    }

    fn report_not_sent(&mut self, offset: Offset, task: &Task, why: &str) {
        let task = TaskSummary::of(task);
        let movement = not_sent(why, &task.subject);
        self.report(Some(offset), &task, movement);
    }
}
