//! The second sample day: it uses the whole API. Chains of calls about one payment (payments,
//! repeats, refunds, cancels, inquiries), each with what it must come to where that is certain;
//! played in order within a chain, and held against the ledger of wallet and issuers.

mod audit;
mod lines;
mod play;
mod scenarios;

use twqr_wire::pos::{CancelRequest, PayRequest, QueryRequest, RefundRequest};

pub use audit::{WholeAudit, audit_whole};
pub use lines::{InvalidLine, parse_line, whole_sample_day};
pub use play::{Played, play, settle};
pub use scenarios::whole_day;

/// One call of the day.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Calls of one chain are played one after the other.
    pub chain: u32,
    /// The call.
    pub call: Call,
    /// What it must come to: a StatusCode; of an inquiry, the OrderStatus where there is one; or a
    /// gRPC code's name. None: whatever is true.
    pub expect: Option<String>,
}

/// A call of the public API.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Payment.
    Payment(PayRequest),
    /// Refund.
    Refund {
        /// TradeNo is empty where `payment` names it.
        request: RefundRequest,
        /// The payment's MerchantTradeNo, whose TradeNo is known only once it is answered; empty
        /// where the request has a TradeNo itself.
        payment: String,
    },
    /// Cancel.
    Cancel(CancelRequest),
    /// Inquiry.
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
