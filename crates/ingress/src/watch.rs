//! WatchOrder: the order's state now and every change after it, until nothing of it is in progress,
//! nobody listens, or the service shuts down. A watch is a lease at the router that is renewed
//! while it lasts.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tonic::Status;
use twqr_service::{CancellationToken, Clock};
use twqr_types::OrderKey;
use twqr_wire::{
    bus::{ReplyRecord, reply_record::Body},
    convert::encode_watch,
    pos::{InquiryType, QueryResponse, WatchOrderResponse},
};

use crate::{
    answers::{is_at_rest, no_such_order, query_response},
    desk::{Desk, Waiting},
    refusals,
};

/// How long one watch lasts before it is renewed, in ms.
pub(crate) const LEASE_MS: u64 = 60_000;
/// How many changes a slow watcher may be behind.
pub(crate) const BEHIND_MAX: usize = 16;

pub(crate) type Watched = Result<WatchOrderResponse, Status>;

/// One watch.
pub(crate) struct Watch {
    pub(crate) key: OrderKey,
    pub(crate) inquiry_type: InquiryType,
    /// Goes on after final states.
    pub(crate) keep: bool,
    pub(crate) waiting: Waiting,
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) changes: mpsc::Sender<Watched>,
    pub(crate) shutdown: CancellationToken,
}

#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Next {
    Reply(Option<ReplyRecord>),
    Renew,
    End,
}

impl Watch {
    /// Sends changes until there are no more.
    pub(crate) async fn run(mut self) {
        let mut last = None;
        loop {
            self.waiting.reply_to.until = self.clock.now().plus(i64::try_from(LEASE_MS).unwrap_or(i64::MAX));
            let lease = encode_watch(self.clock.now(), &self.key, self.waiting.reply_to, self.keep);
            if let Err(error) = self.desk.append(&self.key, lease).await {
                drop(self.changes.send(Err(refusals::not_accepted(&error))).await);
                return;
            }
            let renew = tokio::time::sleep(Duration::from_millis(LEASE_MS / 2));
            tokio::pin!(renew);
            loop {
                let next = tokio::select! {
                    () = self.changes.closed() => Next::End,
                    () = self.shutdown.cancelled() => {
                        drop(self.changes.try_send(Err(refusals::shutting_down())));
                        Next::End
                    }
                    () = &mut renew => Next::Renew,
                    reply = self.waiting.replies.recv() => Next::Reply(reply),
                };
                match next {
                    Next::End => return,
                    Next::Renew => break,
                    Next::Reply(reply) => {
                        if self.tell(reply, &mut last).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Tells a change once; true if it was the last.
    async fn tell(&self, reply: Option<ReplyRecord>, last: &mut Option<QueryResponse>) -> bool {
        let (order, ends) = match reply.and_then(|reply| reply.body) {
            Some(Body::Order(order)) => {
                let response = query_response(order.clone(), self.inquiry_type, self.desk.in_progress_code());
                // An order of the other kind is none.
                let may_change = self.keep && self.inquiry_type == InquiryType::Payment;
                let ends = (is_at_rest(&order) && !may_change) || response.order_status.is_none();
                (Ok(response), ends)
            }
            Some(Body::NotFound(_)) => (Ok(no_such_order()), true),
            Some(Body::TooManyWatchers(_)) => (Err(refusals::too_many_watchers()), true),
            Some(Body::Conflict(_) | Body::KeyRefused(_) | Body::Forget(_) | Body::RulesChanged(_)) | None => {
                (Err(refusals::no_answer()), true)
            }
        };
        if order.as_ref().ok() == last.as_ref() && !ends {
            return false;
        }
        *last = order.as_ref().ok().cloned();
        let told = self.changes.send(order.map(|order| WatchOrderResponse { order: Some(order) })).await;
        ends || told.is_err()
    }
}
