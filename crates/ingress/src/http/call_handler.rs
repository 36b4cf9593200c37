//! Handles one call of the POS HTTP form, from the body to the answer.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::Code;
use tracing::debug;

use super::{
    Operation, json,
    json_answer::{self, JsonAnswer},
    json_request::JsonRequest,
    keys::MerchantKeys,
    pos_refusal::PosRefusal,
};
use crate::{answers::Echoes, api::PosApi, hops::CallHops, metrics, metrics::PendingAnswer, router_client::Caller};

/// Handles calls with the merchants' keys that are in force.
#[derive(Clone)]
pub(super) struct CallHandler {
    pub(super) api: Arc<PosApi>,
    pub(super) keys: MerchantKeys,
}

impl CallHandler {
    /// Answers a body; if it could not be read, the answer says why. `began` is when the call
    /// arrived; `hops` measures it, if at all.
    pub(super) async fn answer(
        &self,
        operation: Operation,
        body: Result<&[u8], PosRefusal>,
        began: Instant,
        hops: Option<CallHops>,
    ) -> JsonAnswer {
        let pending = PendingAnswer::begin(operation.method());
        let members = body.and_then(|body| json::parse(body).map_err(PosRefusal::from));
        let (answer, code) = match members {
            Ok(members) => {
                let request = JsonRequest::new(members);
                let (echoes, amount) = (request.echoes(), request.trade_amount());
                let deadline = self.api.default_deadline(began);
                match self.answer_signed(operation, request, deadline, hops.clone()).await {
                    Ok(answer) => (answer, Code::Ok),
                    Err(refusal) => refused(operation, echoes, amount, &refusal),
                }
            }
            Err(refusal) => refused(operation, Echoes::default(), None, &refusal),
        };
        pending.given();
        if let Some(hops) = hops {
            hops.ended(code);
        }
        metrics::call(operation.method(), code, began.elapsed());
        answer
    }

    /// Checks the signature and calls the API. The signature is checked first, so that the answer
    /// to an unsigned request reveals nothing else.
    async fn answer_signed(
        &self,
        operation: Operation,
        request: JsonRequest,
        deadline: Instant,
        hops: Option<CallHops>,
    ) -> Result<JsonAnswer, PosRefusal> {
        let signature = self.keys.signature_of(request.members()).ok_or_else(PosRefusal::not_signed)?;
        metrics::signature(signature.form);
        let caller = Caller { deadline, signed_by: Some(signature.key), hops };
        let (echoes, amount) = (request.echoes(), request.trade_amount());
        let answered = match operation {
            Operation::Payment => {
                self.api.pay(request.into_payment()?, caller).await.map(|answer| json_answer::payment(echoes, answer))
            }
            Operation::Inquiry => {
                let (request, inquiry_type) = request.into_inquiry()?;
                let answered = self.api.inquire(request, inquiry_type, caller).await;
                answered.map(|answer| json_answer::inquiry(echoes, answer))
            }
            Operation::Refund => {
                self.api.refund(request.into_refund()?, caller).await.map(|answer| json_answer::refund(echoes, answer))
            }
            Operation::Cancel => self
                .api
                .cancel(request.into_payment()?, caller)
                .await
                .map(|answer| json_answer::cancel(echoes, &answer)),
        };
        answered.map_err(|refusal| PosRefusal::new(&refusal, amount))
    }
}

fn refused(operation: Operation, echoes: Echoes, amount: Option<i64>, refusal: &PosRefusal) -> (JsonAnswer, Code) {
    let PosRefusal { status_code, desc, code } = refusal;
    debug!(method = operation.method(), %status_code, desc, "a call was refused");
    // An answer's TradeAmount is a 32-bit number: one beyond that is not repeated.
    let amount = amount.filter(|amount| i32::try_from(*amount).is_ok());
    (json_answer::refused(operation, echoes, amount.unwrap_or_default(), refusal), *code)
}
