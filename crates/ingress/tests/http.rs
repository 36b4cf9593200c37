//! The POS HTTP form: what a POS is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use post::{KEY, inquiry_text, payment_text, post, raw, refund_text, sign, signed};
use serde_json::json;
use support::{Stage, order, paid, paying, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use twqr_ingress::{HttpSettings, Settings};
use twqr_wire::bus::{self, reply_record::Body};

const PAYMENT: &str = "/Pos_1-a/Payment";

/// An ingress with the form, and the key file of M1.
async fn stage(settings: Settings) -> (Stage, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = [\"new one\", \"{KEY}\"]\nM2 = \"key of M2\"\n")).unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let stage = Stage::open(Settings { http: Some(HttpSettings { listen, keys_file: Some(file) }), ..settings }).await;
    let address = stage.http.unwrap();
    (stage, address, folder)
}

fn pay(address: SocketAddr, number: &str) -> tokio::task::JoinHandle<post::Told> {
    let body = signed(&payment_text(number), KEY);
    tokio::spawn(async move { post(address, PAYMENT, &body).await })
}

#[tokio::test]
async fn a_payment_is_answered_with_every_field_in_its_type_and_once() {
    let (stage, address, _folder) = stage(settings()).await;
    let call = pay(address, "1");
    let asked = stage.asked(0, 1).await;
    let request = asked[0].pay.as_ref().unwrap();
    assert_eq!((request.card_token.as_str(), request.store_name.as_str()), ("22abcdefghijklmnop", "測試店"));
    stage.reply(&asked[0].reply_to, order("1", paying()), false).await;
    stage.reply(&asked[0].reply_to, order("1", paid()), false).await;
    let told = call.await.unwrap();
    assert_eq!(told.status, 200);
    assert!(told.head.contains("content-type: application/json"), "{}", told.head);
    let mut expected = json!({
        "MerchantID": "M1", "StoreID": "S1", "GatewayTradeNo": "G1", "MerchantTradeNo": "1", "PosID": "P1",
        "StatusCode": "000", "StatusDesc": "success", "IsRep": "0", "ActionCode": "", "TradeNo": "T1",
        "TradeTime": "1970/01/01 08:00:00", "AvailableAmount": 0, "PaymentType": 1, "TradeAmount": 120,
        "DebitAmount": 120, "RedeemName": "", "RedeemAmount": 0, "StoreRedeemAmount": 0, "InvoiceVehicle": "",
        "MerMemToken": "", "Remark": "", "Extra1": "", "Extra2": "", "Extra3": "",
    });
    assert_eq!(told.json(), expected);
    let again = pay(address, "1").await.unwrap();
    expected["IsRep"] = json!("1");
    assert_eq!(again.json(), expected);
    assert_eq!(stage.orders_end().await, 1, "the router was asked once");
}

#[tokio::test]
async fn an_inquiry_has_an_order_status_exactly_where_the_order_is_known() {
    let (stage, address, _folder) = stage(settings()).await;
    let failed = bus::movement::Phase::Failed(bus::Failure {
        status_code: "928".into(),
        status_desc: "balance too low".into(),
        ..bus::Failure::default()
    });
    let missing = Body::NotFound(bus::NotFound::default());
    for (n, (reply, code, status, desc)) in [
        (order("1", paying()), "000", json!(0), "in progress"),
        (order("1", paid()), "000", json!(1), "success"),
        (order("1", failed), "000", json!(2), "928 balance too low"),
        (missing, "916", json!(null), "no such order"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = signed(&inquiry_text("1", "P"), KEY);
        let call = tokio::spawn(async move { post(address, "/Pos/Inquiry", &body).await });
        let asked = stage.asked(n as u64, 1).await;
        stage.reply(&asked[0].reply_to, reply, false).await;
        let told = call.await.unwrap();
        assert_eq!((told.status_code().as_str(), &told.json()["OrderStatus"]), (code, &status), "{told:?}");
        assert!(told.text("StatusDesc").contains(desc), "{told:?}");
        assert_eq!((told.text("PosID"), told.text("GatewayTradeNo")), ("P1".into(), "G1".into()), "its own echoes");
        assert_eq!(told.json().get("TradeNo").is_some(), code == "000", "{told:?}");
    }
    let other = post(address, "/Pos/Inquiry", &signed(&inquiry_text("1", "X"), KEY)).await;
    assert_eq!(
        (other.status_code().as_str(), other.text("StatusDesc").as_str()),
        ("804", "InquiryType: must be P (payment) or R (refund)")
    );
}

#[tokio::test]
async fn without_a_result_in_time_the_order_is_in_progress() {
    let (_stage, address, _folder) = stage(Settings { answer_within_ms: 300, ..settings() }).await;
    let told = pay(address, "1").await.unwrap();
    assert_eq!((told.status_code().as_str(), told.text("TradeNo").as_str()), ("982", ""));
    assert_eq!((told.text("MerchantTradeNo").as_str(), &told.json()["TradeAmount"]), ("1", &json!(120)));
}

#[tokio::test]
async fn refusals_have_the_forms_codes_and_names_and_write_nothing() {
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
        let told = post(address, PAYMENT, &signed(&body, KEY)).await;
        assert_eq!((told.status, told.status_code().as_str()), (200, code), "{to}: {told:?}");
        assert!(told.text("StatusDesc").contains(desc), "{to}: {told:?}");
        assert_eq!((told.text("StoreID").as_str(), told.text("IsRep").as_str()), ("S1", "0"), "{told:?}");
        assert!(!told.body.contains("22abcdefghijklmnop"), "{told:?}");
    }
    for (path, text) in [("Refund", refund_text("1")), ("Cancel", payment_text("1"))] {
        let bad = text.replace("\"MerchantTradeNo\":\"1\"", "\"MerchantTradeNo\":[]");
        let told = post(address, &format!("/Pos/{path}"), &signed(&bad, KEY)).await;
        assert_eq!(told.status_code(), "905", "{told:?}");
        assert_eq!((told.text("PosID").as_str(), told.json()["TradeAmount"].is_i64()), ("P1", true), "{told:?}");
    }
    assert_eq!(stage.orders_end().await, 0);
}

