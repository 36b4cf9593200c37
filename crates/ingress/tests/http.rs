//! The POS HTTP form, with a POS over a bare TCP connection: answers, refusals, signatures and
//! paths.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use post::{KEY, inquiry_text, payment_text, post, raw, refund_text, sign, signed};
use serde_json::json;
use support::{Stage, order, paid, paying, settings, trade_no};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use twqr_ingress::{HttpSettings, Settings};
use twqr_order::{Evidence, Failure, Phase};
use twqr_types::{SignatureForm, StatusCode};
use twqr_wire::convert::ReplyContent;

const PAYMENT: &str = "/Pos_1-a/Payment";

/// An ingress that serves the form, with keys of M1 and M2.
async fn stage(settings: Settings) -> (Stage, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = [\"new one\", \"{KEY}\"]\nM2 = \"key of M2\"\n")).unwrap();
    let stage = Stage::open(Settings {
        http: Some(HttpSettings {
            keys_file: Some(file),
            signature_forms: SignatureForm::ALL.to_vec(),
            send_time_window_s: None,
        }),
        ..settings
    })
    .await;
    let address = stage.http.unwrap();
    (stage, address, folder)
}

fn pay(address: SocketAddr, number: &str) -> tokio::task::JoinHandle<post::PosAnswer> {
    let body = signed(&payment_text(number), KEY);
    tokio::spawn(async move { post(address, PAYMENT, &body).await })
}

#[tokio::test]
async fn a_payment_is_answered_with_every_field_and_a_repeat_without_the_router() {
    let (stage, address, _folder) = stage(settings()).await;
    let call = pay(address, "1");
    let requests = stage.requests(0, 1).await;
    let request = requests[0].pay.as_ref().unwrap();
    assert!(request.card_token.begins_with("22abcd") && !request.card_token.begins_with("22abcde"));
    assert_eq!((request.card_token.length(), request.store_name.as_str()), (18, "測試店"));
    assert!(!requests[0].bytes.windows(12).any(|bytes| bytes == b"efghijklmnop"), "the token is in the log");
    stage.reply(&requests[0].reply_to, order("1", paying()), false).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    let answer = call.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let mut expected = json!({
        "MerchantID": "M1", "StoreID": "S1", "GatewayTradeNo": "G1", "MerchantTradeNo": "1", "PosID": "P1",
        "StatusCode": "000", "StatusDesc": "success", "IsRep": "0", "ActionCode": "", "TradeNo": trade_no().as_str(),
        "TradeTime": "1970/01/01 08:00:00", "AvailableAmount": 0, "PaymentType": 1, "TradeAmount": 120,
        "DebitAmount": 120, "RedeemName": "", "RedeemAmount": 0, "StoreRedeemAmount": 0, "InvoiceVehicle": "",
        "MerMemToken": "", "Remark": "", "Extra1": "", "Extra2": "", "Extra3": "",
    });
    assert_eq!(answer.json(), expected);
    let again = pay(address, "1").await.unwrap();
    expected["IsRep"] = json!("1");
    assert_eq!(again.json(), expected);
    assert_eq!(stage.orders_end().await, 1, "the repeat must not reach the router");
}

