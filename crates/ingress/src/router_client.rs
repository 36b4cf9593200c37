//! Sends requests to the routers and waits for their replies. A request is a record on the order's
//! shard; its replies are written to this ingress' partition of `replies`. A call without a reply
//! at its deadline is unconfirmed: the record may still be applied, so it is never reported as
//! failed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use twqr_access::Grant;
use twqr_card_keys::{CardKeys, NoKey};
use twqr_journal::{Ack, Entry, Journal, JournalError, Partition, Topic};
use twqr_order::{Nonce, Order, ReplyTo};
use twqr_service::Clock;
use twqr_types::{
    CardToken, KeyName, OrderKey, PayForm, ProtectedToken, RecordedToken, ShardCount, StatusCode, UnixMs,
};
use twqr_wire::convert::{ReplyContent, ReplyRecord, Stamp, with_hops};

use crate::{
    admission::{Admission, Priority},
    hops::CallHops,
    metrics::{self, CallKind},
    pending_calls::{PendingCall, PendingCalls},
    refusal::Refusal,
};

/// The caller of one request.
pub(crate) struct Caller {
    /// When the caller must have an answer.
    pub(crate) deadline: Instant,
    /// The merchant's key that signed the request; absent on the gRPC side, where requests are not
    /// signed.
    pub(crate) signed_by: Option<KeyName>,
    /// The nonce of the request's signature, if it has one: the machine refuses its second use.
    pub(crate) nonce: Option<Nonce>,
    /// The rights of the caller. A call of the HTTP form has no caller: its signature says which
    /// merchant it is from.
    pub(crate) grant: Grant,
    /// The measurement of the call, if the caller asked for its hops or telemetry is on.
    pub(crate) hops: Option<CallHops>,
}

/// The way to the routers, through the journal.
#[derive(Clone)]
pub(crate) struct RouterClient {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) shards: ShardCount,
    pub(crate) pending: Arc<PendingCalls>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) card_keys: CardKeys,
}

/// The result of a request at its deadline.
pub(crate) enum RequestResult {
    /// The order exists; this is its newest known state.
    Found(OrderView),
    /// There is no such order.
    NotFound,
    /// No reply arrived: the record may or may not have been written.
    Unconfirmed,
}

/// An order as a reply showed it.
#[derive(Clone, Debug)]
pub(crate) struct OrderView {
    pub(crate) order: Arc<Order>,
    /// Whether the order existed before the request that the reply answers.
    pub(crate) repeat: bool,
    /// The policy's StatusCode for orders in progress; absent if the reply did not name it.
    in_progress_code: Option<StatusCode>,
}

impl OrderView {
    /// The order in a reply, with the other fields of that reply.
    pub(crate) fn new(order: Box<Order>, repeat: bool, in_progress_code: Option<StatusCode>) -> Self {
        Self { order: Arc::from(order), repeat, in_progress_code }
    }

    /// The same for a later request, to which the order is a repeat.
    pub(crate) fn into_repeat(self) -> Self {
        Self { repeat: true, ..self }
    }

    /// The StatusCode for orders in progress; `default` if the reply did not name it.
    pub(crate) fn in_progress_code(&self, default: StatusCode) -> StatusCode {
        self.in_progress_code.unwrap_or(default)
    }
}

