//! One payment call. Only one of several equal calls asks the router at a time; the others share
//! its answer. A call without a result at its deadline is answered as in progress, never as failed.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};
use twqr_order::Order;
use twqr_types::PayForm;
use twqr_wire::convert::{ReplyContent, ReplyRecord, encode_pay};

use crate::{
    admission::Priority,
    answers::{PaymentAnswer, payment_answer, unconfirmed_payment},
    metrics::{self, RepeatAnswer},
    refusal::Refusal,
    repeats::{First, FirstState, Repeats, Turn},
    router_client::{Caller, OrderView, RouterClient},
};

/// A payment call from its arrival to its answer.
pub(crate) struct PayCall<'a> {
    pub(crate) router: &'a RouterClient,
    pub(crate) repeats: &'a Arc<Repeats>,
    pub(crate) form: PayForm,
    pub(crate) caller: Caller,
}

/// The order in the newest reply, if one has arrived; it has no result yet.
type Latest = Option<OrderView>;

impl PayCall<'_> {
    /// Waits for the answer, at most until the caller's deadline.
    pub(crate) async fn run(self) -> Result<PaymentAnswer, Refusal> {
        // Its nonce must be in the log, so it is never answered from memory.
        if self.caller.nonce.is_some() {
            return self.request(None, None).await;
        }
        let mut latest = None;
        loop {
            match self.repeats.turn(&self.form, self.caller.signed_by.as_ref()) {
                Turn::First(first) => return self.request(Some(first), latest).await,
                Turn::Different => return self.request(None, latest).await,
                Turn::Repeat(first) => {
                    if let Some(answer) = self.follow(first, &mut latest).await {
                        return Ok(answer);
                    }
                    // The first call was abandoned: this one may be the next to ask the router.
                    if Instant::now() >= self.caller.deadline {
                        return Ok(self.in_progress(latest));
                    }
                }
            }
        }
    }

    /// Waits for the answer of the first call. Returns `None` if that call ended without one, with
    /// the order as last seen in `latest`.
    async fn follow(&self, mut first: watch::Receiver<FirstState>, latest: &mut Latest) -> Option<PaymentAnswer> {
        let mut how = RepeatAnswer::Cached;
        loop {
            match first.borrow_and_update().clone() {
                FirstState::Final(view) => {
                    metrics::repeat(how);
                    return Some(self.answer(&view.into_repeat()));
                }
                FirstState::Abandoned => return None,
                FirstState::Pending(view) => {
                    *latest = view.map(OrderView::into_repeat).or(latest.take());
                }
            }
            how = RepeatAnswer::Joined;
            let since = Instant::now();
            let changed = tokio::time::timeout_at(self.caller.deadline, first.changed()).await;
            if let Some(hops) = &self.caller.hops {
                hops.followed(since);
            }
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(self.in_progress(latest.take())),
            }
        }
    }

    /// Asks the router, and shares its replies through `first`.
    async fn request(&self, first: Option<First>, mut latest: Latest) -> Result<PaymentAnswer, Refusal> {
        let (router, caller) = (self.router, &self.caller);
        // A refusal means that nothing was accepted, which is false once a reply has shown the
        // order.
        let is_accepted = latest.is_some() || first.as_ref().is_some_and(First::is_accepted);
        let priority = if is_accepted { Priority::Accepted } else { Priority::New };
        let form = match router.protect_payment(&self.form) {
            Err(_) if latest.is_some() => return Ok(self.in_progress(latest)),
            form => form?,
        };
        let mut call = match router.open_call(&self.form.key, priority, caller.deadline) {
            Err(_) if latest.is_some() => return Ok(self.in_progress(latest)),
            call => call?,
        };
        let record = encode_pay(router.stamp(caller), &form, Some(call.reply_to));
        if let Err(error) = router.submit(&call, &self.form.key, record, caller).await {
            return if latest.is_some() { Ok(self.in_progress(latest)) } else { Err(Refusal::not_accepted(&error)) };
        }
        if let Some(first) = &first {
            first.appended();
        }
        while let Some(reply) = router.next_reply(&mut call, caller).await {
            let ReplyRecord { content, repeat, in_progress_code, .. } = reply;
            match content {
                ReplyContent::Order(order) => {
                    let view = OrderView::new(order, repeat, in_progress_code);
                    if view.order.has_result() {
                        let answer = self.answer(&view);
                        // While the payment is being reversed, the next caller may get another
                        // answer, so this one is not remembered.
                        if let Some(first) = first.filter(|_| !view.order.has_cancel()) {
                            first.finish(view);
                        }
                        return Ok(answer);
                    }
                    if let Some(first) = &first {
                        first.update(&view);
                    }
                    latest = Some(view);
                }
                ReplyContent::KeyRefused => return Err(Refusal::KeyRefused),
                ReplyContent::Replayed => return Err(Refusal::Replayed),
                ReplyContent::Conflict(fields) => return Err(Refusal::Conflict(fields)),
                ReplyContent::NotFound
                | ReplyContent::TooManyWatchers
                | ReplyContent::Forget(_)
                | ReplyContent::RulesChanged
                | ReplyContent::Empty => {}
            }
        }
        Ok(self.in_progress(latest))
    }

    /// The answer about the order, with the echoes of this request and not of the first one.
    fn answer(&self, view: &OrderView) -> PaymentAnswer {
        let in_progress_code = view.in_progress_code(self.router.pending.in_progress_code());
        let Order::Payment(payment) = &*view.order else { return unconfirmed_payment(&self.form, in_progress_code) };
        let mut answer = payment_answer(payment, in_progress_code, view.repeat);
        self.form.gateway_trade_no.as_str().clone_into(&mut answer.echoes.gateway_trade_no);
        self.form.pos_id.as_str().clone_into(&mut answer.echoes.pos_id);
        answer
    }

    /// The answer at the deadline: the order in progress, or an unconfirmed payment if no reply has
    /// arrived.
    fn in_progress(&self, latest: Latest) -> PaymentAnswer {
        let code = self.router.pending.in_progress_code();
        latest.map_or_else(|| unconfirmed_payment(&self.form, code), |view| self.answer(&view))
    }
}
