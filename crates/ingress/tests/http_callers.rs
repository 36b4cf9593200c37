//! Callers of the POS HTTP form, where the configuration demands them: an API key beside the
//! merchant's signature, for the caller's merchants and operations. A certificate identifies a
//! caller in the same way (`service/tests/certificates.rs`, `access/src/access/tests.rs`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::{collections::BTreeSet, net::SocketAddr};

use post::{KEY, PosAnswer, inquiry_text, payment_text, raw, send, signed};
use support::{Stage, order, paid, payment, settings};
use tonic::Code;
use twqr_access::AccessSettings;
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Operation};
use twqr_ingress::{HttpSettings, Settings};
use twqr_types::{KeyName, MerchantId, SignatureForm};
use twqr_wire::pos::PayRequest;

const KEY_OF_M2: &str = "key of M2";

fn api_key(seed: u8) -> String {
    format!("Authorization: Bearer {}\r\n", NewKey::of_random([seed; 32]).reveal())
}

/// A caller that may inquire for M1.
fn caller() -> Caller {
    let key = ApiKey {
        name: KeyName::parse("k".to_owned()).unwrap(),
        hash: NewKey::of_random([1; 32]).hash(),
        from: None,
        until: None,
    };
    Caller {
        name: CallerName::parse("shop".to_owned()).unwrap(),
        certificates: Vec::new(),
        keys: vec![key],
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M1".to_owned()).unwrap()])),
        operations: BTreeSet::from([Operation::Query]),
        roles: BTreeSet::new(),
        limits: CallerLimits::default(),
    }
}

async fn stage() -> (Stage, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = \"{KEY}\"\nM2 = \"{KEY_OF_M2}\"\n")).unwrap();
    let http =
        HttpSettings { keys_file: Some(file), signature_forms: SignatureForm::ALL.to_vec(), send_time_window_s: None };
    let access = AccessSettings { pos_http_required: true, callers: vec![caller()], ..AccessSettings::default() };
    let stage = Stage::open(Settings { http: Some(http), access, ..settings() }).await;
    let address = stage.http.unwrap();
    (stage, address, folder)
}

async fn inquire(address: SocketAddr, headers: &str, body: &str) -> PosAnswer {
    send(address, "/Pos/Inquiry", headers, body.as_bytes()).await
}

#[tokio::test]
async fn the_form_lets_in_only_callers_where_it_must() {
    let (stage, address, _folder) = stage().await;
    let before = stage.orders_end().await;
    let inquiry = inquiry_text("1", "P");
    let (good, of_m2) = (signed(&inquiry, KEY), signed(&inquiry.replace("M1", "M2"), KEY_OF_M2));
    let (own, unknown) = (api_key(1), api_key(2));
    for (headers, body, expected) in [
        ("", good.as_str(), "send an API key"),
        (&unknown, &good, "the API key or the certificate is not accepted"),
        (&own, &inquiry, "Sign, or the message signature, is missing or wrong"),
        (&own, &of_m2, "this caller does not act for this merchant"),
    ] {
        let answer = inquire(address, headers, body).await;
        assert_eq!(answer.status_code(), "904", "{answer:?}");
        assert!(answer.text("StatusDesc").contains(expected), "{answer:?}");
    }
    let body = signed(&payment_text("1"), KEY);
    let answer = send(address, "/Pos/Payment", &own, body.as_bytes()).await;
    assert!(answer.text("StatusDesc").contains("may not use the operation pay"), "{answer:?}");
    assert_eq!(stage.orders_end().await, before, "nothing was written");
    let description = raw(address, b"GET /openapi.json HTTP/1.1\r\nHost: pos\r\nConnection: close\r\n\r\n").await;
    assert_eq!(description.status, 404, "strangers get nothing");

    let call = tokio::spawn(async move { inquire(address, &own, &good).await });
    let request = &stage.requests(before, 1).await[0];
    stage.reply(&request.reply_to, order("1", paid()), false).await;
    assert_eq!(call.await.unwrap().status_code(), "000");

    let invalid = PayRequest { trade_amount: 0, ..payment("2") };
    let refused = stage.client().await.pay(invalid).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "gRPC has a rule of its own");
}
