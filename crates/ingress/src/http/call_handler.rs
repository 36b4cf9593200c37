//! Handles one call of the POS HTTP form, from the body to the answer.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use axum::http::{Extensions, HeaderMap};
use tokio::time::Instant;
use tonic::Code;
use tracing::debug;
use twqr_access::{Access, AccessEvent, AccessLog, Grant, Verdict};
use twqr_order::Nonce;
use twqr_types::{KeyName, UnixMs};

use super::{
    Operation,
    field_names::SIGN,
    json,
    json_answer::{self, JsonAnswer},
    json_request::JsonRequest,
    keys::MerchantKeys,
    pos_refusal::PosRefusal,
    signature_base::RequestHead,
};
use crate::{
    answers::Echoes,
    api::PosApi,
    fairness::Use,
    hops::CallHops,
    metrics,
    metrics::PendingAnswer,
    probe::has_nonces,
    refusal::{Refusal, verdict_of},
    router_client::Caller,
};

/// Handles calls with the merchants' keys that are in force.
#[derive(Clone)]
pub(super) struct CallHandler {
    pub(super) api: Arc<PosApi>,
    /// Which callers are let in.
    pub(super) access: Access,
    pub(super) keys: MerchantKeys,
    /// By how much SendTime may differ from this process's time, in s; any time is accepted if
    /// absent.
    pub(super) send_time_window_s: Option<NonZeroU32>,
    pub(super) log: AccessLog,
}

/// How a call arrived.
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// The address of the connection, if it is known.
    pub(super) from: Option<IpAddr>,
    /// Measures the call, if at all.
    pub(super) hops: Option<CallHops>,
}

/// By which signature a request was accepted: the name of its key, and its nonce if it has one.
struct SignedBy {
    key: KeyName,
    nonce: Option<Nonce>,
}

/// A call whose caller was found.
pub(super) struct IdentifiedCall {
    grant: Grant,
    /// The caller's call; absent where every call is let in.
    _call: Option<Use>,
}

impl CallHandler {
    /// Finds the caller of a request, and begins its call.
    pub(super) fn admit(
        &self,
        operation: Operation,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<IdentifiedCall, PosRefusal> {
        let admit = || -> Result<IdentifiedCall, Refusal> {
            let grant = self.access.identify(operation.method(), headers, extensions)?;
            self.access.check_operation(&grant, operation.of_caller())?;
            let call = self.api.begin_caller(&grant);
            let call = call.inspect_err(|refusal| self.access.note(&grant, refusal.verdict()))?;
            Ok(IdentifiedCall { grant, _call: call })
        };
        admit().map_err(|refusal| PosRefusal::new(&refusal, None))
    }

    /// Answers a body; if its caller was not let in, or it could not be read, the answer says why.
    pub(super) async fn answer(
        &self,
        operation: Operation,
        head: RequestHead<'_>,
        request: Result<(IdentifiedCall, Result<&[u8], PosRefusal>), PosRefusal>,
        arrival: Arrival,
    ) -> JsonAnswer {
        let (began, hops) = (arrival.at, arrival.hops.clone());
        let pending = PendingAnswer::begin(operation.method());
        let (answer, code) = match request {
            Ok((admitted, body)) => self.answer_body(operation, head, (admitted, body), arrival).await,
            Err(refusal) => refused(operation, Echoes::default(), None, &refusal),
        };
        pending.given();
        if let Some(hops) = hops {
            hops.ended(code);
        }
        metrics::call(operation.method(), code, began.elapsed());
        answer
    }

    /// Answers the body of a call whose caller was let in.
    async fn answer_body(
        &self,
        operation: Operation,
        head: RequestHead<'_>,
        (admitted, body): (IdentifiedCall, Result<&[u8], PosRefusal>),
        arrival: Arrival,
    ) -> (JsonAnswer, Code) {
        let IdentifiedCall { grant, _call } = admitted;
        let Arrival { at: began, from, hops } = arrival;
        let parsed = body.and_then(|body| Ok((json::parse(body).map_err(PosRefusal::from)?, body)));
        let (members, body) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => {
                let who = grant.who().unwrap_or_default();
                self.log.note(AccessEvent { who, from, method: operation.method(), verdict: refusal.verdict });
                return refused(operation, Echoes::default(), None, &refusal);
            }
        };
        let request = JsonRequest::new(members);
        let (echoes, amount) = (request.echoes(), request.trade_amount());
        let deadline = self.api.default_deadline(began);
        let signed_by = self.signed_by(&request, head, body).await;
        let who = self.who(&echoes.merchant_id, signed_by.as_ref().ok());
        let caller = signed_by.and_then(|SignedBy { key, nonce }| {
            let grant = self.permitted(&grant, operation, &echoes.merchant_id)?;
            Ok(Caller { deadline, signed_by: Some(key), nonce, grant, hops })
        });
        let answered = self.answer_signed(operation, request, caller).await;
        let verdict = answered.as_ref().map_or_else(|refusal| refusal.verdict, |(_, verdict)| *verdict);
        self.log.note(AccessEvent { who, from, method: operation.method(), verdict });
        match answered {
            Ok((answer, _)) => (answer, Code::Ok),
            Err(refusal) => refused(operation, echoes, amount, &refusal),
        }
    }