impl RouterClient {
    /// The fields of a record that is written now for this caller.
    pub(crate) fn stamp<'a>(&self, caller: &'a Caller) -> Stamp<'a> {
        Stamp { at: self.clock.now(), signed_by: caller.signed_by.as_ref(), nonce: caller.nonce }
    }

    /// A payment request as it is written to the log: with its card token under keys.
    pub(crate) fn protect_payment(&self, form: &PayForm) -> Result<PayForm, Refusal> {
        self.protect(form, |token| self.card_keys.protect(token, &form.key, self.clock.now()))
    }

    /// A cancel request as it is written to the log: its card token can only be compared.
    pub(crate) fn protect_cancel(&self, form: &PayForm) -> Result<PayForm, Refusal> {
        self.protect(form, |token| self.card_keys.protect_compared(token, &form.key))
    }

    /// Protects the card token, unless older builds take part at the order's shard, which cannot
    /// read a protected one. Without a key, or while the shard has not answered since this process
    /// started, the request is refused before anything is accepted.
    fn protect(
        &self,
        form: &PayForm,
        protect: impl FnOnce(&CardToken) -> Result<ProtectedToken, NoKey>,
    ) -> Result<PayForm, Refusal> {
        let shard = form.key.shard(self.shards);
        let takes_protected = self.pending.versions.takes_protected_tokens(shard);
        let card_token = match &form.card_token {
            RecordedToken::Clear(token) if takes_protected.ok_or_else(|| Refusal::silent_shard(shard))? => {
                RecordedToken::Protected(Box::new(protect(token).map_err(|lacking| Refusal::unprotected(&lacking))?))
            }
            RecordedToken::Clear(_) | RecordedToken::Protected(_) => form.card_token.clone(),
        };
        Ok(PayForm { card_token, ..form.clone() })
    }

    /// Admits a call about this order, and registers that it waits for replies until the deadline.
    /// Every call that writes a record comes through here.
    pub(crate) fn open_call(
        &self,
        key: &OrderKey,
        priority: Priority,
        deadline: Instant,
    ) -> Result<PendingCall, Refusal> {
        self.check_clock()?;
        let admitted = self.admission.admit(key.shard(self.shards), &key.merchant_id, priority);
        let ticket = admitted.map_err(|reason| {
            metrics::shed(CallKind::Call, Some(reason));
            Refusal::TooManyCalls
        })?;
        self.pending.open(CallKind::Call, self.until(deadline), Some(ticket)).ok_or_else(|| {
            self.admission.decide(ticket);
            Refusal::TooManyCalls
        })
    }

    /// Registers a watch that waits for replies until the deadline.
    pub(crate) fn open_watch(&self, deadline: Instant) -> Result<PendingCall, Refusal> {
        self.check_clock()?;
        self.pending.open(CallKind::Watch, self.until(deadline), None).ok_or(Refusal::TooManyWatches)
    }

    /// Refuses what would get a wrong time: a payment would be sent too late or not at all.
    fn check_clock(&self) -> Result<(), Refusal> {
        if self.clock.is_skewed() { Err(Refusal::WrongClock) } else { Ok(()) }
    }

    fn until(&self, deadline: Instant) -> UnixMs {
        let left = deadline.saturating_duration_since(Instant::now());
        self.clock.now().plus(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
    }

    /// Writes a record to the order's shard.
    pub(crate) fn append(&self, key: &OrderKey, record: Bytes) -> Ack {
        let shard = Partition { topic: Topic::Orders, index: u32::from(key.shard(self.shards).0) };
        self.journal.append(shard, vec![Entry::plain(record)])
    }

    /// Writes the record of a call to the order's shard and waits for its acknowledgement until the
    /// deadline. Only an append that the journal refused is an error: one without an
    /// acknowledgement may still be written.
    pub(crate) async fn submit(
        &self,
        call: &PendingCall,
        key: &OrderKey,
        record: Bytes,
        caller: &Caller,
    ) -> Result<(), JournalError> {
        let record = match &caller.hops {
            Some(hops) => with_hops(&record, &hops.appended(call.reply_to.correlation, self.clock.now_us(), key)),
            None => record,
        };
        let ack = self.append(key, record);
        match tokio::time::timeout_at(caller.deadline, ack).await {
            Ok(Err(error @ (JournalError::AppendRefused { .. } | JournalError::NoPartition(_)))) => {
                call.give_place_back();
                Err(error)
            }
            Ok(Ok(()) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// The next reply to a call; `None` if there is none until the caller's deadline.
    pub(crate) async fn next_reply(&self, call: &mut PendingCall, caller: &Caller) -> Option<ReplyRecord> {
        let reply = tokio::time::timeout_at(caller.deadline, call.replies.recv()).await.ok().flatten();
        if let Some(hops) = &caller.hops {
            match &reply {
                Some(reply) => hops.replied(reply.hops, self.clock.now_us()),
                None => hops.gave_up(),
            }
        }
        reply
    }

    /// Submits a record and waits until a reply shows the order in a state for which `is_answer`
    /// holds, at most until the deadline.
    pub(crate) async fn request(
        &self,
        key: &OrderKey,
        caller: &Caller,
        record: impl FnOnce(ReplyTo) -> Bytes,
        is_answer: impl Fn(&Order) -> bool,
    ) -> Result<RequestResult, Refusal> {
        let mut call = self.open_call(key, Priority::Accepted, caller.deadline)?;
        let submitted = self.submit(&call, key, record(call.reply_to), caller).await;
        submitted.map_err(|error| Refusal::not_accepted(&error))?;
        let mut result = RequestResult::Unconfirmed;
        while let Some(reply) = self.next_reply(&mut call, caller).await {
            let ReplyRecord { content, repeat, in_progress_code, .. } = reply;
            match content {
                ReplyContent::Order(order) => {
                    let is_answer = is_answer(&order);
                    result = RequestResult::Found(OrderView::new(order, repeat, in_progress_code));
                    if is_answer {
                        return Ok(result);
                    }
                }
                ReplyContent::NotFound => return Ok(RequestResult::NotFound),
                ReplyContent::Conflict(fields) => return Err(Refusal::Conflict(fields)),
                ReplyContent::KeyRefused => return Err(Refusal::KeyRefused),
                ReplyContent::Replayed => return Err(Refusal::Replayed),
                ReplyContent::TooManyWatchers
                | ReplyContent::Forget(_)
                | ReplyContent::RulesChanged
                | ReplyContent::Empty => {}
            }
        }
        Ok(result)
    }
}

#[cfg(test)]
impl RouterClient {
    /// A client of the routers on this simulated journal.
    pub(crate) fn on(sim: &twqr_journal_sim::Sim, shards: ShardCount) -> Self {
        use crate::{admission::AdmissionSettings, protocol_versions::ProtocolVersions};

        let delay = std::time::Duration::from_millis(100);
        let (admission, _to_measure) =
            Admission::new(AdmissionSettings { delay, limit_min: 8, limit_max: 100 }, shards);
        let versions = ProtocolVersions::new(shards, CardKeys::default(), false);
        Self {
            journal: sim.session("ingress-0"),
            shards,
            pending: PendingCalls::new(0, versions, 100, StatusCode::FISC_ABNORMAL, admission.clone()),
            admission,
            clock: Arc::new(twqr_service::SystemClock),
            card_keys: CardKeys::default(),
        }
    }
}
