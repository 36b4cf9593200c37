//! What callers read in refusals: nothing about our machines, and a reason of its own where
//! SendTime is outside its window.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/own_names.rs"]
mod own_names;
#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use post::{KEY, PosAnswer, inquiry_text, payment_text, post, raw, refund_text, send, signed};
use support::{DoubtfulClock, Stage, settings};
use twqr_ingress::{HttpSettings, Settings};
use twqr_service::Clock;
use twqr_types::{SignatureForm, UnixMs};
use twqr_wire::pos::{CancelRequest, PayRequest, QueryRequest, RefundRequest};

/// The settings of an ingress that serves the HTTP form, with this window of SendTime.
fn with_window(folder: &Path, send_time_window_s: Option<NonZeroU32>) -> Settings {
    let file = folder.join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = \"{KEY}\"\n")).unwrap();
    let http = HttpSettings { keys_file: Some(file), signature_forms: SignatureForm::ALL.to_vec(), send_time_window_s };
    Settings { http: Some(http), answer_within_ms: 100, ..settings() }
}

/// Every refusal of the HTTP form in the present state of the ingress.
async fn refused_over_http(address: SocketAddr) -> Vec<String> {
    let mut read = Vec::new();
    for (operation, text) in [
        ("Payment", payment_text("T1")),
        ("Inquiry", inquiry_text("T1", "P")),
        ("Refund", refund_text("R1")),
        ("Cancel", payment_text("T1")),
    ] {
        let path = format!("/Pos/{operation}");
        for body in [signed(&text, KEY), signed(&text, "wrong"), text.clone(), "{".to_owned(), String::new()] {
            read.push(post(address, &path, &body).await);
        }
        read.push(send(address, &path, "Signature-Input: a=()\r\n", text.as_bytes()).await);
    }
    for request in ["GET /etc/passwd HTTP/1.1", "PUT /Pos/Payment HTTP/1.1", "POST /%ff/Payment HTTP/1.1"] {
        read.push(raw(address, format!("{request}\r\nHost: pos\r\nConnection: close\r\n\r\n").as_bytes()).await);
    }
    read.into_iter().map(|answer| answer.head + &answer.body).collect()
}

#[tokio::test]
async fn no_refusal_names_a_host_or_a_path_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(DoubtfulClock::default());
    let stage = Stage::open_with(with_window(folder.path(), None), clock.clone()).await;
    let mut client = stage.client().await;
    let pay = PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 100,
        ..PayRequest::default()
    };
    let mut read = Vec::new();
    for fault in ["none", "the log refuses", "the clock is wrong"] {
        stage.journal.refusing.store(fault == "the log refuses", Ordering::Release);
        clock.0.store(fault == "the clock is wrong", Ordering::Relaxed);
        if fault != "none" {
            read.push(format!("{:?}", client.pay(pay.clone()).await.unwrap_err()));
        }
        read.push(format!("{:?}", client.pay(PayRequest::default()).await.unwrap_err()));
        read.push(format!("{:?}", client.query(QueryRequest::default()).await.unwrap_err()));
        read.push(format!("{:?}", client.refund(RefundRequest::default()).await.unwrap_err()));
        read.push(format!("{:?}", client.cancel(CancelRequest::default()).await.unwrap_err()));
        read.extend(refused_over_http(stage.http.unwrap()).await);
    }
    assert!(read.iter().any(|text| text.contains("the log did not take the request")), "{read:#?}");
    own_names::assert_absent(&read);
}

/// A clock that does not advance.
struct FixedClock(UnixMs);

impl Clock for FixedClock {
    fn now(&self) -> UnixMs {
        self.0
    }
}

/// SendTime of the requests of these tests, 2025-03-10 09:08:07 in Asia/Taipei.
const SENT: UnixMs = UnixMs(1_741_568_887_000);

async fn inquire(stage: &Stage, text: &str, key: &str) -> PosAnswer {
    post(stage.http.unwrap(), "/Pos/Inquiry", &signed(text, key)).await
}

#[tokio::test]
async fn outside_its_window_send_time_is_refused_by_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    // Without a router an inquiry that is accepted ends at its deadline, with 301.
    for (window_s, later_ms, expected) in [
        (0, 86_400_000, "301"),
        (300, 300_000, "301"),
        (300, -300_000, "301"),
        (300, 300_001, "906"),
        (300, -300_001, "906"),
    ] {
        let clock = Arc::new(FixedClock(SENT.plus(later_ms)));
        let stage = Stage::open_with(with_window(folder.path(), NonZeroU32::new(window_s)), clock).await;
        let text = inquiry_text("T1", "P");
        let answer = inquire(&stage, &text, KEY).await;
        assert_eq!(answer.status_code(), expected, "{window_s} s, {later_ms} ms later: {answer:?}");
        assert_eq!(answer.text("StatusDesc").contains("SendTime"), expected == "906", "{answer:?}");
        let without = text.replace("20250310090807", "");
        let expected = if window_s == 0 { "301" } else { "906" };
        assert_eq!(inquire(&stage, &without, KEY).await.status_code(), expected, "without a SendTime");
        let unsigned = inquire(&stage, &text, "wrong").await;
        assert_eq!(unsigned.status_code(), "904", "the signature is checked first");
    }
}