    /// The merchant of a request and the key that signed it; without a valid signature, the
    /// merchant that the request names. Empty if that merchant has no key: the text may be
    /// anything, such as a card token in the wrong field.
    fn who(&self, merchant_id: &str, signed_by: Option<&SignedBy>) -> String {
        match signed_by {
            Some(SignedBy { key, .. }) => format!("merchant {merchant_id} (key {key})"),
            None if self.keys.has_merchant(merchant_id) => format!("merchant {merchant_id}"),
            None => String::new(),
        }
    }

    /// Checks the signature: Sign if the body has it, and the message signature otherwise.
    async fn signed_by(
        &self,
        request: &JsonRequest,
        head: RequestHead<'_>,
        body: &[u8],
    ) -> Result<SignedBy, PosRefusal> {
        let (members, now) = (request.members(), self.api.router.clock.now());
        if members.contains_key(SIGN) || !head.headers.contains_key("signature-input") {
            let place = self.keys.place_for(body.len()).await;
            let place = place.map_err(|refusal| PosRefusal::new(&refusal, None))?;
            let signature = self.keys.signature_of(members, place).ok_or_else(PosRefusal::not_signed)?;
            metrics::signature(signature.form);
            self.check_send_time(request, now)?;
            return Ok(SignedBy { key: signature.key, nonce: None });
        }
        let signature = self.keys.message_signature_of(members, head, body, now).map_err(PosRefusal::of_signature)?;
        // A request without a valid key is refused by its fields.
        let router = &self.api.router;
        if let Some(key) = request.order_key()
            && !has_nonces(router, key.shard(router.shards)).await
        {
            return Err(PosRefusal::without_nonces());
        }
        Ok(SignedBy { key: signature.key, nonce: Some(signature.nonce) })
    }

    fn check_send_time(&self, request: &JsonRequest, now: UnixMs) -> Result<(), PosRefusal> {
        let Some(window_s) = self.send_time_window_s else { return Ok(()) };
        let is_within = |at: UnixMs| now.since(at).unsigned_abs() <= u64::from(window_s.get()) * 1_000;
        if request.send_time().is_some_and(is_within) {
            Ok(())
        } else {
            Err(PosRefusal::outside_window(window_s.get()))
        }
    }

    /// Checks that the caller may use this operation for this merchant.
    fn permitted(&self, grant: &Grant, operation: Operation, merchant_id: &str) -> Result<Grant, PosRefusal> {
        let checked = self.access.check(grant, operation.of_caller(), merchant_id);
        checked.map_err(|refusal| PosRefusal::new(&refusal.into(), None))
    }

    /// Calls the API; returns its answer, and what the log of who called says of it. The signature
    /// was checked first, so that the answer to an unsigned request reveals nothing else.
    async fn answer_signed(
        &self,
        operation: Operation,
        request: JsonRequest,
        caller: Result<Caller, PosRefusal>,
    ) -> Result<(JsonAnswer, Verdict), PosRefusal> {
        let caller = caller?;
        let (echoes, amount) = (request.echoes(), request.trade_amount());
        let answered = match operation {
            Operation::Payment => self.api.pay(request.into_payment()?, caller).await.map(|answer| {
                let verdict = verdict_of(&answer.status);
                (json_answer::payment(echoes, answer), verdict)
            }),
            Operation::Inquiry => {
                let (request, inquiry_type) = request.into_inquiry()?;
                let answered = self.api.inquire(request, inquiry_type, caller).await;
                answered.map(|answer| (json_answer::inquiry(echoes, answer), Verdict::LetIn))
            }
            Operation::Refund => self.api.refund(request.into_refund()?, caller).await.map(|answer| {
                let verdict = verdict_of(&answer.status);
                (json_answer::refund(echoes, answer), verdict)
            }),
            Operation::Cancel => self.api.cancel(request.into_payment()?, caller).await.map(|answer| {
                let verdict = verdict_of(&answer.status);
                (json_answer::cancel(echoes, &answer), verdict)
            }),
        };
        answered.map_err(|refusal| PosRefusal::new(&refusal, amount))
    }
}

fn refused(operation: Operation, echoes: Echoes, amount: Option<i64>, refusal: &PosRefusal) -> (JsonAnswer, Code) {
    let PosRefusal { status_code, desc, code, .. } = refusal;
    debug!(method = operation.method(), %status_code, desc, "a call was refused");
    // An answer's TradeAmount is a 32-bit number: one beyond that is not repeated.
    let amount = amount.filter(|amount| i32::try_from(*amount).is_ok());
    (json_answer::refused(operation, echoes, amount.unwrap_or_default(), refusal), *code)
}
