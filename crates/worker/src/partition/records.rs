//! Handles each record that the holder reads from its partition.

use tracing::info;
use twqr_consumer::task_mark;
use twqr_journal::{Offset, Record};
use twqr_order::{HoldRecord, PROTOCOL_VERSION_NEWEST, Task, TaskKind};
use twqr_wire::{
    convert::{TaskRecord, decode_task_record_with_hops},
    trace::TraceId,
};

use super::{Ended, Holder, Stage, transfer_queue::Transfer};
use crate::error::Error;

impl Holder {
    pub(super) fn on_record(&mut self, record: Record) -> Result<(), Error> {
        let offset = record.offset;
        let payload = record.entry.value.unwrap_or_default();
        let (record, hops) = match decode_task_record_with_hops(payload.clone()) {
            Ok(decoded) => decoded,
            Err(fault) => {
                self.read.read(offset, false);
                self.dead_letters.write(self.partition, offset, &payload, fault);
                return Ok(());
            }
        };
        self.read.note_witness(offset, task_mark(&record));
        let is_after_claim = offset > self.holding.own();
        let hold = match record {
            TaskRecord::Task(task) => {
                if let Some(times) = hops {
                    self.hops.begin(offset, times, self.clock.now_us());
                }
                return self.on_task(offset, *task);
            }
            TaskRecord::Hold(hold) => hold,
        };
        match hold {
            HoldRecord::Claim { replaces, .. } if is_after_claim && self.holding.is_superseded_by(replaces) => {
                self.stage = Stage::Ending(Ended::Superseded);
            }
            // Another worker has found that a later claim of its own counts, so this one stops.
            HoldRecord::Alive(alive) if alive.claim > self.holding.own() && alive.has_judged_claim() => {
                self.stage = Stage::Ending(Ended::Superseded);
            }
            HoldRecord::Release { claim } if claim == self.holding.own() => {
                self.read.read(offset, false);
                self.stage = Stage::Ending(Ended::Released);
            }
            HoldRecord::Intent(by)
                if is_after_claim && self.stage == Stage::Working && self.held.signs.is_other(&by) =>
            {
                info!(partition = %self.partition, by = %by.name, "another worker wants the partition");
                self.read.read(offset, false);
                self.release();
            }
            HoldRecord::Claim { .. } | HoldRecord::Release { .. } => self.read.read(offset, false),
            HoldRecord::Doubt(by) => {
                if is_after_claim && self.held.signs.is_other(&by) {
                    self.held.signs.answer_doubt();
                }
                self.read.read_sign(offset);
            }
            HoldRecord::Intent(_) | HoldRecord::Alive(_) => self.read.read_sign(offset),
        }
        Ok(())
    }

    /// The trace of a task in hand, for log lines.
    pub(super) fn trace_id(&self, offset: Offset, task: &Task) -> TraceId {
        TraceId::of_record(self.hops.of(offset).and_then(|times| times.trace), &task.key)
    }

    /// Fails at a task that this build may misread: it is not counted as read.
    fn on_task(&mut self, offset: Offset, task: Task) -> Result<(), Error> {
        if task.protocol_version > PROTOCOL_VERSION_NEWEST {
            return Err(Error::NewerProtocol(task.protocol_version));
        }
        self.held.signs.note_protocol(task.protocol_version);
        self.read.read(offset, true);
        let is_fresh = self.read.note_identity(task.id) && self.holding.owns(offset);
        self.settings.lanes.of(task.issuer, task.limits).metrics().task(is_fresh);
        match &task.kind {
            TaskKind::Charge(_) | TaskKind::Refund(_) if is_fresh || task.is_idempotent => {
                self.send(Transfer { offset, task, is_fresh });
            }
            TaskKind::Reverse(_) if is_fresh => self.send(Transfer { offset, task, is_fresh }),
            TaskKind::Charge(_) | TaskKind::Refund(_) | TaskKind::Reverse(_) => {
                info!(trace_id = %self.trace_id(offset, &task), trade_no = %task.trade_no, offset, "the task may have been sent before; inquiring instead");
                self.inquire(offset, task);
            }
            TaskKind::Inquire(_) => self.inquire(offset, task),
        }
        Ok(())
    }
}
