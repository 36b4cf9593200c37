//! The four calls of the public API, from a request's fields to its answer. The gRPC service and
//! the POS HTTP form both serve this.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use twqr_access::{Access, Grant};
use twqr_callers::Operation;
use twqr_order::Order;
use twqr_service::CancellationToken;
use twqr_types::{RawPay, RawQuery, RawRefund};
use twqr_wire::convert::{encode_cancel, encode_query, encode_refund};

use crate::{
    answers::{
        CancelAnswer, InquiryAnswer, InquiryType, PaymentAnswer, RefundAnswer, cancel_answer, inquiry_answer,
        no_payment_to_cancel, no_payment_to_refund, no_such_order, refund_answer, unconfirmed_cancel,
        unconfirmed_refund,
    },
    fairness::{Fairness, Use},
    pay::PayCall,
    refusal::{Opened, Refusal},
    repeats::Repeats,
    router_client::{Caller, RequestResult, RouterClient},
    validation::{ParsedRefund, parse_inquiry, parse_pay, parse_refund},
};

/// The public API.
pub(crate) struct PosApi {
    pub(crate) router: RouterClient,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) access: Access,
    pub(crate) fairness: Fairness,
    /// How long a caller without a deadline waits at most.
    pub(crate) answer_within: Duration,
    pub(crate) shutdown: CancellationToken,
}

impl PosApi {
    /// The default deadline for a call that began at `began`.
    pub(crate) fn default_deadline(&self, began: Instant) -> Instant {
        began + self.answer_within
    }

    /// Begins a call about an order of this merchant, if its caller may do that. Nothing about the
    /// order is looked up before, so a refusal says nothing about it. The call ends when what is
    /// returned is dropped.
    fn begin(&self, grant: &Grant, operation: Operation, merchant_id: &str) -> Result<Use, Refusal> {
        self.access.check(grant, operation, merchant_id)?;
        self.fairness.begin_merchant(merchant_id)
    }

    /// Begins a call of this caller. The call ends when what is returned is dropped.
    pub(crate) fn begin_caller(&self, grant: &Grant) -> Result<Option<Use>, Refusal> {
        let begin = |caller: &twqr_callers::Caller| self.fairness.begin_caller(caller.name.as_str(), caller.limits);
        grant.caller().map(begin).transpose()
    }

    /// Opens a stream of payments of this caller. It is closed when what is returned is dropped.
    pub(crate) fn open_stream(&self, grant: &Grant) -> Result<Option<Use>, Refusal> {
        self.open(Opened::Stream, grant)
    }

    /// Opens a watch of an order of this merchant, if its caller may do that. It is closed when
    /// what is returned is dropped.
    pub(crate) fn open_watch(&self, grant: &Grant, merchant_id: &str) -> Result<Option<Use>, Refusal> {
        drop(self.begin(grant, Operation::Watch, merchant_id)?);
        self.open(Opened::Watch, grant)
    }

    fn open(&self, what: Opened, grant: &Grant) -> Result<Option<Use>, Refusal> {
        grant.caller().map(|caller| self.fairness.open(what, caller.name.as_str())).transpose()
    }

    /// Charges a customer.
    pub(crate) async fn pay(&self, request: RawPay, caller: Caller) -> Result<PaymentAnswer, Refusal> {
        let _use = self.begin(&caller.grant, Operation::Pay, &request.merchant_id)?;
        let form = parse_pay(request)?;
        let hops = caller.hops.clone();
        let answered = PayCall { router: &self.router, repeats: &self.repeats, form, caller }.run().await;
        if let (Some(hops), Ok(answer)) = (hops, &answered) {
            hops.result(answer.status.code);
        }
        answered
    }

    /// Inquires about a payment or a refund. `inquiry_type` is absent if the request's type is
    /// neither.
    pub(crate) async fn inquire(
        &self,
        request: RawQuery,
        inquiry_type: Option<InquiryType>,
        caller: Caller,
    ) -> Result<InquiryAnswer, Refusal> {
        let _use = self.begin(&caller.grant, Operation::Query, &request.merchant_id)?;
        let (form, inquiry_type) = parse_inquiry(request, inquiry_type)?;
        let record = |to| encode_query(self.router.stamp(&caller), &form.key, to, false);
        match self.router.request(&form.key, &caller, record, |_| true).await? {
            RequestResult::Found(view) => {
                let code = self.router.pending.in_progress_code();
                Ok(inquiry_answer(&view.order, inquiry_type, view.in_progress_code(code)))
            }
            RequestResult::NotFound => Ok(no_such_order()),
            RequestResult::Unconfirmed => Err(Refusal::NoAnswer),
        }
    }

    /// Refunds a payment, or a part of it.
    pub(crate) async fn refund(&self, request: RawRefund, caller: Caller) -> Result<RefundAnswer, Refusal> {
        let _use = self.begin(&caller.grant, Operation::Refund, &request.merchant_id)?;
        let form = match parse_refund(request, self.router.shards)? {
            ParsedRefund::Ours(form) => form,
            ParsedRefund::Foreign(request) => return Ok(no_payment_to_refund(request)),
        };
        let record = |to| encode_refund(self.router.stamp(&caller), &form, Some(to));
        let result = self.router.request(&form.key, &caller, record, Order::has_result).await?;
        let code = self.router.pending.in_progress_code();
        let answer = match result {
            RequestResult::Found(view) => {
                let Order::Refund(refund) = &*view.order else { return Err(Refusal::NoAnswer) };
                let mut answer = refund_answer(refund, view.in_progress_code(code), view.repeat);
                // The echoes are those of this request, not of the one that made the refund.
                form.gateway_trade_no.as_str().clone_into(&mut answer.echoes.gateway_trade_no);
                form.pos_id.as_str().clone_into(&mut answer.echoes.pos_id);
                answer
            }
            RequestResult::NotFound | RequestResult::Unconfirmed => unconfirmed_refund(&form, code),
        };
        if let Some(hops) = &caller.hops {
            hops.result(answer.status.code);
        }
        Ok(answer)
    }

    /// Cancels a payment as a whole.
    pub(crate) async fn cancel(&self, request: RawPay, caller: Caller) -> Result<CancelAnswer, Refusal> {
        let _use = self.begin(&caller.grant, Operation::Cancel, &request.merchant_id)?;
        let form = parse_pay(request)?;
        let protected = self.router.protect_cancel(&form)?;
        self.repeats.forget(&form.key);
        let record = |to| encode_cancel(self.router.stamp(&caller), &protected, Some(to));
        let result = self.router.request(&form.key, &caller, record, Order::has_cancel_answer).await?;
        let code = self.router.pending.in_progress_code();
        let answer = match result {
            RequestResult::Found(view) => cancel_answer(&view.order, &form, view.in_progress_code(code)),
            RequestResult::NotFound => no_payment_to_cancel(&form),
            RequestResult::Unconfirmed => unconfirmed_cancel(&form, code),
        };
        if let Some(hops) = &caller.hops {
            hops.result(answer.status.code);
        }
        Ok(answer)
    }
}
