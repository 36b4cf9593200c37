//! Tests of the audit: each fault is reported in the list for its kind, and a correct day has none.

use twqr_wire::pos::{CancelRequest, PayRequest, RefundRequest};

use super::*;
use crate::full_api::{CallOutcome, Line};

/// A day on which one payment of 100 TWD was refunded by 40; each case changes a part of it.
struct Day {
    status: OrderStatus,
    payment: PayResponse,
    refund_status: OrderStatus,
    refund: RefundResponse,
    entries: Vec<LedgerEntry>,
    calls: Vec<PlayedCall>,
}

fn entry(kind: Kind, amount: i64) -> LedgerEntry {
    let refund_trade_no = if kind == Kind::Refunded { "R" } else { "" };
    LedgerEntry {
        kind: kind.into(),
        trade_no: "T".into(),
        refund_trade_no: refund_trade_no.into(),
        trade_amount: amount,
        ..LedgerEntry::default()
    }
}

fn call(call: Call, expect: &str, result: &str) -> PlayedCall {
    let expect = (!expect.is_empty()).then(|| expect.to_owned());
    let outcome = CallOutcome { result: result.into(), ..CallOutcome::default() };
    PlayedCall { line: Line { chain: 0, call, expect }, outcome }
}

fn day() -> Day {
    Day {
        status: OrderStatus::PartlyRefunded,
        payment: PayResponse {
            trade_no: "T".into(),
            status_code: "000".into(),
            trade_amount: 100,
            debit_amount: 95,
            redeem_amount: -5,
            ..PayResponse::default()
        },
        refund_status: OrderStatus::RefundSucceeded,
        refund: RefundResponse {
            trade_no: "T".into(),
            refund_trade_no: "R".into(),
            status_code: "000".into(),
            trade_amount: 40,
            debit_amount: 38,
            redeem_amount: 2,
            ..RefundResponse::default()
        },
        entries: vec![entry(Kind::Charged, 100), entry(Kind::Refunded, 40)],
        calls: Vec::new(),
    }
}

fn found(day: &Day) -> [usize; 6] {
    let key = |number: &str| ("M".to_owned(), number.to_owned());
    let payment = QueryResponse {
        order_status: Some(day.status.into()),
        payment: Some(day.payment.clone()),
        ..QueryResponse::default()
    };
    let refund = QueryResponse {
        order_status: Some(day.refund_status.into()),
        refund: Some(day.refund.clone()),
        ..QueryResponse::default()
    };
    let orders = [((key("P"), false), payment), ((key("B"), true), refund)].into();
    let found = audit_full_api(&day.calls, &orders, &day.entries);
    [
        found.twice.len(),
        found.over_refunded.len(),
        found.lost.len(),
        found.contradicted.len(),
        found.unexpected.len(),
        found.malformed.len(),
    ]
}

fn pay_call() -> Call {
    Call::Payment(PayRequest { merchant_id: "M".into(), merchant_trade_no: "P".into(), ..PayRequest::default() })
}

fn refund_call() -> Call {
    let request = RefundRequest { merchant_id: "M".into(), merchant_trade_no: "B".into(), ..RefundRequest::default() };
    Call::Refund { request, payment: "P".into() }
}

fn cancel_call() -> Call {
    Call::Cancel(CancelRequest { merchant_id: "M".into(), merchant_trade_no: "P".into(), ..CancelRequest::default() })
}

#[test]
fn each_fault_is_reported_in_the_list_for_its_kind() {
    type Change = fn(&mut Day);
    let cases: [(&str, Change, [usize; 6]); 15] = [
        ("no fault", |_| {}, [0; 6]),
        ("charged twice", |d| d.entries.push(entry(Kind::Charged, 100)), [1, 0, 0, 1, 0, 0]),
        ("sent twice to an idempotent issuer", |d| d.entries.push(entry(Kind::Repeated, 100)), [0; 6]),
        ("refunded twice", |d| d.entries.push(entry(Kind::Refunded, 40)), [1, 0, 0, 1, 0, 0]),
        ("returned too much", |d| d.entries.push(entry(Kind::Reversed, 61)), [0, 1, 0, 1, 0, 0]),
        ("never ended", |d| d.status = OrderStatus::InProgress, [0, 0, 1, 0, 0, 0]),
        ("failed and charged", |d| d.status = OrderStatus::Failed, [0, 0, 0, 1, 0, 0]),
        ("the refund failed and took effect", |d| d.refund_status = OrderStatus::Failed, [0, 0, 0, 1, 0, 0]),
        ("charged without an order", |d| d.payment.trade_no = "X".into(), [0, 0, 1, 1, 0, 0]),
        ("not the expected result", |d| d.calls.push(call(pay_call(), "000", "928")), [0, 0, 0, 0, 1, 0]),
        (
            "answered refused, but refunded",
            |d| {
                let refund = RefundResponse { status_code: "922".into(), ..d.refund.clone() };
                let mut refused = call(refund_call(), "", "922");
                refused.outcome.refund = Some(refund);
                d.calls.push(refused);
            },
            [0, 0, 0, 1, 0, 0],
        ),
        ("answered cancelled, not reversed", |d| d.calls.push(call(cancel_call(), "", "000")), [0, 0, 0, 1, 0, 0]),
        ("a redemption with the wrong sign", |d| d.payment.redeem_amount = 5, [0, 0, 0, 0, 0, 2]),
        ("an invalid carrier", |d| d.payment.invoice_vehicle = "me".into(), [0, 0, 0, 0, 0, 1]),
        (
            "a card number",
            |d| {
                d.payment.payment_type = PaymentType::CreditCard.into();
                d.payment.extra3 = r#"{"CardName":"x","CardNo":"4111111111111111"}"#.into();
            },
            [0, 0, 0, 0, 0, 1],
        ),
    ];
    for (name, change, expected) in cases {
        let mut day = day();
        change(&mut day);
        assert_eq!(found(&day), expected, "{name}");
    }
}
