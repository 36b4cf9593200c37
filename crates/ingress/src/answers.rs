//! The answers to callers: what the POS document's response fields contain for an order as the
//! router knows it. gRPC and the POS HTTP form both send these answers, each in its own shape.

mod cancel;
mod payment;
mod refund;

use serde::Serialize;
use twqr_order::{Evidence, Failure, Order, PaymentType};
use twqr_types::{PayForm, StatusCode};

pub(crate) use cancel::{CancelAnswer, cancel_answer, no_payment_to_cancel, unconfirmed_cancel};
pub(crate) use payment::{PaymentAnswer, payment_answer, unconfirmed_payment};
pub(crate) use refund::{RefundAnswer, no_payment_to_refund, refund_answer, unconfirmed_refund};

/// StatusDesc of a success.
const SUCCESS_DESC: &str = "success";
/// StatusDesc of an inquiry about an order whose issuer contradicted a final state.
const CONTRADICTED: &str = "success; the issuer has contradicted the order's state, and an operator must look into it";

/// The request fields that every answer repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Echoes {
    #[serde(rename = "MerchantID")]
    pub(crate) merchant_id: String,
    #[serde(rename = "StoreID")]
    pub(crate) store_id: String,
    #[serde(rename = "GatewayTradeNo")]
    pub(crate) gateway_trade_no: String,
    #[serde(rename = "MerchantTradeNo")]
    pub(crate) merchant_trade_no: String,
    #[serde(rename = "PosID")]
    pub(crate) pos_id: String,
}

impl Echoes {
    /// The echoes of a payment or a cancel request.
    fn of_form(form: &PayForm) -> Self {
        Self {
            merchant_id: form.key.merchant_id.as_str().to_owned(),
            store_id: form.store_id.as_str().to_owned(),
            gateway_trade_no: form.gateway_trade_no.as_str().to_owned(),
            merchant_trade_no: form.key.merchant_trade_no.as_str().to_owned(),
            pos_id: form.pos_id.as_str().to_owned(),
        }
    }
}

/// The result that every answer begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: StatusCode,
    /// The StatusDesc, for people.
    pub(crate) desc: String,
    /// Whether our rules refused the request. An issuer may decline with the same codes.
    pub(crate) is_by_rules: bool,
}

impl Status {
    pub(crate) fn new(code: StatusCode, desc: &str) -> Self {
        Self { code, desc: desc.to_owned(), is_by_rules: false }
    }

    /// The request is about an order that does not exist.
    fn no_such_order(desc: &str) -> Self {
        Self { is_by_rules: true, ..Self::new(StatusCode::NO_SUCH_ORDER, desc) }
    }

    fn failed(failure: &Failure) -> Self {
        let is_by_rules = failure.evidence == Evidence::Refused;
        Self { is_by_rules, ..Self::new(failure.status_code, &failure.status_desc) }
    }

    fn success() -> Self {
        Self::new(StatusCode::SUCCESS, SUCCESS_DESC)
    }
}

/// The fields that payments and refunds have in common. Amounts are in whole TWD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// Absent until it is known.
    pub(crate) payment_type: Option<PaymentType>,
    pub(crate) trade_amount: i64,
    pub(crate) debit_amount: i64,
    pub(crate) redeem_name: String,
    pub(crate) redeem_amount: i64,
    pub(crate) store_redeem_amount: i64,
    pub(crate) invoice_vehicle: String,
    pub(crate) mer_mem_token: String,
    pub(crate) remark: String,
    pub(crate) extra1: String,
    pub(crate) extra2: String,
    pub(crate) extra3: String,
}

impl Details {
    /// The POS document's number of the payment type; 0 while it is not known.
    pub(crate) fn payment_type_number(&self) -> i32 {
        match self.payment_type {
            None => 0,
            Some(PaymentType::StoredValue) => 1,
            Some(PaymentType::BankAccount) => 3,
            Some(PaymentType::CreditCard) => 4,
            Some(PaymentType::OtherIssuer) => 8,
        }
    }
}

/// Whether an inquiry is about a payment or about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InquiryType {
    Payment,
    Refund,
}

/// The OrderStatus of an inquiry; the values are the POS document's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderStatus {
    InProgress = 0,
    Paid = 1,
    Failed = 2,
    FullyRefunded = 4,
    RefundSucceeded = 5,
    PartlyRefunded = 7,
}

/// The answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InquiryAnswer {
    /// Whether the inquiry itself succeeded; the order's own result is within `order`.
    pub(crate) status: Status,
    /// Absent if there is no such order.
    pub(crate) order: Option<InquiredOrder>,
}

/// The order that an inquiry found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are payments")]
pub(crate) enum InquiredOrder {
    Payment(OrderStatus, PaymentAnswer),
    Refund(OrderStatus, RefundAnswer),
}

impl InquiredOrder {
    pub(crate) fn order_status(&self) -> OrderStatus {
        match self {
            Self::Payment(status, _) | Self::Refund(status, _) => *status,
        }
    }

    /// The order's own result.
    pub(crate) fn status(&self) -> &Status {
        match self {
            Self::Payment(_, payment) => &payment.status,
            Self::Refund(_, refund) => &refund.status,
        }
    }
}

/// The answer to an inquiry. An order of the other type counts as no such order.
pub(crate) fn inquiry_answer(order: &Order, inquiry_type: InquiryType, in_progress_code: StatusCode) -> InquiryAnswer {
    let found = match (order, inquiry_type) {
        (Order::Payment(payment), InquiryType::Payment) => {
            InquiredOrder::Payment(payment::order_status(payment), payment_answer(payment, in_progress_code, false))
        }
        (Order::Refund(refund), InquiryType::Refund) => {
            InquiredOrder::Refund(refund::order_status(refund), refund_answer(refund, in_progress_code, false))
        }
        (Order::Payment(_), InquiryType::Refund)
        | (Order::Refund(_), InquiryType::Payment)
        | (Order::EarlyCancel(_), InquiryType::Payment | InquiryType::Refund) => return no_such_order(),
    };
    let desc = if order.contradiction().is_some() { CONTRADICTED } else { SUCCESS_DESC };
    InquiryAnswer { status: Status::new(StatusCode::SUCCESS, desc), order: Some(found) }
}

/// The answer to an inquiry about an order that does not exist.
pub(crate) fn no_such_order() -> InquiryAnswer {
    InquiryAnswer { status: Status::no_such_order("no such order"), order: None }
}

/// Extra3 of a credit card, as the POS document demands it. The issuer's texts lose their control
/// characters: a POS may print them.
fn card_json(name: &str, number: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Card {
        card_name: String,
        card_no: String,
    }
    let printable = |text: &str| text.chars().filter(|c| !c.is_control()).collect();
    serde_json::to_string(&Card { card_name: printable(name), card_no: printable(number) }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
