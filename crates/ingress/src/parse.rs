//! The requests of the public API to domain types, once, with every violation of a request together.

use twqr_types::{Field, OrderKey, PayForm, QueryForm, Violations};
use twqr_wire::{convert, pos};

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inquiry {
    Payment,
    Refund,
}

pub(crate) fn pay(request: pos::PayRequest) -> Result<PayForm, Violations> {
    convert::pay_form(request)
}

pub(crate) fn query(request: pos::QueryRequest) -> Result<(Inquiry, QueryForm), Violations> {
    let inquiry = inquiry(request.inquiry_type);
    match (inquiry, convert::query_form(request)) {
        (Ok(inquiry), Ok(form)) => Ok((inquiry, form)),
        (Err(mut bad), Err(others)) => {
            others.as_slice().iter().for_each(|other| bad.add(other.field, other.description.as_str()));
            Err(bad)
        }
        (Err(bad), Ok(_)) | (Ok(_), Err(bad)) => Err(bad),
    }
}

pub(crate) fn watch(request: pos::WatchOrderRequest) -> Result<(Inquiry, OrderKey), Violations> {
    let as_query = pos::QueryRequest {
        inquiry_type: request.inquiry_type,
        merchant_id: request.merchant_id,
        merchant_trade_no: request.merchant_trade_no,
        ..Default::default()
    };
    query(as_query).map(|(inquiry, form)| (inquiry, form.key))
}

fn inquiry(raw: i32) -> Result<Inquiry, Violations> {
    match pos::InquiryType::try_from(raw) {
        Ok(pos::InquiryType::Payment) => Ok(Inquiry::Payment),
        Ok(pos::InquiryType::Refund) => Ok(Inquiry::Refund),
        Ok(pos::InquiryType::Unspecified) | Err(_) => {
            let mut bad = Violations::default();
            bad.add(Field::InquiryType, "must be INQUIRY_TYPE_PAYMENT or INQUIRY_TYPE_REFUND");
            Err(bad)
        }
    }
}