#[tokio::test]
async fn an_inquiry_has_an_order_status_exactly_if_the_order_exists() {
    let (stage, address, _folder) = stage(settings()).await;
    let failed = Phase::Failed(Failure {
        evidence: Evidence::Declined,
        status_code: StatusCode::BALANCE_TOO_LOW,
        status_desc: "balance too low".into(),
    });
    for (n, (reply, code, status, desc)) in [
        (order("1", paying()), "000", json!(0), "in progress"),
        (order("1", paid()), "000", json!(1), "success"),
        (order("1", failed), "000", json!(2), "928 balance too low"),
        (ReplyContent::NotFound, "916", json!(null), "no such order"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = signed(&inquiry_text("1", "P"), KEY);
        let call = tokio::spawn(async move { post(address, "/Pos/Inquiry", &body).await });
        let requests = stage.requests(n as u64, 1).await;
        stage.reply(&requests[0].reply_to, reply, false).await;
        let answer = call.await.unwrap();
        assert_eq!((answer.status_code().as_str(), &answer.json()["OrderStatus"]), (code, &status), "{answer:?}");
        assert!(answer.text("StatusDesc").contains(desc), "{answer:?}");
        assert_eq!(
            (answer.text("PosID"), answer.text("GatewayTradeNo")),
            ("P1".into(), "G1".into()),
            "the echoes must be those of the inquiry"
        );
        assert_eq!(answer.json().get("TradeNo").is_some(), code == "000", "{answer:?}");
    }
    let other = post(address, "/Pos/Inquiry", &signed(&inquiry_text("1", "X"), KEY)).await;
    assert_eq!(
        (other.status_code().as_str(), other.text("StatusDesc").as_str()),
        ("804", "InquiryType: must be P (payment) or R (refund)")
    );
}

#[tokio::test]
async fn without_a_result_the_answer_at_the_deadline_is_in_progress() {
    let (_stage, address, _folder) = stage(Settings { answer_within_ms: 300, ..settings() }).await;
    let answer = pay(address, "1").await.unwrap();
    assert_eq!((answer.status_code().as_str(), answer.text("TradeNo").as_str()), ("982", ""));
    assert_eq!((answer.text("MerchantTradeNo").as_str(), &answer.json()["TradeAmount"]), ("1", &json!(120)));
}

#[tokio::test]
async fn refusals_have_status_codes_and_pos_field_names_and_write_nothing() {
    let (stage, address, _folder) = stage(settings()).await;
    let good = payment_text("1");
    for (from, to, code, desc) in [
        (
            r#""MerchantTradeNo":"1""#,
            r#""MerchantTradeNo":"""#,
            "804",
            "MerchantTradeNo: is required and must not be empty",
        ),
        (r#","MerchantTradeNo":"1""#, "", "804", "MerchantTradeNo: is required"),
        (r#""CardToken":"22abcdefghijklmnop","#, r#""CardToken":null,"#, "804", "CardToken: is required"),
        (r#""TradeAmount":120,"#, "", "804", "TradeAmount: is required"),
        (r#""TradeAmount":120"#, r#""TradeAmount":0"#, "940", "TradeAmount: is 0, must be above 0"),
        (r#""TradeAmount":120"#, r#""TradeAmount":-5"#, "940", "TradeAmount: is -5"),
        (r#""PosTradeTime":"2025/03/10 09:08:07""#, r#""PosTradeTime":"now""#, "804", "PosTradeTime: must be"),
        (r#""2025/03/10 09:08:07""#, r#""0115/11/28 10:00:00""#, "804", "such as 2026 and not 115"),
        (r#""2025/03/10 09:08:07""#, r#""115/11/28 10:00:00""#, "804", "such as 2026 and not 115"),
        (r#""20250310090807""#, r#""01151128100000""#, "804", "SendTime: must be empty or a real date"),
        (r#""UnRedeem":0"#, r#""UnRedeem":121"#, "804", "UnRedeem: is 121"),
        (r#""TradeAmount":120"#, r#""TradeAmount":1.0"#, "905", "TradeAmount must be a whole number"),
        (r#""TradeAmount":120"#, r#""TradeAmount":1e2"#, "905", "TradeAmount must be a whole number"),
        (r#""TradeAmount":120"#, r#""TradeAmount":"120""#, "905", "TradeAmount must be a whole number"),
        (r#""TradeAmount":120"#, r#""TradeAmount":99999999999999999999"#, "905", "TradeAmount is far beyond its range"),
        (r#""TradeAmount":120"#, r#""TradeAmount":9223372036854775808"#, "905", "at most 2147483647"),
        (r#""TradeAmount":120"#, r#""TradeAmount":-9223372036854775809"#, "905", "TradeAmount is far beyond its range"),
        (
            r#""CardToken":"22abcdefghijklmnop""#,
            r#""CardToken":["22abcdefghijklmnop"]"#,
            "905",
            "CardToken must be a text",
        ),
        (r#""PosID":"P1""#, r#""PosID":1"#, "905", "PosID must be a text"),
    ] {
        let body = good.replace(from, to);
        assert_ne!(body, good, "{from}");
        let answer = post(address, PAYMENT, &signed(&body, KEY)).await;
        assert_eq!((answer.status, answer.status_code().as_str()), (200, code), "{to}: {answer:?}");
        assert!(answer.text("StatusDesc").contains(desc), "{to}: {answer:?}");
        assert_eq!((answer.text("StoreID").as_str(), answer.text("IsRep").as_str()), ("S1", "0"), "{answer:?}");
        assert!(!answer.body.contains("22abcdefghijklmnop"), "{answer:?}");
    }
    for (path, text) in [("Refund", refund_text("1")), ("Cancel", payment_text("1"))] {
        let bad = text.replace("\"MerchantTradeNo\":\"1\"", "\"MerchantTradeNo\":[]");
        let answer = post(address, &format!("/Pos/{path}"), &signed(&bad, KEY)).await;
        assert_eq!(answer.status_code(), "905", "{answer:?}");
        assert_eq!((answer.text("PosID").as_str(), answer.json()["TradeAmount"].is_i64()), ("P1", true), "{answer:?}");
    }
    assert_eq!(stage.orders_end().await, 0);
}

#[tokio::test]
async fn a_conflict_names_the_fields_that_differ_and_too_many_calls_are_301() {
    let (stage, address, _folder) = stage(Settings { calls_max: 1, answer_within_ms: 1_500, ..settings() }).await;
    let call = pay(address, "1");
    let requests = stage.requests(0, 1).await;
    let shed = pay(address, "2").await.unwrap();
    assert_eq!((shed.status, shed.status_code().as_str()), (200, "301"), "{shed:?}");
    assert!(shed.text("StatusDesc").contains("nothing was accepted"), "{shed:?}");
    let conflict = ReplyContent::Conflict(vec!["TradeAmount".into(), "StoreID".into()]);
    stage.reply(&requests[0].reply_to, conflict, true).await;
    let answer = call.await.unwrap();
    assert_eq!(answer.status_code(), "804");
    assert!(answer.text("StatusDesc").contains("TradeAmount, StoreID"), "{answer:?}");
}

#[tokio::test]
async fn a_request_without_a_signature_of_its_merchant_changes_nothing() {
    let (stage, address, _folder) = stage(Settings { answer_within_ms: 300, ..settings() }).await;
    let text = payment_text("1");
    let with = |sign: &str| format!("{},\"Sign\":{sign}}}", text.strip_suffix('}').unwrap());
    let of = |key: &str| format!("\"{}\"", sign(&text, key));
    let other = text.replace("120", "121");
    let unknown = text.replace("\"M1\"", "\"M9\"");
    for (name, body) in [
        ("no signature", text.clone()),
        ("empty", with("\"\"")),
        ("null", with("null")),
        ("a number", with("1")),
        ("another key", with(&of("key of M2"))),
        ("no key", with(&of(""))),
        ("too short", with(&of(KEY).replace(&sign(&text, KEY)[..2], ""))),
        ("of another amount", with(&format!("\"{}\"", sign(&other, KEY)))),
        ("of an unknown merchant", signed(&unknown, "")),
        ("of no merchant", signed(&text.replace("\"MerchantID\":\"M1\",", ""), KEY)),
        ("an unknown field that is not signed", with(&format!("{},\"Zip\":\"\"", of(KEY)))),
        ("of wrong types, too", r#"{"MerchantID":["M1"],"TradeAmount":"x"}"#.to_owned()),
    ] {
        let answer = post(address, PAYMENT, &body).await;
        assert_eq!((answer.status, answer.status_code().as_str()), (200, "904"), "{name}: {answer:?}");
    }
    assert_eq!(stage.orders_end().await, 0);
    for (name, body) in [
        ("capitals", with(&of(KEY).to_uppercase())),
        ("the other of two keys", with(&of("new one"))),
        (
            "an unknown field that is signed",
            signed(&text.replace("\"UnRedeem\":0", "\"UnRedeem\":0,\"Z\":{\"a\":[1.0]}"), KEY),
        ),
    ] {
        let answer = post(address, PAYMENT, &body).await;
        assert_eq!(answer.status_code(), "982", "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn the_answer_to_another_path_or_method_lists_the_valid_ones() {
    let (_stage, address, _folder) = stage(settings()).await;
    let long = format!("/{}/Payment", "x".repeat(33));
    for (method, path, status, hint) in [
        ("POST", "/", 404, "Payment, Inquiry, Refund or Cancel"),
        ("POST", "/Pos/payment", 404, "Payment, Inquiry"),
        ("POST", "/Pos/a/Payment", 404, "Payment, Inquiry"),
        ("POST", "/a.b/Payment", 404, "1 to 32 letters"),
        ("POST", "/%E8%A1%97/Payment", 404, "1 to 32 letters"),
        ("POST", "/%FF/Payment", 404, "1 to 32 letters"),
        ("POST", &long, 404, "1 to 32 letters"),
        ("GET", "/Pos/Payment", 405, "calls are POST"),
        ("DELETE", "/Pos/Cancel", 405, "calls are POST"),
        ("TRACE", "/Pos/Payment", 405, "calls are POST"),
        ("POST", "/openapi.json", 405, "GET"),
    ] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
        let answer = raw(address, head.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.text("hint").contains(hint) && !answer.text("error").is_empty(), "{method} {path}: {answer:?}");
    }
    let described = raw(address, b"GET /openapi.json HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n").await;
    assert_eq!((described.status, described.json()["openapi"].as_str()), (200, Some("3.1.0")));
}

#[tokio::test]
async fn shutdown_lets_calls_end_within_its_limit() {
    let (stage, address, _folder) = stage(Settings { drain_within_ms: 3_000, ..settings() }).await;
    let call = pay(address, "1");
    let requests = stage.requests(0, 1).await;
    stage.shutdown.cancel();
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    assert_eq!(call.await.unwrap().status_code(), "000", "a call in flight must get its answer");
    tokio::time::timeout(Duration::from_secs(10), stage.serving).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port must be closed");
}

#[tokio::test]
async fn a_late_body_does_not_extend_the_deadline() {
    let (_stage, address, _folder) = stage(Settings { answer_within_ms: 2_000, ..settings() }).await;
    let (body, began) = (signed(&payment_text("1"), KEY), std::time::Instant::now());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST {PAYMENT} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(r#""StatusCode":"982""#), "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "the deadline counts from the call's arrival, not from the end of its body"
    );
}
