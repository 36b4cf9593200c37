//! The same wallet and issuers behind an HTTP API of their own, as an example of a bank's system
//! that does not use `twqr.backend.v1`. The reference adapter (`proto/adapters/http-json`) is
//! tested with it. A call is a POST with a JSON object; amounts are texts with two decimals.
//!
//! | path | fields |
//! |---|---|
//! | `/api/pay` | `orderNo`, `issuer`, `shop`, `code`, `amount`, `noPoints`, `note`, `validUntil` |
//! | `/api/refund` | `refundNo`, `orderNo`, `issuer`, `shop`, `amount`, `note`, `validUntil` |
//! | `/api/reverse` | `orderNo`, `issuer`, `shop`, `amount`, `validUntil` |
//! | `/api/query` | `type` (`pay`, `refund`, `reverse`), `no`, `issuer` |
//!
//! The answer has a `result`: `0000` done, `4040` no such number, `2020` not decided yet, `5050`
//! not understood; or the code of a refusal, with its `message`. A call that the fault script loses
//! has no answer.

use axum::{Json, Router, extract::State, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use twqr_wire::backend::{
    Charge, ExchangeRequest, Inquiry, Refund, Reversal, exchange_request::Call, exchange_response::Answer,
    inquiry::Subject,
};

use crate::teller::{Answers, TellerTask};

/// The fields of every call; those that a call does not have are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HttpCall {
    order_no: String,
    refund_no: String,
    issuer: String,
    shop: String,
    code: CardCode,
    amount: String,
    no_points: String,
    note: String,
    /// Unix ms; absent: the call may arrive at any time.
    valid_until: Option<i64>,
    r#type: String,
    no: String,
}

/// A card token, which is not shown.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct CardCode(String);

impl std::fmt::Debug for CardCode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("..")
    }
}

/// The paths of the HTTP form.
pub(crate) fn router(work: mpsc::Sender<TellerTask>) -> Router {
    Router::new()
        .route("/api/pay", post(|State(work), Json(call)| answer(work, pay(call))))
        .route("/api/refund", post(|State(work), Json(call)| answer(work, refund(call))))
        .route("/api/reverse", post(|State(work), Json(call)| answer(work, reverse(call))))
        .route("/api/query", post(|State(work), Json(call)| answer(work, query(call))))
        .with_state(work)
}

type Understood = Option<(String, Call)>;

fn pay(call: HttpCall) -> Understood {
    let charge = Charge {
        trade_no: call.order_no,
        merchant_id: call.shop,
        card_token: call.code.0,
        trade_amount: whole(&call.amount)?,
        un_redeem: if call.no_points.is_empty() { 0 } else { whole(&call.no_points)? },
        remark: call.note,
        send_by_ms: call.valid_until.unwrap_or(i64::MAX),
        ..Charge::default()
    };
    Some((call.issuer, Call::Charge(charge)))
}

fn refund(call: HttpCall) -> Understood {
    let refund = Refund {
        refund_trade_no: call.refund_no,
        trade_no: call.order_no,
        merchant_id: call.shop,
        trade_amount: whole(&call.amount)?,
        remark: call.note,
        send_by_ms: call.valid_until.unwrap_or(i64::MAX),
        ..Refund::default()
    };
    Some((call.issuer, Call::Refund(refund)))
}

fn reverse(call: HttpCall) -> Understood {
    let reversal = Reversal {
        trade_no: call.order_no,
        merchant_id: call.shop,
        trade_amount: whole(&call.amount)?,
        send_by_ms: call.valid_until.unwrap_or(i64::MAX),
        ..Reversal::default()
    };
    Some((call.issuer, Call::Reversal(reversal)))
}

fn query(call: HttpCall) -> Understood {
    let subject = match call.r#type.as_str() {
        "pay" => Subject::Charge,
        "refund" => Subject::Refund,
        "reverse" => Subject::Reversal,
        _ => return None,
    };
    Some((call.issuer, Call::Inquiry(Inquiry { trade_no: call.no, subject: subject.into() })))
}

/// Lets the teller decide, and answers with its first answer.
async fn answer(work: mpsc::Sender<TellerTask>, understood: Understood) -> Json<Value> {
    let Some((institution, call)) = understood else {
        return Json(json!({"result": "5050", "message": "not understood"}));
    };
    let (answers, mut received): (Answers, _) = mpsc::unbounded_channel();
    let request = ExchangeRequest { call_id: 0, institution, call: Some(call) };
    let sent = work.send(TellerTask::Call(Box::new(request), answers)).await;
    match (sent, received.recv().await) {
        (Ok(()), Some(Ok(response))) => Json(body(response.answer)),
        // The call, or its answer, is lost: the connection stays silent until the caller closes it.
        _ => std::future::pending().await,
    }
}

fn body(answer: Option<Answer>) -> Value {
    match answer {
        Some(Answer::Approved(approved)) => json!({
            "result": "0000",
            "method": approved.payment_type.to_string(),
            "paid": text(approved.debit_amount),
            "points": {"name": approved.redeem_name, "used": text(approved.redeem_amount)},
            "storeDiscount": text(approved.store_redeem_amount),
            "carrier": approved.invoice_vehicle,
            "member": approved.mer_mem_token,
            "card": {"name": approved.card_name, "number": approved.card_no_masked},
            "reference": approved.issuer_trade_no,
        }),
        Some(Answer::Refunded(refunded)) => json!({
            "result": "0000",
            "paid": text(refunded.debit_amount),
            "points": {"name": refunded.redeem_name, "used": text(refunded.redeem_amount)},
            "storeDiscount": text(refunded.store_redeem_amount),
            "reference": refunded.issuer_trade_no,
        }),
        Some(Answer::Reversed(reversed)) => json!({"result": "0000", "reference": reversed.issuer_trade_no}),
        Some(Answer::Declined(declined)) => json!({"result": declined.code, "message": declined.reason}),
        Some(Answer::TradeUnknown(_)) => json!({"result": "4040", "message": "no such number"}),
        Some(Answer::Undecided(undecided)) => json!({"result": "2020", "message": undecided.reason}),
        None => json!({"result": "5050"}),
    }
}

/// Whole TWD of a text with two decimals.
fn whole(text: &str) -> Option<i64> {
    text.strip_suffix(".00")?.parse().ok()
}

fn text(twd: i64) -> String {
    format!("{twd}.00")
}
