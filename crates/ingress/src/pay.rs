//! Pay: one call asks the router for each payment; equal ones wait for its answer. Whoever has none
//! at its deadline is told that the order is in progress, never that it failed.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};
use tonic::Status;
use twqr_journal::JournalError;
use twqr_types::{PayForm, StatusCode};
use twqr_wire::{
    bus::{self, reply_record::Body},
    convert::encode_pay,
    pos::{PayRequest, PayResponse},
};

use crate::{
    answers::{has_cancel, has_result, pay_response, unconfirmed_payment},
    api::{Caller, PosApi},
    ask::Seen,
    metrics::{self, Repeat},
    refusals,
    repeats::{First, Known, Turn},
};

/// One Pay until its deadline.
pub(crate) struct Paying<'a> {
    pub(crate) api: &'a PosApi,
    pub(crate) request: PayRequest,
    pub(crate) form: PayForm,
    pub(crate) caller: Caller,
}

/// The order as last seen, not final.
type Latest = Option<Seen>;

impl Paying<'_> {
    /// The answer, or the refusal.
    pub(crate) async fn run(self) -> Result<PayResponse, Status> {
        let mut latest = None;
        loop {
            match self.api.repeats.turn(&self.form, self.caller.signed_by.as_ref()) {
                Turn::First(first) => return self.ask(Some(first), latest).await,
                Turn::Other => return self.ask(None, latest).await,
                Turn::Repeat(known) => {
                    if let Some(answer) = self.join(known, &mut latest).await {
                        return Ok(answer);
                    }
                    if Instant::now() >= self.caller.deadline {
                        return Ok(self.in_progress(latest));
                    }
                }
            }
        }
    }

    /// Waits for what the first call is told; none if that went away without an answer. `latest` is
    /// the order as last seen.
    async fn join(&self, mut known: watch::Receiver<Known>, latest: &mut Latest) -> Option<PayResponse> {
        let mut how = Repeat::Cached;
        loop {
            match known.borrow_and_update().clone() {
                Known::Final(seen) => {
                    metrics::repeat(how);
                    return Some(self.answer(&Seen { repeat: true, ..seen }));
                }
                Known::Left => return None,
                Known::Waits(seen) => *latest = seen.map(|seen| Seen { repeat: true, ..seen }).or(latest.take()),
            }
            how = Repeat::Joined;
            match tokio::time::timeout_at(self.caller.deadline, known.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(self.in_progress(latest.take())),
            }
        }
    }

    /// Writes the record and waits for the router.
    async fn ask(&self, first: Option<First>, mut latest: Latest) -> Result<PayResponse, Status> {
        let api = self.api;
        // Whoever has seen the order already is never told that nothing was accepted.
        let mut waiting = match api.wait(self.caller.deadline) {
            Err(_) if latest.is_some() => return Ok(self.in_progress(latest)),
            waiting => waiting?,
        };
        let ack =
            api.desk.append(&self.form.key, encode_pay(api.stamp(&self.caller), &self.form, Some(waiting.reply_to)));
        // An append that was not acknowledged may still land: only a refused one is no order.
        let acked = tokio::time::timeout_at(self.caller.deadline, ack).await;
        if let Ok(Err(error @ (JournalError::AppendRefused { .. } | JournalError::NoPartition(_)))) = acked {
            return if latest.is_some() { Ok(self.in_progress(latest)) } else { Err(refusals::not_accepted(&error)) };
        }
        while let Ok(Some(reply)) = tokio::time::timeout_at(self.caller.deadline, waiting.replies.recv()).await {
            match reply.body {
                Some(Body::Order(order)) => {
                    let is_answer = has_result(&order);
                    let (order, repeat) = (Arc::new(order), reply.repeat);
                    let in_progress_code = StatusCode::parse(&reply.in_progress_code).ok();
                    let seen = Seen { order, repeat, in_progress_code };
                    if is_answer {
                        let answer = self.answer(&seen);
                        // While it is being taken back, the next one to ask may hear something
                        // else.
                        if let Some(first) = first.filter(|_| !has_cancel(&seen.order)) {
                            first.ended(seen);
                        }
                        return Ok(answer);
                    }
                    if let Some(first) = &first {
                        first.seen(&seen);
                    }
                    latest = Some(seen);
                }
                Some(Body::KeyRefused(_)) => return Err(refusals::key_refused()),
                Some(Body::Conflict(conflict)) => return Err(refusals::conflict(&conflict.fields)),
                Some(Body::NotFound(_) | Body::TooManyWatchers(_) | Body::Forget(_) | Body::RulesChanged(_)) | None => {
                }
            }
        }
        Ok(self.in_progress(latest))
    }

    /// The POS document's echoes are of the request that is answered.
    fn answer(&self, seen: &Seen) -> PayResponse {
        let in_progress = seen.in_progress(self.api.desk.in_progress_code());
        let Some(bus::order::Order::Payment(payment)) = seen.order.order.clone() else {
            return unconfirmed_payment(&self.request, in_progress);
        };
        let mut response = pay_response(payment, in_progress, seen.repeat);
        response.gateway_trade_no.clone_from(&self.request.gateway_trade_no);
        response.pos_id.clone_from(&self.request.pos_id);
        response
    }

    /// What a caller gets at its deadline: the order is in progress, with its number; or nobody
    /// knows yet that it was accepted.
    fn in_progress(&self, latest: Latest) -> PayResponse {
        let code = self.api.desk.in_progress_code();
        latest.map_or_else(|| unconfirmed_payment(&self.request, code), |seen| self.answer(&seen))
    }
}
