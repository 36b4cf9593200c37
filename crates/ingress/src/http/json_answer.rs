//! The answers of the POS HTTP form as JSON: every field of the POS document's responses, with its
//! type (`proto/README.md`, section Fields).

use serde::Serialize;
use twqr_types::StatusCode;

use super::{Operation, pos_refusal::PosRefusal};
use crate::answers::{
    CancelAnswer, Details, Echoes, InquiredOrder, InquiryAnswer, PaymentAnswer, RefundAnswer, Status,
};

/// How long StatusDesc may be, in characters.
const DESC_LEN_MAX: usize = 1_000;

/// The answer of one of the four operations.
#[derive(Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way out")]
pub(super) enum JsonAnswer {
    Payment(PaymentBody),
    Inquiry(InquiryBody),
    Refund(RefundBody),
    Cancel(CancelBody),
}

/// The fields with which every answer begins.
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
pub(super) struct PaymentBody {
    #[serde(flatten)]
    head: Head,
    is_rep: &'static str,
    action_code: String,
    #[serde(flatten)]
    payment: PaymentFields,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InquiryBody {
    #[serde(flatten)]
    head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_status: Option<i32>,
    #[serde(flatten)]
    payment: Option<PaymentFields>,
    #[serde(flatten)]
    refund: Option<RefundFields>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RefundBody {
    #[serde(flatten)]
    head: Head,
    is_rep: &'static str,
    action_code: String,
    #[serde(flatten)]
    refund: RefundFields,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelBody {
    #[serde(flatten)]
    head: Head,
    action_code: String,
    trade_amount: i64,
}

/// The fields of a payment, in the answers of Payment and Inquiry.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PaymentFields {
    trade_no: String,
    trade_time: String,
    available_amount: i64,
    #[serde(flatten)]
    details: DetailFields,
}

/// The fields of a refund, in the answers of Refund and Inquiry.
#[allow(clippy::struct_field_names, reason = "the names are the POS document's")]
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RefundFields {
    trade_no: String,
    refund_trade_no: String,
    refund_trade_time: String,
    #[serde(flatten)]
    details: DetailFields,
}

/// The fields that payments and refunds have in common.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DetailFields {
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

impl From<Details> for DetailFields {
    fn from(details: Details) -> Self {
        Self {
            payment_type: details.payment_type_number(),
            trade_amount: details.trade_amount,
            debit_amount: details.debit_amount,
            redeem_name: details.redeem_name,
            redeem_amount: details.redeem_amount,
            store_redeem_amount: details.store_redeem_amount,
            invoice_vehicle: details.invoice_vehicle,
            mer_mem_token: details.mer_mem_token,
            remark: details.remark,
            extra1: details.extra1,
            extra2: details.extra2,
            extra3: details.extra3,
        }
    }
}

/// The answer to a Payment. Its echoes are those of the JSON request, as in every answer here.
pub(super) fn payment(echoes: Echoes, answer: PaymentAnswer) -> JsonAnswer {
    JsonAnswer::Payment(PaymentBody {
        head: head(echoes, &answer.status),
        is_rep: is_rep(answer.is_repeat),
        action_code: String::new(),
        payment: payment_fields(answer),
    })
}

/// The answer to an Inquiry. If the order failed, StatusDesc contains its StatusCode and
/// StatusDesc: no other field has room for them.
pub(super) fn inquiry(echoes: Echoes, answer: InquiryAnswer) -> JsonAnswer {
    let mut body = InquiryBody { head: head(echoes, &answer.status), ..InquiryBody::default() };
    if let Some(order) = answer.order {
        body.order_status = Some(order.order_status() as i32);
        let result = order.status();
        if result.code != StatusCode::SUCCESS {
            let desc = format!("{}; of the order: {} {}", answer.status.desc, result.code, result.desc);
            body.head.status_desc = cut(&desc);
        }
        match order {
            InquiredOrder::Payment(_, payment) => body.payment = Some(payment_fields(payment)),
            InquiredOrder::Refund(_, refund) => body.refund = Some(refund_fields(refund)),
        }
    }
    JsonAnswer::Inquiry(body)
}

/// The answer to a Refund.
pub(super) fn refund(echoes: Echoes, answer: RefundAnswer) -> JsonAnswer {
    JsonAnswer::Refund(RefundBody {
        head: head(echoes, &answer.status),
        is_rep: is_rep(answer.is_repeat),
        action_code: String::new(),
        refund: refund_fields(answer),
    })
}

/// The answer to a Cancel.
pub(super) fn cancel(echoes: Echoes, answer: &CancelAnswer) -> JsonAnswer {
    JsonAnswer::Cancel(CancelBody {
        head: head(echoes, &answer.status),
        action_code: String::new(),
        trade_amount: answer.trade_amount,
    })
}

/// The answer to a refused request: it has the same fields as any other answer, empty where nothing
/// is known. `trade_amount` is the request's.
pub(super) fn refused(operation: Operation, echoes: Echoes, trade_amount: i64, refusal: &PosRefusal) -> JsonAnswer {
    let head = head(echoes, &Status::new(refusal.status_code, &refusal.desc));
    let details = DetailFields { trade_amount, ..DetailFields::default() };
    match operation {
        Operation::Payment => JsonAnswer::Payment(PaymentBody {
            head,
            is_rep: is_rep(false),
            payment: PaymentFields { details, ..PaymentFields::default() },
            ..PaymentBody::default()
        }),
        Operation::Inquiry => JsonAnswer::Inquiry(InquiryBody { head, ..InquiryBody::default() }),
        Operation::Refund => JsonAnswer::Refund(RefundBody {
            head,
            is_rep: is_rep(false),
            refund: RefundFields { details, ..RefundFields::default() },
            ..RefundBody::default()
        }),
        Operation::Cancel => JsonAnswer::Cancel(CancelBody { head, trade_amount, ..CancelBody::default() }),
    }
}

fn head(echoes: Echoes, status: &Status) -> Head {
    Head { echoes, status_code: status.code.into(), status_desc: cut(&status.desc) }
}

fn cut(desc: &str) -> String {
    desc.chars().take(DESC_LEN_MAX).collect()
}

fn is_rep(is_repeat: bool) -> &'static str {
    if is_repeat { "1" } else { "0" }
}

fn payment_fields(answer: PaymentAnswer) -> PaymentFields {
    PaymentFields {
        trade_no: answer.trade_no,
        trade_time: answer.trade_time,
        available_amount: 0,
        details: answer.details.into(),
    }
}

fn refund_fields(answer: RefundAnswer) -> RefundFields {
    RefundFields {
        trade_no: answer.trade_no,
        refund_trade_no: answer.refund_trade_no,
        refund_trade_time: answer.refund_trade_time,
        details: answer.details.into(),
    }
}
