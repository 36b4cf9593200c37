//! The vocabulary of the tables' cases: what they do and what they see. Every order belongs to
//! merchant M, and is named by its number.

use twqr_types::{RawPay, ShardId, TradeNo, UnixMs};

use super::{
    fixtures::{pay_form, raw_pay, raw_refund, refund_form},
    world::{World, key},
};
use crate::{
    Approval, CancelRequest, CancelStage, Command, EffectId, Failure, MovementOutcome, Order, Outcome, Pay, Payment,
    Phase, Query, Refund, RefundApproval, RefundPhase, RefundRequest, Reply, ReplyBody, ReplyTo, Reserve,
    ReversalApproval, Step, Subject, Task, TaskKind, TaskResult,
};

impl World {
    /// A new caller, who waits for 12 s.
    pub(super) fn next_caller(&mut self) -> ReplyTo {
        self.caller += 1;
        ReplyTo { partition: 0, correlation: self.caller, until: UnixMs(self.at.saturating_add(12_000)) }
    }

    pub(super) fn pay(&mut self, number: &str, code: &str, amount: i64) -> Step {
        self.pay_as(raw_pay(number, code, amount))
    }

    pub(super) fn pay_as(&mut self, raw: RawPay) -> Step {
        let reply_to = Some(self.next_caller());
        self.append(Command::Pay(Box::new(Pay { form: pay_form(raw), reply_to }))).step
    }

    /// A payment that is paid at once.
    pub(super) fn paid(&mut self, number: &str, code: &str, amount: i64) {
        assert_eq!(self.pay(number, code, amount), Step::Accepted);
        assert_eq!(self.charged(number, super::fixtures::approved(amount)), Step::Paid);
    }

    pub(super) fn cancel(&mut self, number: &str, code: &str, amount: i64) -> Step {
        self.cancel_as(raw_pay(number, code, amount))
    }

    pub(super) fn cancel_as(&mut self, raw: RawPay) -> Step {
        let reply_to = Some(self.next_caller());
        self.append(Command::Cancel(Box::new(CancelRequest { form: pay_form(raw), reply_to }))).step
    }

    /// A refund of this payment; the payment decides at once.
    pub(super) fn refund(&mut self, number: &str, payment: &str, amount: i64) -> Step {
        let step = self.refund_number(number, self.payment(payment).trade_no, amount);
        self.settle_forwards();
        step
    }

    /// A refund request that does not reach its payment yet.
    pub(super) fn refund_number(&mut self, number: &str, payment: TradeNo, amount: i64) -> Step {
        let reply_to = Some(self.next_caller());
        let form = refund_form(raw_refund(number, payment, amount));
        self.append(Command::Refund(Box::new(RefundRequest { form, reply_to }))).step
    }

    /// The record with which a refund under this number would ask its payment.
    pub(super) fn refund_reserve(&self, number: &str, payment: &str, amount: i64) -> Command {
        let payment = self.payment(payment).trade_no;
        let form = refund_form(raw_refund(number, payment, amount));
        Command::Reserve(Box::new(Reserve {
            payment,
            refund: key(number),
            trade_no: TradeNo::new(ShardId(0), 1_000_000, UnixMs(self.at)),
            amount: form.trade_amount,
            store_id: form.store_id,
            store_name: form.store_name,
            pos_id: form.pos_id,
            remark: form.remark,
        }))
    }

    pub(super) fn query(&mut self, number: &str, watch: bool) -> Step {
        let reply_to = self.next_caller();
        self.append(Command::Query(Query { key: key(number), reply_to, watch, keep: false })).step
    }

    /// A watch that continues after the order is at rest.
    pub(super) fn watch_for_ever(&mut self, number: &str) -> Step {
        let reply_to = self.next_caller();
        self.append(Command::Query(Query { key: key(number), reply_to, watch: true, keep: true })).step
    }

    /// Lets `later` ms pass, and appends a Due record.
    pub(super) fn due(&mut self, number: &str, later: i64) -> Step {
        self.at += later;
        self.append(Command::Due(key(number))).step
    }

    /// Lets time pass until the order is due, and acts on it.
    pub(super) fn due_in_time(&mut self, number: &str) -> Step {
        let due = self.order(number).unwrap().due_at().expect("it has a next check time");
        self.due(number, (due.0 - self.at).max(0))
    }

    pub(super) fn outcome(&mut self, number: &str, task: EffectId, movement: MovementOutcome) -> Step {
        let step = self.append(Command::Outcome(Box::new(Outcome { key: key(number), task, movement }))).step;
        self.settle_forwards();
        step
    }

    /// Reports the result of the newest task about the charge.
    pub(super) fn charged(&mut self, number: &str, result: TaskResult<Approval>) -> Step {
        let task = self.tasks_about(number, &Subject::Charge).last().expect("a task about the charge").id;
        self.outcome(number, task, MovementOutcome::Charge(result))
    }

    /// Reports the result of the newest task about this refund.
    pub(super) fn refunded(&mut self, number: &str, refund: &str, result: TaskResult<RefundApproval>) -> Step {
        let task = self.tasks_about(number, &self.subject(refund)).last().expect("a task about the refund").id;
        self.outcome(number, task, MovementOutcome::Refund(key(refund).merchant_trade_no, result))
    }