#[tokio::test]
async fn a_conflict_names_the_fields_and_too_many_calls_are_301() {
    let (stage, address, _folder) = stage(Settings { calls_max: 1, answer_within_ms: 1_500, ..settings() }).await;
    let call = pay(address, "1");
    let asked = stage.asked(0, 1).await;
    let shed = pay(address, "2").await.unwrap();
    assert_eq!((shed.status, shed.status_code().as_str()), (200, "301"), "{shed:?}");
    assert!(shed.text("StatusDesc").contains("nothing was accepted"), "{shed:?}");
    let conflict = Body::Conflict(bus::Conflict { fields: vec!["TradeAmount".into(), "StoreID".into()] });
    stage.reply(&asked[0].reply_to, conflict, true).await;
    let told = call.await.unwrap();
    assert_eq!(told.status_code(), "804");
    assert!(told.text("StatusDesc").contains("TradeAmount, StoreID"), "{told:?}");
}

#[tokio::test]
async fn a_signature_that_is_not_the_merchants_changes_nothing() {
    let (stage, address, _folder) = stage(Settings { answer_within_ms: 300, ..settings() }).await;
    let text = payment_text("1");
    let with = |sign: &str| format!("{},\"Sign\":{sign}}}", text.strip_suffix('}').unwrap());
    let of = |key: &str| format!("\"{}\"", sign(&text, key));
    let other = text.replace("120", "121");
    let nobody = text.replace("\"M1\"", "\"M9\"");
    for (name, body) in [
        ("none", text.clone()),
        ("empty", with("\"\"")),
        ("null", with("null")),
        ("a number", with("1")),
        ("another key", with(&of("key of M2"))),
        ("no key", with(&of(""))),
        ("too short", with(&of(KEY).replace(&sign(&text, KEY)[..2], ""))),
        ("of another amount", with(&format!("\"{}\"", sign(&other, KEY)))),
        ("of a merchant that nobody knows", signed(&nobody, "")),
        ("of no merchant", signed(&text.replace("\"MerchantID\":\"M1\",", ""), KEY)),
        ("an unknown field that is not signed", with(&format!("{},\"Zip\":\"\"", of(KEY)))),
        ("of wrong types, too", r#"{"MerchantID":["M1"],"TradeAmount":"x"}"#.to_owned()),
    ] {
        let told = post(address, PAYMENT, &body).await;
        assert_eq!((told.status, told.status_code().as_str()), (200, "904"), "{name}: {told:?}");
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
        let told = post(address, PAYMENT, &body).await;
        assert_eq!(told.status_code(), "982", "{name}: {told:?}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_say_what_there_is() {
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
        ("POST", "/openapi.json", 405, "GET"),
    ] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
        let told = raw(address, head.as_bytes()).await;
        assert_eq!(told.status, status, "{method} {path}: {told:?}");
        assert!(told.text("hint").contains(hint) && !told.text("error").is_empty(), "{method} {path}: {told:?}");
    }
    let described = raw(address, b"GET /openapi.json HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n").await;
    assert_eq!((described.status, described.json()["openapi"].as_str()), (200, Some("3.1.0")));
}

#[tokio::test]
async fn shutdown_lets_calls_end_and_is_bounded() {
    let (stage, address, _folder) = stage(Settings { drain_within_ms: 3_000, ..settings() }).await;
    let call = pay(address, "1");
    let asked = stage.asked(0, 1).await;
    stage.shutdown.cancel();
    stage.reply(&asked[0].reply_to, order("1", paid()), false).await;
    assert_eq!(call.await.unwrap().status_code(), "000", "a call in flight ends");
    tokio::time::timeout(Duration::from_secs(10), stage.serving).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_body_that_comes_late_delays_no_answer() {
    let (_stage, address, _folder) = stage(Settings { answer_within_ms: 2_000, ..settings() }).await;
    let (body, began) = (signed(&payment_text("1"), KEY), std::time::Instant::now());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST {PAYMENT} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.contains(r#""StatusCode":"982""#), "{told}");
    assert!(began.elapsed() < Duration::from_secs(3), "counted from the call's arrival, not from its body's end");
}
