//! The calls of the public API, whoever brings them: the gRPC service and the POS HTTP form are faces of this.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::Status;
use twqr_service::{CancellationToken, Clock};
use twqr_types::{OrderKey, QueryForm, Violations};
use twqr_wire::{
    bus::reply_record::Body,
    convert::{pay_form, query_form, query_record},
    pos::{
        CancelRequest, CancelResponse, InquiryType, PayRequest, PayResponse, QueryRequest, QueryResponse,
        RefundRequest, RefundResponse,
    },
};

use crate::{
    Settings,
    answers::{no_such_order, query_response},
    desk::{Desk, Waiting},
    pay::Paying,
    refusals,
    repeats::Repeats,
};

pub(crate) struct PosApi {
    pub(crate) desk: Arc<Desk>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) shutdown: CancellationToken,
}

impl PosApi {
    /// When a caller without a deadline of its own gets an answer at the latest.
    pub(crate) fn own_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.answer_within_ms)
    }

    /// A place to wait for the router until the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<Waiting, Status> {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = self.clock.now().plus(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        self.desk.wait(until).ok_or_else(refusals::shed)
    }

    /// Payment (POS API, sections 2 and 4).
    pub(crate) async fn pay(&self, request: PayRequest, deadline: Instant) -> Result<PayResponse, Status> {
        match pay_form(request.clone()) {
            Ok(form) => Paying { api: self, request, form, deadline }.run().await,
            Err(violations) => Err(refusals::invalid(&violations)),
        }
    }

    /// Inquiry (POS API, sections 2 and 4).
    pub(crate) async fn query(&self, request: QueryRequest, deadline: Instant) -> Result<QueryResponse, Status> {
        let inquiry_type = request.inquiry_type();
        match (checked(inquiry_type, query_form(request)), inquiry_type) {
            (Ok(form), InquiryType::Payment) => self.ask(&form.key, deadline).await,
            (Ok(_), InquiryType::Refund | InquiryType::Unspecified) => Ok(no_such_order()),
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// Refund (POS API, sections 2 and 4).
    #[allow(clippy::unused_async, reason = "it will wait for the router")]
    pub(crate) async fn refund(&self, _: RefundRequest, _: Instant) -> Result<RefundResponse, Status> {
        Err(refusals::not_there("Refund"))
    }

    /// Cancel (POS API, sections 2 and 4).
    #[allow(clippy::unused_async, reason = "it will wait for the router")]
    pub(crate) async fn cancel(&self, _: CancelRequest, _: Instant) -> Result<CancelResponse, Status> {
        Err(refusals::not_there("Cancel"))
    }

    /// Asks for the order as it is now.
    async fn ask(&self, key: &OrderKey, deadline: Instant) -> Result<QueryResponse, Status> {
        let mut waiting = self.wait(deadline)?;
        let ack = self.desk.append(key, query_record(self.clock.now(), key, waiting.reply_to, false));
        if let Ok(Err(error)) = tokio::time::timeout_at(deadline, ack).await {
            return Err(refusals::not_accepted(&error));
        }
        let reply = tokio::time::timeout_at(deadline, waiting.replies.recv()).await;
        match reply.ok().flatten().and_then(|reply| reply.body) {
            Some(Body::Payment(payment)) => Ok(query_response(payment, &self.settings.in_progress_code)),
            Some(Body::NotFound(_)) => Ok(no_such_order()),
            Some(Body::Conflict(_) | Body::TooManyWatchers(_)) | None => Err(refusals::no_answer()),
        }
    }
}

/// The form, if the type is one and every field is within its limits.
pub(crate) fn checked(inquiry_type: InquiryType, form: Result<QueryForm, Violations>) -> Result<QueryForm, Status> {
    let typed = inquiry_type != InquiryType::Unspecified;
    match form {
        Ok(form) if typed => Ok(form),
        Ok(_) => Err(refusals::invalid(&refusals::inquiry_type())),
        Err(mut violations) => {
            if !typed {
                for violation in refusals::inquiry_type().as_slice() {
                    violations.add(violation.field, violation.description.clone());
                }
            }
            Err(refusals::invalid(&violations))
        }
    }
}
