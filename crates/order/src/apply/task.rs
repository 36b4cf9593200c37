//! The tasks of a payment: which issuer to call, until when, and within which limits.

use twqr_types::Issuer;

use super::ApplyContext;
use crate::{Effect, IssuerRules, Movement, Payment, Subject, Task, TaskKind};

impl ApplyContext<'_> {
    /// Starts a movement of this payment, and emits its task.
    pub(super) fn begin<A>(&mut self, payment: &Payment, rules: &IssuerRules, kind: TaskKind) -> Movement<A> {
        let is_idempotent = match &kind {
            TaskKind::Charge(_) => rules.idempotent_charges,
            TaskKind::Refund(_) => rules.idempotent_refunds,
            TaskKind::Reverse(_) | TaskKind::Inquire(_) => false,
        };
        let movement = self.begin_movement(rules, is_idempotent);
        self.emit_task(payment, &movement, rules, kind);
        movement
    }

    /// Starts a movement whose task is the next effect: [`Self::emit_task`] must follow at once.
    /// `is_idempotent` says whether the issuer's rules call it so.
    pub(super) fn begin_movement<A>(&self, rules: &IssuerRules, is_idempotent: bool) -> Movement<A> {
        let send_within_ms = self.rules.policy.map_or(0, |policy| policy.send_within_ms);
        let movement = Movement::begin(self.out.next_id(), self.at, send_within_ms, rules.resolution.window_ms);
        Movement { is_idempotent: is_idempotent && self.protocol_version() >= 1, ..movement }
    }

    /// Emits an inquiry about a movement of this payment.
    pub(super) fn emit_inquiry<A>(
        &mut self,
        payment: &Payment,
        movement: &Movement<A>,
        rules: &IssuerRules,
        subject: Subject,
    ) {
        self.emit_task(payment, movement, rules, TaskKind::Inquire(subject));
    }

    /// Emits the task of a movement.
    pub(super) fn emit_task<A>(
        &mut self,
        payment: &Payment,
        movement: &Movement<A>,
        rules: &IssuerRules,
        kind: TaskKind,
    ) {
        self.out.emit(Effect::Task(Task {
            id: self.out.next_id(),
            key: payment.key.clone(),
            trade_no: payment.trade_no,
            issuer: payment.issuer.unwrap_or(Issuer::Wallet),
            send_by: movement.send_by,
            absent_after: movement.absent_after,
            limits: rules.limits,
            is_idempotent: movement.is_idempotent && !matches!(kind, TaskKind::Inquire(_)),
            protocol_version: self.protocol_version(),
            kind,
        }));
    }
}
