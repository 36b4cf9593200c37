//! Malformed requests to the POS HTTP form: the answer is always a StatusCode, says what is wrong
//! and where, and shows no value.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::net::SocketAddr;

use post::{KEY, payment_text, post, raw, refund_text, send, signed};
use serde_json::Value;
use support::{Stage, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use twqr_ingress::{HttpSettings, Settings};
use twqr_types::SignatureForm;

const PAYMENT: &str = "/Pos/Payment";
const TOKEN: &str = "22abcdefghijklmnop";

async fn stage() -> (Stage, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = \"{KEY}\"\n")).unwrap();
    let http =
        HttpSettings { keys_file: Some(file), signature_forms: SignatureForm::ALL.to_vec(), send_time_window_s: None };
    let stage = Stage::open(Settings { http: Some(http), answer_within_ms: 300, ..settings() }).await;
    let address = stage.http.unwrap();
    (stage, address)
}

/// The text of a valid, signed payment with one replacement; the signature stays.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let good = signed(&payment_text("1"), KEY);
    let body = good.replace(from, to);
    assert_ne!(body, good, "{from}");
    body.into_bytes()
}

/// The text of this many unknown fields.
fn fields(count: usize) -> String {
    (0..count).map(|n| format!("\"a{n}\":0,")).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn an_unparsable_body_is_905_and_the_answer_says_what_and_where() {
    let (stage, address) = stage().await;
    let nested = |depth: usize| format!("\"Z\":{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut latin = changed("測試店", "Cafe");
    let at = latin.windows(4).position(|four| four == b"Cafe").unwrap();
    latin[at + 3] = 0xe9;
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend_from_slice(&changed("P1", "P2"));
    let utf16: Vec<u8> = payment_text("1").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, body, expected) in [
        ("nothing", Vec::new(), "the body is empty"),
        ("blanks", b" \r\n".to_vec(), "ends too early"),
        ("a form", b"CardToken=22abcdefghijklmnop&TradeAmount=120".to_vec(), "is not JSON at line 1, column 1"),
        ("XML", b"<CardToken>22abcdefghijklmnop</CardToken>".to_vec(), "is not JSON at line 1"),
        ("a text", b"\"22abcdefghijklmnop\"".to_vec(), "is JSON, but not an object"),
        ("a number", b"22".to_vec(), "is JSON, but not an object"),
        ("null", b"null".to_vec(), "is JSON, but not an object"),
        ("a list", [b"[", &changed("P1", "P2")[..], b"]"].concat(), "is JSON, but not an object"),
        ("two objects", changed("}", "}{}"), "is not JSON at line 1"),
        ("cut", changed("\"Sign\"", "\"Si").split_last().unwrap().1.to_vec(), "is not JSON"),
        ("no end", changed("}", ""), "ends too early"),
        ("a comma too many", changed("}", ",}"), "is not JSON"),
        ("single quotes", changed("\"", "'"), "is not JSON at line 1, column 2"),
        ("a comment", changed("{", "{/* */"), "is not JSON at line 1, column 2"),
        ("a bare word", changed("120", "NaN"), "is not JSON"),
        ("a leading zero", changed("120", "0120"), "is not JSON"),
        ("a line break in a text", changed("P1", "P\n1"), "is not JSON at line 1"),
        ("half a surrogate pair", changed("P1", "\\ud800"), "PosID: a text has an escape that is no character"),
        ("an invalid escape", changed("P1", "\\x41"), "is not JSON"),
        ("the same key twice", changed("\"UnRedeem\":0", "\"UnRedeem\":0,\"UnRedeem\":0"), "UnRedeem appears twice"),
        ("the token twice", changed("{", "{\"CardToken\":\"22abcdefghijklmnop\","), "CardToken appears twice"),
        ("the signature twice", changed("}", ",\"Sign\":\"\"}"), "Sign appears twice"),
        ("an escaped key twice", changed("{", "{\"\\u0053ign\":\"\","), "Sign appears twice"),
        (
            "the token as a key, twice",
            changed("{", &format!("{{\"{TOKEN}\":1,\"{TOKEN}\":2,")),
            "a field unknown to this API",
        ),
        ("deep", changed("{", &format!("{{{},", nested(9))), "nested more than 8 deep"),
        ("very deep", changed("{", &format!("{{{},", nested(20_000))), "nested more than 8 deep"),
        ("deep without end", "[".repeat(60_000).into_bytes(), "ends too early"),
        ("many fields", changed("{", &format!("{{{}", fields(1_000))), "more than 1000 fields"),
        ("not UTF-8", latin, "is not UTF-8 at byte"),
        ("UTF-16", utf16, "is not UTF-8 at byte"),
        ("a byte order mark", marked, "byte order mark"),
        ("NUL", b"\0".to_vec(), "is not JSON"),
        ("just too large", vec![b' '; 64 * 1024 + 1], "larger than 65536 bytes"),
        ("far too large", vec![b'['; 900 * 1024], "larger than 65536 bytes"),
    ] {
        let answer = send(address, PAYMENT, "Content-Type: application/json\r\n", &body).await;
        assert_eq!((answer.status, answer.status_code().as_str()), (200, "905"), "{name}: {answer:?}");
        let desc = answer.text("StatusDesc");
        assert!(
            desc.starts_with("cannot be parsed: ") && desc.contains(expected),
            "{name}: {desc} does not contain {expected:?}"
        );
        assert!(!answer.body.contains(TOKEN), "{name}: {answer:?}");
        assert_eq!(answer.text("IsRep"), "0", "{name}: the answer must have its fields");
    }
    assert_eq!(stage.orders_end().await, 0);
}

#[tokio::test]
async fn an_answer_repeats_no_field_that_is_too_long() {
    let (_stage, address) = stage().await;
    let long = |length: usize| "街".repeat(length);
    for (field, request, echoed) in [
        ("StoreID", format!("\"{}\"", long(20)), Value::from(long(20))),
        ("StoreID", format!("\"{}\"", long(21)), Value::from("")),
        ("PosID", format!("\"{}\"", long(5_000)), Value::from("")),
        ("GatewayTradeNo", format!("\"{}\"", long(21)), Value::from("")),
        ("MerchantTradeNo", format!("\"{}\"", long(61)), Value::from("")),
        ("TradeAmount", "2147483647".to_owned(), Value::from(2_147_483_647)),
        ("TradeAmount", "2147483648".to_owned(), Value::from(0)),
        ("TradeAmount", "1000000000000000000".to_owned(), Value::from(0)),
    ] {
        // The request is refused in any case, since it is not signed.
        let answer =
            send(address, PAYMENT, "", format!("{{\"MerchantID\":\"M1\",\"{field}\":{request}}}").as_bytes()).await;
        assert_eq!((answer.status_code().as_str(), &answer.json()[field]), ("904", &echoed), "{field}");
    }
}

#[tokio::test]
async fn every_form_of_body_that_http_allows_is_accepted() {
    let (_stage, address) = stage().await;
    let body = signed(&payment_text("1"), KEY);
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=big5\r\n",
        "Expect: 100-continue\r\nContent-Type: application/json\r\n",
    ] {
        let answer = send(address, PAYMENT, headers, body.as_bytes()).await;
        assert!(answer.body.contains("\"StatusCode\":\"982\""), "{headers}: {answer:?}");
    }
    let (first, second) = body.as_bytes().split_at(body.find('測').unwrap() + 1);
    let head =
        format!("POST {PAYMENT} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut chunked = head.into_bytes();
    for chunk in [first, second, b""] {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(raw(address, &chunked).await.status_code(), "982", "a character may be split between two chunks");
    let padded = body.replace(',', &format!(",{}", " ".repeat(2_000)));
    assert_eq!(
        send(address, PAYMENT, "", padded.as_bytes()).await.status_code(),
        "982",
        "blanks are not a part of the signed text"
    );
}

#[tokio::test]
async fn a_broken_connection_does_not_harm_later_calls() {
    let (stage, address) = stage().await;
    for bytes in [
        &b"POST /Pos/Payment HTTP/1.1\r\nHost: pos\r\nContent-Length: 500\r\n\r\n{\"CardToken\":"[..],
        b"POST /Pos/Payment HTTP/1.1\r\nHost: pos\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    }
    assert_eq!(stage.orders_end().await, 0);
    let body = signed(&payment_text("1"), KEY);
    assert_eq!(send(address, PAYMENT, "", body.as_bytes()).await.status_code(), "982");
}

#[tokio::test]
async fn a_refund_of_a_payment_that_is_not_ours_is_checked_before_its_fields_are_repeated() {
    let (_stage, address) = stage().await;
    let foreign = refund_text("R1").replace("T0000000000000071KWWEVR61", "another system's");
    let answer = post(address, "/Pos/Refund", &signed(&foreign, KEY)).await;
    assert_eq!(answer.status_code(), "916", "{answer:?}");
    let long = foreign.replace("\"Extra1\":\"\"", &format!("\"Extra1\":\"{}\"", "x".repeat(513)));
    let answer = post(address, "/Pos/Refund", &signed(&long, KEY)).await;
    assert_eq!((answer.status_code().as_str(), answer.text("Extra1").as_str()), ("804", ""), "{answer:?}");
    assert!(answer.text("StatusDesc").starts_with("Extra1: "), "{answer:?}");
}
