//! Query: the order as it is at this record; with watch, also every change from here on.

use super::{Applied, Scene, Step};
use crate::{Payment, Query, ReplyBody, Subscriber};

pub(super) fn apply(order: Option<&mut Payment>, query: &Query, mut scene: Scene<'_>) -> Applied {
    let to = query.reply_to;
    let mut applied = Applied { step: Step::Queried, changed: false };
    let Some(payment) = order else {
        scene.out.reply(to, false, ReplyBody::NotFound);
        return applied;
    };
    if query.watch && !payment.phase.is_final() {
        applied.changed = payment.subscribe(Subscriber { to, repeat: false }, scene.at);
        if !applied.changed {
            scene.out.reply(to, false, ReplyBody::TooManyWatchers);
            return applied;
        }
    }
    scene.out.reply(to, false, ReplyBody::Order);
    applied
}
