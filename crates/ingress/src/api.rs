//! The calls of the public API, whoever brings them: the gRPC service and the POS HTTP form are
//! faces of this.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::Status;
use twqr_service::{CancellationToken, Clock};
use twqr_types::{KeyName, QueryForm, TradeNo, UnixMs, Violations};
use twqr_wire::{
    bus,
    convert::{Stamp, cancel_form, encode_cancel, encode_query, encode_refund, pay_form, query_form, refund_form},
    pos::{
        CancelRequest, CancelResponse, InquiryType, PayRequest, PayResponse, QueryRequest, QueryResponse,
        RefundRequest, RefundResponse,
    },
};

use crate::{
    Settings,
    answers::{
        cancel_of_nothing, cancel_response, has_result, is_cancel_closed, no_such_order, no_such_payment,
        query_response, refund_response, unconfirmed_cancel, unconfirmed_refund,
    },
    ask::Heard,
    desk::{Desk, Kind, Waiting},
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

/// Who calls.
pub(crate) struct Caller {
    /// Until then it waits.
    pub(crate) deadline: Instant,
    /// The merchant's key with which it signed; none on the gRPC side, where nothing is signed.
    pub(crate) signed_by: Option<KeyName>,
}

impl PosApi {
    /// What a record of the caller's carries, now.
    pub(crate) fn stamp<'a>(&self, caller: &'a Caller) -> Stamp<'a> {
        Stamp { at: self.clock.now(), signed_by: caller.signed_by.as_ref() }
    }

    /// When a caller without a deadline of its own, whose call began then, gets an answer at the
    /// latest.
    pub(crate) fn own_deadline(&self, began: Instant) -> Instant {
        began + Duration::from_millis(self.settings.answer_within_ms)
    }

    /// A place to wait for the router until the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<Waiting, Status> {
        self.desk.wait(Kind::Call, self.until(deadline)).ok_or_else(refusals::shed)
    }

    /// A place to watch an order until the deadline.
    pub(crate) fn wait_watching(&self, deadline: Instant) -> Result<Waiting, Status> {
        self.desk.wait(Kind::Watch, self.until(deadline)).ok_or_else(refusals::too_many_watches)
    }

    fn until(&self, deadline: Instant) -> UnixMs {
        let left = deadline.saturating_duration_since(Instant::now());
        self.clock.now().plus(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
    }

    /// Payment (POS API, sections 2 and 4).
    pub(crate) async fn pay(&self, request: PayRequest, caller: Caller) -> Result<PayResponse, Status> {
        match pay_form(request.clone()) {
            Ok(form) => Paying { api: self, request, form, caller }.run().await,
            Err(violations) => Err(refusals::invalid(&violations)),
        }
    }

    /// Inquiry (POS API, sections 2 and 4).
    pub(crate) async fn query(&self, request: QueryRequest, caller: Caller) -> Result<QueryResponse, Status> {
        let inquiry_type = request.inquiry_type();
        let form = checked(inquiry_type, query_form(request))?;
        let record = |to| encode_query(self.stamp(&caller), &form.key, to, false);
        match self.ask(&form.key, caller.deadline, record, |_| true).await? {
            Heard::Order(seen) => {
                let code = self.desk.in_progress_code();
                Ok(query_response((*seen.order).clone(), inquiry_type, seen.in_progress(code)))
            }
            Heard::NotFound => Ok(no_such_order()),
            Heard::Nothing => Err(refusals::no_answer()),
        }
    }

    /// Refund (POS API, sections 2 and 4).
    pub(crate) async fn refund(&self, request: RefundRequest, caller: Caller) -> Result<RefundResponse, Status> {
        if self.is_foreign(&request.trade_no) {
            return Ok(no_such_payment(&request));
        }
        let form = refund_form(request.clone()).map_err(|violations| refusals::invalid(&violations))?;
        let record = |to| encode_refund(self.stamp(&caller), &form, Some(to));
        match self.ask(&form.key, caller.deadline, record, has_result).await? {
            Heard::Order(seen) => {
                let Some(bus::order::Order::Refund(refund)) = (*seen.order).clone().order else {
                    return Err(refusals::no_answer());
                };
                let code = self.desk.in_progress_code();
                let mut response = refund_response(refund, seen.in_progress(code), seen.repeat);
                response.gateway_trade_no = request.gateway_trade_no;
                response.pos_id = request.pos_id;
                Ok(response)
            }
            Heard::NotFound | Heard::Nothing => Ok(unconfirmed_refund(&request, self.desk.in_progress_code())),
        }
    }

    /// Whether a TradeNo is well within its length and none that this router gives out: nobody has
    /// such a payment.
    fn is_foreign(&self, trade_no: &str) -> bool {
        let within = (1..=TradeNo::LEN).contains(&trade_no.chars().count());
        let ours = |number: TradeNo| number.shard().0 < self.desk.shards().0.get();
        within && !TradeNo::parse(trade_no).is_ok_and(ours)
    }

    /// Cancel (POS API, sections 2 and 4).
    pub(crate) async fn cancel(&self, request: CancelRequest, caller: Caller) -> Result<CancelResponse, Status> {
        let form = cancel_form(request.clone()).map_err(|violations| refusals::invalid(&violations))?;
        self.repeats.forget(&form.key);
        let record = |to| encode_cancel(self.stamp(&caller), &form, Some(to));
        Ok(match self.ask(&form.key, caller.deadline, record, is_cancel_closed).await? {
            Heard::Order(seen) => {
                cancel_response(&seen.order, &request, seen.in_progress(self.desk.in_progress_code()))
            }
            Heard::NotFound => cancel_of_nothing(&request),
            Heard::Nothing => unconfirmed_cancel(&request, self.desk.in_progress_code()),
        })
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
