//! The answers of the form: every field of the POS document's responses, with its type (POS API,
//! section 2).

use serde::Serialize;
use twqr_types::StatusCode;
use twqr_wire::pos::{CancelResponse, PayResponse, QueryResponse, RefundResponse};

use super::{Operation, form::Echoes, refusal::Refusal};

/// How long StatusDesc may be, in characters.
const DESC_LEN_MAX: usize = 1_000;

/// An answer of one of the four operations.
#[derive(Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way out")]
pub(super) enum Answer {
    Payment(PaymentAnswer),
    Inquiry(InquiryAnswer),
    Refund(RefundAnswer),
    Cancel(CancelAnswer),
}

/// The result, as every answer begins.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head {
    #[serde(flatten)]
    echoes: Echoes,
    status_code: String,
    status_desc: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PaymentAnswer {
    #[serde(flatten)]
    head: Head,
    is_rep: &'static str,
    action_code: String,
    #[serde(flatten)]
    payment: Payment,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InquiryAnswer {
    #[serde(flatten)]
    head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_status: Option<i32>,
    #[serde(flatten)]
    payment: Option<Payment>,
    #[serde(flatten)]
    refund: Option<Refund>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RefundAnswer {
    #[serde(flatten)]
    head: Head,
    is_rep: &'static str,
    action_code: String,
    #[serde(flatten)]
    refund: Refund,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelAnswer {
    #[serde(flatten)]
    head: Head,
    action_code: String,
    trade_amount: i64,
}

/// What Payment and Inquiry tell of a payment.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Payment {
    trade_no: String,
    trade_time: String,
    available_amount: i64,
    #[serde(flatten)]
    money: Money,
}

/// What Refund and Inquiry tell of a refund.
#[allow(clippy::struct_field_names, reason = "the names are the POS document's")]
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refund {
    trade_no: String,
    refund_trade_no: String,
    refund_trade_time: String,
    #[serde(flatten)]
    money: Money,
}

/// What payments and refunds have in common.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Money {
    payment_type: i32,
    trade_amount: i64,
    debit_amount: i64,
    redeem_name: String,
    redeem_amount: i64,
    store_redeem_amount: i64,
    invoice_vehicle: String,
    mer_mem_token: String,
    remark: String,
    extra1: String,
    extra2: String,
    extra3: String,
}

macro_rules! money {
    ($response:ident) => {
        Money {
            payment_type: $response.payment_type,
            trade_amount: $response.trade_amount,
            debit_amount: $response.debit_amount,
            redeem_name: $response.redeem_name,
            redeem_amount: $response.redeem_amount,
            store_redeem_amount: $response.store_redeem_amount,
            invoice_vehicle: $response.invoice_vehicle,
            mer_mem_token: $response.mer_mem_token,
            remark: $response.remark,
            extra1: $response.extra1,
            extra2: $response.extra2,
            extra3: $response.extra3,
        }
    };
}

/// The answer to a payment.
pub(super) fn payment(echoes: Echoes, response: PayResponse) -> Answer {
    Answer::Payment(PaymentAnswer {
        head: head(echoes, response.status_code.clone(), &response.status_desc),
        is_rep: is_rep(response.is_rep),
        action_code: response.action_code.clone(),
        payment: of_payment(response),
    })
}

/// The answer to an inquiry. What became of an order that failed is in StatusDesc: no other field
/// has room for it.
pub(super) fn inquiry(echoes: Echoes, response: QueryResponse) -> Answer {
    let result = match (&response.payment, &response.refund) {
        (Some(payment), _) => Some((&payment.status_code, &payment.status_desc)),
        (None, Some(refund)) => Some((&refund.status_code, &refund.status_desc)),
        (None, None) => None,
    };
    let desc = match result {
        Some((code, desc)) if *code != StatusCode::SUCCESS => {
            format!("{}; of the order: {code} {desc}", response.status_desc)
        }
        Some(_) | None => response.status_desc,
    };
    let known = response.status_code == StatusCode::SUCCESS;
    Answer::Inquiry(InquiryAnswer {
        head: head(echoes, response.status_code, &desc),
        order_status: response.order_status.filter(|_| known),
        payment: response.payment.filter(|_| known).map(of_payment),
        refund: response.refund.filter(|_| known).map(of_refund),
    })
}

/// The answer to a refund.
pub(super) fn refund(echoes: Echoes, response: RefundResponse) -> Answer {
    Answer::Refund(RefundAnswer {
        head: head(echoes, response.status_code.clone(), &response.status_desc),
        is_rep: is_rep(response.is_rep),
        action_code: response.action_code.clone(),
        refund: of_refund(response),
    })
}

/// The answer to a cancel.
pub(super) fn cancel(echoes: Echoes, response: CancelResponse) -> Answer {
    Answer::Cancel(CancelAnswer {
        head: head(echoes, response.status_code, &response.status_desc),
        action_code: response.action_code,
        trade_amount: response.trade_amount,
    })
}

/// The answer to what was refused: the same fields, those that nobody knows empty. `trade_amount`
/// is the request's.
pub(super) fn refused(operation: Operation, echoes: Echoes, trade_amount: i64, refusal: &Refusal) -> Answer {
    let head = head(echoes, refusal.status_code.into(), &refusal.desc);
    let money = Money { trade_amount, ..Money::default() };
    match operation {
        Operation::Payment => Answer::Payment(PaymentAnswer {
            head,
            is_rep: is_rep(false),
            payment: Payment { money, ..Payment::default() },
            ..PaymentAnswer::default()
        }),
        Operation::Inquiry => Answer::Inquiry(InquiryAnswer { head, ..InquiryAnswer::default() }),
        Operation::Refund => Answer::Refund(RefundAnswer {
            head,
            is_rep: is_rep(false),
            refund: Refund { money, ..Refund::default() },
            ..RefundAnswer::default()
        }),
        Operation::Cancel => Answer::Cancel(CancelAnswer { head, trade_amount, ..CancelAnswer::default() }),
    }
}

fn head(echoes: Echoes, status_code: String, desc: &str) -> Head {
    Head { echoes, status_code, status_desc: desc.chars().take(DESC_LEN_MAX).collect() }
}

fn is_rep(repeat: bool) -> &'static str {
    if repeat { "1" } else { "0" }
}

fn of_payment(response: PayResponse) -> Payment {
    Payment {
        trade_no: response.trade_no,
        trade_time: response.trade_time,
        available_amount: response.available_amount,
        money: money!(response),
    }
}

fn of_refund(response: RefundResponse) -> Refund {
    Refund {
        trade_no: response.trade_no,
        refund_trade_no: response.refund_trade_no,
        refund_trade_time: response.refund_trade_time,
        money: money!(response),
    }
}
