//! Due: the time has come to ask the issuer about an order in progress.

use super::{Applied, IGNORED, Scene, Step, changed};
use crate::{ASKING_MS_MAX, Effect, Payment, Phase, Task, TaskKind};

pub(super) fn apply(payment: &mut Payment, mut scene: Scene<'_>) -> Applied {
    let ripe = match &payment.phase {
        Phase::Unresolved { next_check } => scene.at >= *next_check,
        Phase::Paying { .. } => scene.at >= payment.absent_after,
        // Its inquiry has had no outcome for so long that none will come.
        Phase::Asking { .. } => scene.at >= payment.changed_at.plus(ASKING_MS_MAX),
        Phase::Paid(_) | Phase::Failed(_) => false,
    };
    let (true, Some(issuer)) = (ripe, payment.issuer) else { return IGNORED };
    let id = scene.out.next_id();
    payment.inquiries = payment.inquiries.saturating_add(1);
    payment.phase = Phase::Asking { task: id };
    payment.changed_at = scene.at;
    scene.out.emit(Effect::Task(Task {
        id,
        key: payment.key.clone(),
        trade_no: payment.trade_no,
        issuer,
        send_by: payment.send_by,
        absent_after: payment.absent_after,
        kind: TaskKind::Inquire,
    }));
    changed(Step::Asked)
}
