//! WatchOrder: sends an order's present state and every later change. A watch ends when no answer
//! about the order can change any more, when the caller ends the call, or when the process shuts
//! down. At the router a watch is a lease, which this task renews, so that the watch ends even if
//! its ingress dies.

use std::time::Duration;

use tokio::sync::mpsc;
use twqr_access::{Access, Grant};
use twqr_callers::Operation;
use twqr_service::CancellationToken;
use twqr_types::OrderKey;
use twqr_wire::convert::{ReplyContent, ReplyRecord, encode_watch};

use crate::{
    answers::{InquiryAnswer, InquiryType, inquiry_answer, no_such_order},
    fairness::Use,
    pending_calls::PendingCall,
    refusal::Refusal,
    router_client::RouterClient,
};

/// How long the router keeps a watch that is not renewed, in ms. Half of that passes between two
/// renewals.
pub(crate) const LEASE_MS: u64 = 60_000;
/// How many changes are buffered for a caller that reads slowly.
pub(crate) const CHANGES_LEN_MAX: usize = 16;

/// A change of the order, or the reason for which the watch ends early.
pub(crate) type Change = Result<InquiryAnswer, Refusal>;

/// An open watch of one order.
pub(crate) struct Watch {
    pub(crate) key: OrderKey,
    pub(crate) inquiry_type: InquiryType,
    /// Whether the watch continues after final states.
    pub(crate) keep: bool,
    pub(crate) call: PendingCall,
    pub(crate) router: RouterClient,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) access: Access,
    /// The rights of the caller. Once its credential is no longer accepted, or it may not watch the
    /// order any more, the watch ends.
    pub(crate) grant: Grant,
    /// Its place among the watches of its caller; absent where every call is let in.
    pub(crate) _open: Option<Use>,
    /// Fires when the watch must end.
    pub(crate) leaving: CancellationToken,
}

/// The event that a watch waits for.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Event {
    /// A reply; absent if the call left too many replies unread.
    Reply(Option<ReplyRecord>),
    RenewalDue,
    End,
}

impl Watch {
    /// Sends changes until the watch ends.
    pub(crate) async fn run(mut self) {
        let mut last = None;
        let (access, grant) = (self.access.clone(), self.grant.clone());
        let credential_ended = access.ended(&grant);
        tokio::pin!(credential_ended);
        loop {
            let now = self.router.clock.now();
            self.call.reply_to.until = now.plus(i64::try_from(LEASE_MS).unwrap_or(i64::MAX));
            let lease = encode_watch(now, &self.key, self.call.reply_to, self.keep);
            if let Err(error) = self.router.append(&self.key, lease).await {
                drop(self.changes.send(Err(Refusal::not_accepted(&error))).await);
                return;
            }
            let renewal = tokio::time::sleep(Duration::from_millis(LEASE_MS / 2));
            tokio::pin!(renewal);
            loop {
                let event = tokio::select! {
                    () = self.changes.closed() => Event::End,
                    () = self.leaving.cancelled() => {
                        drop(self.changes.try_send(Err(Refusal::ShuttingDown)));
                        Event::End
                    }
                    refusal = &mut credential_ended => {
                        drop(self.changes.try_send(Err(refusal.into())));
                        Event::End
                    }
                    () = &mut renewal => Event::RenewalDue,
                    reply = self.call.replies.recv() => Event::Reply(reply),
                };
                match event {
                    Event::End => return,
                    Event::RenewalDue => break,
                    Event::Reply(reply) => {
                        if self.send(reply, &mut last).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Sends what a reply changed since `last`, if the caller may still watch the order. Returns
    /// true if the watch ends with it.
    async fn send(&self, reply: Option<ReplyRecord>, last: &mut Option<InquiryAnswer>) -> bool {
        let (change, is_last) = match reply.map(|reply| reply.content) {
            Some(ReplyContent::Order(order)) => {
                let answer = inquiry_answer(&order, self.inquiry_type, self.router.pending.in_progress_code());
                // Only a payment changes after its final states: by refunds, cancels and
                // contradictions.
                let may_change = self.keep && self.inquiry_type == InquiryType::Payment;
                let is_last = (!order.has_pending_answer() && !may_change) || answer.order.is_none();
                (Ok(answer), is_last)
            }
            Some(ReplyContent::NotFound) => (Ok(no_such_order()), true),
            Some(ReplyContent::TooManyWatchers) => (Err(Refusal::TooManyWatchers), true),
            Some(
                ReplyContent::Conflict(_)
                | ReplyContent::KeyRefused
                | ReplyContent::Replayed
                | ReplyContent::Forget(_)
                | ReplyContent::RulesChanged
                | ReplyContent::Empty,
            )
            | None => (Err(Refusal::NoAnswer), true),
        };
        if change.as_ref().ok() == last.as_ref() && !is_last {
            return false;
        }
        let merchant_id = self.key.merchant_id.as_str();
        if let Err(refusal) = self.access.check(&self.grant, Operation::Watch, merchant_id) {
            drop(self.changes.send(Err(refusal.into())).await);
            return true;
        }
        *last = change.as_ref().ok().cloned();
        let sent = self.changes.send(change).await;
        is_last || sent.is_err()
    }
}
