//! The POS HTTP form with requests like those of POS clients in public use. They differ in the
//! order of fields, in how they escape characters, and in the case of the signature; some read
//! answers with strict types.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::net::SocketAddr;

use post::{send, sign};
use serde::Deserialize;
use support::{Stage, order, paid, settings};
use twqr_ingress::{HttpSettings, Settings};
use twqr_types::SignatureForm;

const KEY: &str = "0123456789ABCDEF0123456789ABCDEF";

/// One client's way of sending a request.
struct Client {
    name: &'static str,
    /// The path before the operation.
    system: &'static str,
    headers: &'static str,
    /// Makes the body from the canonical text and its signature.
    body: fn(text: &str, sign: &str) -> String,
}

const CLIENTS: [Client; 4] = [
    Client {
        name: "fields sorted, signature sorted among them and in capitals, no charset",
        system: "/Test",
        headers: "Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: Ruby\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n",
        body: |text, sign| text.replace("\"StoreID\"", &format!("\"Sign\":\"{}\",\"StoreID\"", sign.to_uppercase())),
    },
    Client {
        name: "fields in the order of its class, signature last",
        system: "/Test",
        headers: "Content-Type: application/json; charset=utf-8\r\n",
        body: |text, sign| {
            let mut fields: Vec<&str> = text.trim_matches(['{', '}']).split(",\"").collect();
            fields[0] = fields[0].trim_start_matches('"');
            let fields: Vec<String> = fields.into_iter().rev().map(|field| format!("\"{field}")).collect();
            format!("{{{},\"Sign\":\"{sign}\"}}", fields.join(","))
        },
    },
    Client {
        name: "slashes and all characters beyond ASCII escaped",
        system: "/SystemName",
        headers: "Content-Type: application/json; charset=UTF-8\r\nAccept: */*\r\n",
        body: |text, sign| {
            let ascii = |c: char| match c {
                '/' => "\\/".to_owned(),
                c if c.is_ascii() => c.to_string(),
                c => {
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
                }
            };
            let text: String = text.chars().map(ascii).collect();
            format!("{},\"Sign\":\"{sign}\"}}", text.strip_suffix('}').unwrap())
        },
    },
    Client {
        name: "indented, with CRLF line breaks",
        system: "/pos-1",
        headers: "Content-Type: application/json\r\n",
        body: |text, sign| {
            let lines = text.strip_suffix('}').unwrap().replace(",\"", ",\r\n  \"").replace("\":", "\" : ");
            format!("{lines},\r\n  \"Sign\" : \"{sign}\"\r\n}}\r\n")
        },
    },
];

/// The canonical text of a request: the fields of every request, and those of the operation.
fn text(operation: &str, number: &str) -> String {
    let own = |with: &[&str]| {
        let mut fields: Vec<String> = [
            "\"GatewayTradeNo\":\"\"".to_owned(),
            "\"MerchantID\":\"9999999\"".to_owned(),
            format!("\"MerchantTradeNo\":\"{number}\""),
            "\"PosID\":\"m1\"".to_owned(),
            "\"PosTradeTime\":\"2025/03/10 09:08:07\"".to_owned(),
            "\"SendTime\":\"20250310090807\"".to_owned(),
            "\"StoreID\":\"9999999\"".to_owned(),
        ]
        .into();
        fields.extend(with.iter().map(|field| (*field).to_owned()));
        fields.sort();
        format!("{{{}}}", fields.join(","))
    };
    let notes =
        ["\"Remark\":\"\"", "\"Extra1\":\"\"", "\"Extra2\":\"\"", "\"Extra3\":\"\"", "\"StoreName\":\"街口🍵測試\""];
    let charge = ["\"CardToken\":\"22C333334444455555\"", "\"TradeAmount\":10", "\"UnRedeem\":0"];
    match operation {
        "Payment" | "Cancel" => own(&[&notes[..], &charge[..]].concat()),
        "Refund" => own(&[&notes[..], &["\"TradeNo\":\"T0000000000000071KWWEVR61\"", "\"TradeAmount\":10"]].concat()),
        _ => own(&["\"InquiryType\":\"P\""]),
    }
}

