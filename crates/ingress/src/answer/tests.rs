//! Each kind of order in the fields of the POS document.

use twqr_types::RawPay;

use super::*;

fn form() -> PayForm {
    let raw = RawPay {
        merchant_id: "M1".into(),
        store_id: "S1".into(),
        gateway_trade_no: "G1".into(),
        merchant_trade_no: "T1".into(),
        pos_id: "P1".into(),
        card_token: "22ABCDEFGHIJKLMNOP".into(),
        trade_amount: 100,
        remark: "r".into(),
        extra1: "e1".into(),
        extra2: "e2".into(),
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

fn payment(institution: &str, phase: bus::payment::Phase) -> bus::Payment {
    bus::Payment {
        key: Some(bus::OrderKey { merchant_id: "M1".into(), merchant_trade_no: "T1".into() }),
        trade_no: "TRADE".into(),
        accepted_at_ms: 1_741_568_887_999,
        institution: institution.into(),
        terms: Some(bus::PaymentTerms {
            store_id: "S1".into(),
            gateway_trade_no: "G1".into(),
            pos_id: "P1".into(),
            trade_amount: 100,
            remark: "r".into(),
            extra1: "e1".into(),
            extra2: "e2".into(),
            ..Default::default()
        }),
        phase: Some(phase),
        ..Default::default()
    }
}

fn approval(payment_type: pos::PaymentType) -> bus::Approval {
    bus::Approval {
        payment_type: payment_type.into(),
        debit_amount: 90,
        redeem_name: "points".into(),
        redeem_amount: -4,
        store_redeem_amount: -6,
        invoice_vehicle: "/ABC1234".into(),
        mer_mem_token: "member".into(),
        card_name: "\"Gold\" 卡".into(),
        card_no_masked: "4311112222223333".into(),
        issuer_trade_no: "I".into(),
    }
}

fn failure() -> bus::Failure {
    bus::Failure { evidence: 1, status_code: "928".into(), status_desc: "balance too low".into() }
}

/// Institution, phase; then StatusCode, PaymentType, Extra3, and OrderStatus of a query.
type Row = (&'static str, bus::payment::Phase, &'static str, pos::PaymentType, &'static str, pos::OrderStatus);

fn rows() -> Vec<Row> {
    use bus::payment::Phase::{Asking, Failed, Paid, Paying, Unresolved};
    use pos::{OrderStatus as Status, PaymentType as Type};
    const CARD: &str = r#"{"CardName":"\"Gold\" 卡","CardNo":"431111******3333"}"#;
    vec![
        ("", Paid(approval(Type::StoredValue)), "000", Type::StoredValue, "", Status::Paid),
        ("", Paid(approval(Type::BankAccount)), "000", Type::BankAccount, "", Status::Paid),
        ("", Paid(approval(Type::CreditCard)), "000", Type::CreditCard, CARD, Status::Paid),
        ("391", Paid(approval(Type::OtherIssuer)), "000", Type::OtherIssuer, "391", Status::Paid),
        ("391", Paid(approval(Type::CreditCard)), "000", Type::OtherIssuer, "391", Status::Paid),
        ("", Failed(failure()), "928", Type::Unspecified, "", Status::Failed),
        ("391", Failed(failure()), "928", Type::OtherIssuer, "391", Status::Failed),
        ("", Paying(bus::Paying::default()), "982", Type::Unspecified, "", Status::InProgress),
        ("391", Unresolved(bus::Unresolved::default()), "982", Type::OtherIssuer, "391", Status::InProgress),
        ("391", Asking(bus::Asking::default()), "982", Type::OtherIssuer, "391", Status::InProgress),
    ]
}

#[test]
fn payment_and_query_say_the_same() {
    for (institution, phase, code, payment_type, extra3, status) in rows() {
        let row = format!("{institution:?} {phase:?}");
        let payment = payment(institution, phase);
        let view = PayView::from(payment.clone());
        assert_eq!(view.is_final(), status != pos::OrderStatus::InProgress, "{row}");
        let paid = pay_response(&form(), Some(&view), false, "982");
        assert_eq!((paid.status_code.as_str(), paid.payment_type()), (code, payment_type), "{row}");
        assert_eq!((paid.extra3.as_str(), paid.trade_no.as_str()), (extra3, "TRADE"), "{row}");
        assert_eq!(paid.trade_time, "2025/03/10 09:08:07", "{row}");
        assert_eq!((paid.available_amount, paid.action_code.as_str()), (0, ""), "{row}");
        let debit = if code == "000" { 90 } else { 0 };
        assert_eq!((paid.trade_amount, paid.debit_amount), (100, debit), "{row}");
        let queried = query_response(payment, "982");
        assert_eq!((queried.status_code.as_str(), queried.order_status), ("000", Some(status.into())), "{row}");
        assert_eq!(queried.payment, Some(paid), "{row}");
    }
}

#[test]
fn what_is_not_known_is_in_progress() {
    let response = pay_response(&form(), None, true, "977");
    assert_eq!((response.status_code.as_str(), response.trade_no.as_str(), response.is_rep), ("977", "", true));
    assert_eq!((response.merchant_trade_no.as_str(), response.remark.as_str()), ("T1", "r"));
    assert!(response.status_desc.contains("in progress") && response.status_desc.contains("query"));
    let missing = no_such_order();
    assert_eq!((missing.status_code.as_str(), missing.order_status, missing.payment), ("916", None, None));
}

#[test]
fn a_card_number_leaves_masked() {
    for (number, expected) in [
        ("4311112222223333", "431111******3333"),
        ("431111******3333", "431111******3333"),
        ("12345678901", "123456*8901"),
        ("1234567890", "1234567890"),
        ("", ""),
    ] {
        assert_eq!(masked(number), expected);
    }
}