    /// Reports the result of the newest task about the reversal.
    pub(super) fn reversed(&mut self, number: &str, result: TaskResult<ReversalApproval>) -> Step {
        let task = self.tasks_about(number, &Subject::Reversal).last().expect("a task about the reversal").id;
        self.outcome(number, task, MovementOutcome::Reversal(result))
    }

    fn subject(&self, refund: &str) -> Subject {
        Subject::Refund { number: key(refund).merchant_trade_no, trade_no: self.refund_order(refund).trade_no }
    }

    /// Every task about one movement, the oldest first.
    pub(super) fn tasks_about(&self, number: &str, subject: &Subject) -> Vec<&Task> {
        let of = |task: &&Task| task.key == key(number) && subject_of(&task.kind) == *subject;
        self.tasks.iter().filter(of).collect()
    }

    pub(super) fn payment(&self, number: &str) -> &Payment {
        self.order(number).and_then(Order::as_payment).expect("a payment under this number")
    }

    pub(super) fn refund_order(&self, number: &str) -> &Refund {
        match self.order(number) {
            Some(Order::Refund(refund)) => refund,
            other => panic!("no refund under {number}: {other:?}"),
        }
    }

    /// The state of the charge: `done`, `open`, or the failure's StatusCode.
    pub(super) fn charge(&self, number: &str) -> String {
        phase_state(&self.payment(number).charge.phase)
    }

    /// The state of the refund, by its own order.
    pub(super) fn refund_state(&self, number: &str) -> String {
        match &self.refund_order(number).phase {
            RefundPhase::Requested { .. } => "open".into(),
            RefundPhase::Succeeded(_) => "done".into(),
            RefundPhase::Failed(failure) => failure.status_code.to_string(),
        }
    }

    /// The state of the cancel: `none`, `waiting` (blocked), `again` (to be retried), `nothing` (to
    /// reverse), or the state of its reversal.
    pub(super) fn cancelled(&self, number: &str) -> String {
        match self.payment(number).cancel.as_ref().map(|cancel| &cancel.stage) {
            None => "none".into(),
            Some(CancelStage::Blocked) => "waiting".into(),
            Some(CancelStage::Retry { .. }) => "again".into(),
            Some(CancelStage::NothingToReverse) => "nothing".into(),
            Some(CancelStage::Reversing(reversal)) => phase_state(&reversal.phase),
        }
    }

    /// Every task of the payment, the oldest first, such as `charge:100 ask-charge refund:R:30
    /// reverse:70`.
    pub(super) fn sent(&self, number: &str) -> String {
        let of = self.tasks.iter().filter(|task| task.key == key(number));
        of.map(|task| task_text(&task.kind)).collect::<Vec<_>>().join(" ")
    }

    /// The replies to the last caller, the oldest first: `order`, with `rep` for a repeat, `not
    /// found`, `full`, `key refused`, or the fields that differ.
    pub(super) fn received(&self) -> String {
        self.replies_to(self.caller)
    }

    pub(super) fn replies_to(&self, caller: u64) -> String {
        let of = self.replies.iter().filter(|reply| reply.to.correlation == caller);
        of.map(reply_text).collect::<Vec<_>>().join(", ")
    }
}

fn phase_state<A>(phase: &Phase<A>) -> String {
    match phase {
        Phase::Done(_) => "done".into(),
        Phase::Failed(Failure { status_code, .. }) => status_code.to_string(),
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => "open".into(),
    }
}

/// The movement that a task is about.
pub(super) fn subject_of(kind: &TaskKind) -> Subject {
    match kind {
        TaskKind::Charge(_) => Subject::Charge,
        TaskKind::Refund(call) => Subject::Refund { number: call.number.clone(), trade_no: call.trade_no },
        TaskKind::Reverse(_) => Subject::Reversal,
        TaskKind::Inquire(subject) => subject.clone(),
    }
}

fn task_text(kind: &TaskKind) -> String {
    match kind {
        TaskKind::Charge(call) => format!("charge:{}", call.trade_amount.twd()),
        TaskKind::Refund(call) => format!("refund:{}:{}", call.number, call.trade_amount.twd()),
        TaskKind::Reverse(call) => format!("reverse:{}", call.amount),
        TaskKind::Inquire(Subject::Charge) => "ask-charge".into(),
        TaskKind::Inquire(Subject::Refund { number, .. }) => format!("ask-refund:{number}"),
        TaskKind::Inquire(Subject::Reversal) => "ask-reversal".into(),
    }
}

fn reply_text(reply: &Reply) -> String {
    let body = match &reply.body {
        ReplyBody::Order => "order".into(),
        ReplyBody::NotFound => "not found".into(),
        ReplyBody::TooManyWatchers => "full".into(),
        ReplyBody::KeyRefused => "key refused".into(),
        ReplyBody::Replayed => "replayed".into(),
        ReplyBody::Conflict(fields) => fields.iter().map(|field| field.pos_name()).collect::<Vec<_>>().join("+"),
    };
    if reply.repeat { format!("{body} rep") } else { body }
}