/// The answer as a client with strict types reads it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(dead_code, reason = "the test is whether it can be read")]
struct TypedAnswer {
    #[serde(rename = "MerchantID")]
    merchant_id: String,
    #[serde(rename = "StoreID")]
    store_id: String,
    gateway_trade_no: String,
    merchant_trade_no: String,
    #[serde(rename = "PosID")]
    pos_id: String,
    status_code: String,
    status_desc: String,
    is_rep: Option<String>,
    action_code: Option<String>,
    order_status: Option<i32>,
    trade_no: Option<String>,
    trade_time: Option<String>,
    refund_trade_no: Option<String>,
    refund_trade_time: Option<String>,
    payment_type: Option<i32>,
    trade_amount: Option<i32>,
    debit_amount: Option<i32>,
    redeem_name: Option<String>,
    redeem_amount: Option<i32>,
    store_redeem_amount: Option<i32>,
    available_amount: Option<i32>,
    invoice_vehicle: Option<String>,
    mer_mem_token: Option<String>,
    extra3: Option<String>,
}

async fn stage() -> (Stage, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\n9999999 = \"{KEY}\"\n")).unwrap();
    let http =
        HttpSettings { keys_file: Some(file), signature_forms: SignatureForm::ALL.to_vec(), send_time_window_s: None };
    let stage = Stage::open(Settings { http: Some(http), answer_within_ms: 300, ..settings() }).await;
    let address = stage.http.unwrap();
    (stage, address, folder)
}

#[tokio::test]
async fn all_four_operations_accept_the_requests_of_every_client() {
    let (_stage, address, _folder) = stage().await;
    for (n, client) in CLIENTS.iter().enumerate() {
        for operation in ["Payment", "Inquiry", "Refund", "Cancel"] {
            let text = text(operation, &format!("{operation}-{n}"));
            let body = (client.body)(&text, &sign(&text, KEY));
            let answer =
                send(address, &format!("{}/{operation}", client.system), client.headers, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{}: {body}", client.name);
            let read: TypedAnswer = serde_json::from_str(&answer.body).unwrap();
            assert!(!["904", "905", "804", "940"].contains(&&*read.status_code), "{}: {body}: {read:?}", client.name);
            assert_eq!(read.merchant_trade_no, format!("{operation}-{n}"), "{}", client.name);
            let wrong = (client.body)(&text, &sign(&text, "another key"));
            let answer =
                send(address, &format!("{}/{operation}", client.system), client.headers, wrong.as_bytes()).await;
            assert_eq!(answer.status_code(), "904", "{}: {wrong}", client.name);
        }
    }
}

#[tokio::test]
async fn the_repeat_of_another_client_counts_as_a_repeat() {
    let (stage, address, _folder) = stage().await;
    let mut seen = Vec::new();
    for client in &CLIENTS {
        let text = text("Payment", "1");
        let body = (client.body)(&text, &sign(&text, KEY));
        let path = format!("{}/Payment", client.system);
        let call = tokio::spawn(async move { send(address, &path, client.headers, body.as_bytes()).await });
        if seen.is_empty() {
            let requests = stage.requests(0, 1).await;
            assert_eq!(requests[0].pay.as_ref().unwrap().store_name.as_str(), "街口🍵測試");
            stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
        }
        let read: TypedAnswer = serde_json::from_str(&call.await.unwrap().body).unwrap();
        seen.push((read.status_code, read.is_rep, read.payment_type));
    }
    let answer = |is_rep: &str| ("000".to_owned(), Some(is_rep.to_owned()), Some(1));
    assert_eq!(seen, [answer("0"), answer("1"), answer("1"), answer("1")]);
}
