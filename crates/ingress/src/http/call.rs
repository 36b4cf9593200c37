//! One call of the form: from the body to the answer.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::Code;
use tracing::debug;

use super::{
    Operation,
    answers::{self, Answer},
    form::{Echoes, Form, amount},
    json::{self, Object},
    keys::MerchantKeys,
    refusal::{self, Refusal},
};
use crate::{
    api::{Caller, PosApi},
    metrics,
};

/// What a call needs.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) api: Arc<PosApi>,
    pub(super) keys: MerchantKeys,
}

impl Front {
    /// Answers a body, or tells why there is none. `began` is when the call arrived.
    pub(super) async fn answer(&self, operation: Operation, body: Result<&[u8], Refusal>, began: Instant) -> Answer {
        let members = body.and_then(|body| json::parse(body).map_err(Refusal::from));
        let deadline = self.api.own_deadline(began);
        let (answer, code) = match members {
            Ok(members) => {
                let (echoes, amount) = (Echoes::of(&members), amount(&members));
                match self.signed(operation, (members, deadline), &echoes, amount).await {
                    Ok(answer) => (answer, Code::Ok),
                    Err(refusal) => refused(operation, echoes, amount, &refusal),
                }
            }
            Err(refusal) => refused(operation, Echoes::default(), None, &refusal),
        };
        metrics::call(operation.method(), code, began.elapsed());
        answer
    }

    /// The signature first: who has none learns nothing else.
    async fn signed(
        &self,
        operation: Operation,
        (members, deadline): (Object, Instant),
        echoes: &Echoes,
        amount: Option<i64>,
    ) -> Result<Answer, Refusal> {
        let signed_by = Some(self.keys.signed_by(&members).ok_or_else(refusal::not_signed)?);
        let caller = Caller { deadline, signed_by };
        let (form, echoes) = (Form::new(members), echoes.clone());
        let answered = match operation {
            Operation::Payment => self.api.pay(form.pay()?, caller).await.map(|r| answers::payment(echoes, r)),
            Operation::Inquiry => self.api.query(form.query()?, caller).await.map(|r| answers::inquiry(echoes, r)),
            Operation::Refund => self.api.refund(form.refund()?, caller).await.map(|r| answers::refund(echoes, r)),
            Operation::Cancel => self.api.cancel(form.cancel()?, caller).await.map(|r| answers::cancel(echoes, r)),
        };
        answered.map_err(|status| refusal::of(&status, amount))
    }
}

fn refused(operation: Operation, echoes: Echoes, amount: Option<i64>, refusal: &Refusal) -> (Answer, Code) {
    let Refusal { status_code, desc, code } = refusal;
    debug!(method = operation.method(), %status_code, desc, "a call was refused");
    let amount = amount.filter(|amount| i32::try_from(*amount).is_ok());
    (answers::refused(operation, echoes, amount.unwrap_or_default(), refusal), *code)
}
