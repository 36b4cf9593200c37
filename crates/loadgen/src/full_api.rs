//! The sample day that uses the full API. It consists of chains: calls about one payment (payments,
//! repeats, refunds, cancels, inquiries), played in order. Each call names its expected result, if
//! that is certain, and an audit compares all of them with the ledger of the wallet and the
//! issuers.

mod audit;
mod lines;
mod play;
mod scenarios;

use twqr_wire::pos::{CancelRequest, PayRequest, QueryRequest, RefundRequest};

pub use audit::{FullApiAudit, audit_full_api};
pub use lines::{InvalidLine, full_api_sample_day, parse_line};
pub use play::{CallOutcome, PlayedCall, play, settle};
pub use scenarios::full_api_day;

/// One line of the day: a call with its expected result.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The number of the call's chain. The calls of a chain are sent one after the other.
    pub chain: u32,
    /// The call itself.
    pub call: Call,
    /// The expected result: a StatusCode; for an inquiry the OrderStatus, if it has one; or the
    /// name of a gRPC code. `None` accepts any result that agrees with order and ledger.
    pub expect: Option<String>,
}

/// A call of the public API.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A `Payment` of the POS document.
    Payment(PayRequest),
    /// A `Refund` of the POS document.
    Refund {
        /// The request; its TradeNo is empty if `payment` is set.
        request: RefundRequest,
        /// The payment's MerchantTradeNo, because its TradeNo is known only once it is answered.
        /// Empty if the request has a TradeNo.
        payment: String,
    },
    /// A `Cancel` of the POS document.
    Cancel(CancelRequest),
    /// An `Inquiry` of the POS document.
    Inquiry(QueryRequest),
}

impl Call {
    /// The operation's name in the POS document.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Payment(_) => "Payment",
            Self::Refund { .. } => "Refund",
            Self::Cancel(_) => "Cancel",
            Self::Inquiry(_) => "Inquiry",
        }
    }

    /// MerchantID and MerchantTradeNo.
    pub fn key(&self) -> crate::TradeKey {
        match self {
            Self::Payment(request) => (request.merchant_id.clone(), request.merchant_trade_no.clone()),
            Self::Refund { request, .. } => (request.merchant_id.clone(), request.merchant_trade_no.clone()),
            Self::Cancel(request) => (request.merchant_id.clone(), request.merchant_trade_no.clone()),
            Self::Inquiry(request) => (request.merchant_id.clone(), request.merchant_trade_no.clone()),
        }
    }
}
