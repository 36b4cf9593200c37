//! Tables of the request forms' limits.

use super::*;

fn good() -> RawPay {
    RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        card_token: "22ABCDEFGHIJKLMNOP".into(),
        trade_amount: 100,
        ..RawPay::default()
    }
}

fn fields(raw: RawPay) -> Vec<&'static str> {
    PayForm::parse(raw).map_or_else(|bad| bad.as_slice().iter().map(|v| v.field.proto_name()).collect(), |_| vec![])
}

#[test]
fn each_text_is_accepted_up_to_its_limit_and_not_beyond() {
    type Set = fn(&mut RawPay, String);
    let texts: [(&str, usize, Set); 9] = [
        ("merchant_id", 10, |r, s| r.merchant_id = s),
        ("store_id", 20, |r, s| r.store_id = s),
        ("store_name", 100, |r, s| r.store_name = s),
        ("gateway_trade_no", 20, |r, s| r.gateway_trade_no = s),
        ("merchant_trade_no", 60, |r, s| r.merchant_trade_no = s),
        ("pos_id", 20, |r, s| r.pos_id = s),
        ("remark", 1000, |r, s| r.remark = s),
        ("extra1", 512, |r, s| r.extra1 = s),
        ("extra2", 512, |r, s| r.extra2 = s),
    ];
    for (field, max, set) in texts {
        for (length, expected) in [(max, vec![]), (max + 1, vec![field])] {
            let mut raw = good();
            set(&mut raw, "店".repeat(length));
            assert_eq!(fields(raw), expected, "{field} of {length} characters");
        }
        let mut raw = good();
        set(&mut raw, "a\u{0}b".into());
        assert_eq!(fields(raw), [field], "{field} with a control character");
    }
}

#[test]
fn amounts_are_accepted_only_within_their_limits() {
    for (amount, un_redeem, expected) in [
        (1, 0, vec![]),
        (i64::from(i32::MAX), 0, vec![]),
        (100, 100, vec![]),
        (0, 0, vec!["trade_amount"]),
        (-5, 0, vec!["trade_amount"]),
        (i64::from(i32::MAX) + 1, 0, vec!["trade_amount"]),
        (100, 101, vec!["un_redeem"]),
        (100, -1, vec!["un_redeem"]),
        (i64::MIN, i64::MAX, vec!["trade_amount", "un_redeem"]),
    ] {
        let raw = RawPay { trade_amount: amount, un_redeem, ..good() };
        assert_eq!(fields(raw), expected, "{amount} {un_redeem}");
    }
}

#[test]
fn all_violations_are_listed_together() {
    let raw = RawPay { extra3: "x".into(), pos_trade_time: "now".into(), send_time: "now".into(), ..RawPay::default() };
    let expected =
        ["merchant_id", "merchant_trade_no", "pos_trade_time", "card_token", "trade_amount", "extra3", "send_time"];
    assert_eq!(fields(raw), expected);
}

#[test]
fn a_card_token_is_accepted_unchanged() {
    let raw = RawPay { card_token: "iC_aB-9".into(), ..good() };
    let crate::RecordedToken::Clear(token) = PayForm::parse(raw).unwrap().card_token else { unreachable!() };
    assert_eq!(token.expose(), "iC_aB-9");
    for bad in ["", " 22A", "22A ", "22\u{7f}", "２２"] {
        assert_eq!(fields(RawPay { card_token: bad.into(), ..good() }), ["card_token"], "{bad:?}");
    }
}

#[test]
fn a_query_lists_all_violations_too() {
    let raw = RawQuery { store_id: "x".repeat(21), ..RawQuery::default() };
    let bad = QueryForm::parse(raw).unwrap_err();
    let names: Vec<_> = bad.as_slice().iter().map(|v| v.field.pos_name()).collect();
    assert_eq!(names, ["MerchantID", "StoreID", "MerchantTradeNo"]);
}
