//! WatchOrder: the state now and every change after it, until the first final state. The router tells changes for the time of a
//! lease; the watch renews it for as long as the caller listens.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tonic::{Request, Status};
use twqr_types::OrderKey;
use twqr_wire::pos;

use crate::{
    answer,
    core::Core,
    correlation::Ticket,
    deadline,
    gate::Pass,
    parse::{self, Inquiry},
    refusal::Refusal,
    reply::{Answer, Reply, is_final},
};

/// What the caller reads.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<pos::WatchOrderResponse, Status>> + Send>>;

/// One open stream.
struct Watch {
    core: Arc<Core>,
    key: OrderKey,
    ticket: Ticket,
    replies: mpsc::Receiver<Reply>,
    renew_at: Instant,
    ends_at: Instant,
    /// The identity of the newest answer that was looked at.
    newest: Option<(u64, u32)>,
    told: Option<pos::QueryResponse>,
    over: bool,
    _pass: Pass,
}

/// Opens a stream; it begins with the state now.
pub(crate) async fn watch(core: Arc<Core>, request: Request<pos::WatchOrderRequest>) -> Result<WatchStream, Refusal> {
    let _call = core.calls.enter().ok_or(Refusal::TooManyCalls)?;
    let deadline = deadline::deadline(request.metadata(), &core.settings);
    let (inquiry, key) = parse::watch(request.into_inner()).map_err(Refusal::Invalid)?;
    if inquiry == Inquiry::Refund {
        let only = pos::WatchOrderResponse { order: Some(answer::no_such_order()) };
        return Ok(Box::pin(stream::iter([Ok(only)])));
    }
    let pass = core.watches.enter().ok_or(Refusal::TooManyWatches)?;
    let mut watch = Watch::open(Arc::clone(&core), key, pass);
    let first = watch.first(deadline).await?;
    let changes = stream::unfold(watch, |mut watch| async {
        let item = watch.next().await?;
        Some((item.map_err(Status::from), watch))
    });
    Ok(Box::pin(futures::StreamExt::chain(stream::iter([Ok(first)]), changes)))
}

impl Watch {
    fn open(core: Arc<Core>, key: OrderKey, pass: Pass) -> Self {
        let (ticket, replies) = core.table.await_every();
        let now = Instant::now();
        let ends_at = now + core.settings.watch_for_max;
        Self {
            key,
            ticket,
            replies,
            renew_at: now,
            ends_at,
            newest: None,
            told: None,
            over: false,
            _pass: pass,
            core,
        }
    }

    /// Takes the lease and waits for the state now.
    async fn first(&mut self, deadline: Instant) -> Result<pos::WatchOrderResponse, Refusal> {
        let mut sent = self.renew();
        loop {
            let reply = tokio::select! {
                biased;
                Some(reply) = self.replies.recv() => reply,
                refusal = sent.refused(&self.key) => return Err(refusal),
                () = sleep_until(deadline) => return Err(Refusal::NoAnswerInTime),
            };
            if let Some(first) = self.take(reply) {
                return first;
            }
        }
    }

    /// The next change, or none after the end.
    async fn next(&mut self) -> Option<Result<pos::WatchOrderResponse, Refusal>> {
        while !self.over {
            let shutdown = self.core.shutdown.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Some(self.end(Refusal::ShuttingDown)),
                Some(reply) = self.replies.recv() => if let Some(change) = self.take(reply) {
                    return Some(change);
                },
                () = sleep_until(self.renew_at.min(self.ends_at)) => {
                    if Instant::now() >= self.ends_at {
                        return Some(self.end(Refusal::WatchedTooLong));
                    }
                    // A renewal that fails is tried again at the next one, while the lease may still hold.
                    drop(self.renew());
                }
            }
        }
        None
    }

    fn renew(&mut self) -> crate::orders::Sent {
        let now = Instant::now();
        let lease = self.core.settings.watch_lease;
        self.renew_at = now + lease / 2;
        self.core.orders.query(&self.key, self.ticket.correlation(), now + lease, true)
    }

    /// What the caller is told of an answer: nothing of an old or an equal one.
    fn take(&mut self, reply: Reply) -> Option<Result<pos::WatchOrderResponse, Refusal>> {
        if self.newest.is_some_and(|newest| reply.at <= newest) {
            return None;
        }
        self.newest = Some(reply.at);
        let order = match reply.answer {
            Answer::Order(payment) => {
                self.over = is_final(&payment);
                answer::query_response(*payment, &self.core.settings.in_progress_code)
            }
            Answer::NotFound => {
                self.over = true;
                answer::no_such_order()
            }
            Answer::TooManyWatchers => return Some(self.end(Refusal::TooManyWatchers)),
            Answer::Conflict(_) => return None,
        };
        if self.told.as_ref() == Some(&order) {
            return None;
        }
        self.told = Some(order.clone());
        Some(Ok(pos::WatchOrderResponse { order: Some(order) }))
    }

    fn end<T>(&mut self, refusal: Refusal) -> Result<T, Refusal> {
        self.over = true;
        Err(refusal)
    }
}
