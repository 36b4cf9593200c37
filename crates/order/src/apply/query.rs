//! Query: the order as it is at this record; with watch, also every change from here on, until
//! nothing of it is in progress, or longer.

use super::{Applied, Scene, Step, subscribe};
use crate::{Order, Query, ReplyBody, Subscriber, WaitsFor};

pub(super) fn apply(order: Option<&mut Order>, query: &Query, mut scene: Scene<'_>) -> Applied {
    let to = query.reply_to;
    let mut applied = Applied { step: Step::Queried, changed: false };
    let Some(order) = order else {
        scene.out.reply(to, false, ReplyBody::NotFound);
        return applied;
    };
    let at_rest = order.is_at_rest();
    // To a refund that has ended nothing can come any more.
    let keep = query.keep && order.as_payment().is_some();
    if let Some(subscribers) = order.subscribers().filter(|_| query.watch && (!at_rest || keep)) {
        let waits_for = if keep { WaitsFor::Everything } else { WaitsFor::Rest };
        let subscriber = Subscriber { to, repeat: false, waits_for };
        applied.changed = subscribe(subscribers, subscriber, scene.at);
        if !applied.changed {
            scene.out.reply(to, false, ReplyBody::TooManyWatchers);
            return applied;
        }
    }
    scene.out.reply(to, false, ReplyBody::Order);
    applied
}
