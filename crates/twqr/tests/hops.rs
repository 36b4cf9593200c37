//! The hops of payments through a whole system on the embedded journal: they are the whole time of
//! the call, a slow issuer is the backend's work, and a full lane in front of it is waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::time::Instant;

use futures::future::join_all;
use launched::launch;
use tonic::{Request, transport::Channel};
use twqr_config::Config;
use twqr_lab::launch::connect;
use twqr_wire::{
    hops::{HOPS_HEADER, Hop, HopKind, HopReport},
    pos::{PayRequest, pos_service_client::PosServiceClient},
};

/// How long the wallet takes to answer on average, in ms; the simulator takes at least half of it.
const LATENCY_MS: u64 = 300;
/// How long it takes at least, in µs.
const LATENCY_US_MIN: u64 = LATENCY_MS * 1_000 / 2;
/// A code of the wallet.
const CARD_TOKEN: &str = "22abcdefghijklmnop";
const MERCHANT: &str = "M7";
const ONE_CALL_AT_A_TIME: &str = "shards = 2\n[[policy.issuers]]\ninstitution = \"\"\n\
    [policy.issuers.limits]\nin_flight_max = 1\nqueue_max = 10\nfailures_to_open = 10\nopen_ms = 1000\n\
    inquiries_per_s = 10\n";

/// Pays and asks for the hops; returns them as text with the time that the caller measured, in µs.
async fn pay(channel: Channel, number: usize) -> (String, u128) {
    let mut request = Request::new(PayRequest {
        merchant_id: MERCHANT.into(),
        merchant_trade_no: format!("T{number}"),
        card_token: CARD_TOKEN.into(),
        trade_amount: 100,
        ..PayRequest::default()
    });
    request.metadata_mut().insert(HOPS_HEADER, "1".parse().unwrap());
    let began = Instant::now();
    let answer = PosServiceClient::new(channel).pay(request).await.unwrap();
    let took_us = began.elapsed().as_micros();
    assert_eq!(answer.get_ref().status_code, "000");
    (answer.metadata().get(HOPS_HEADER).unwrap().to_str().unwrap().to_owned(), took_us)
}

/// Checks that the hops are the whole, and that nearly all of it is known.
fn check((text, took_us): &(String, u128)) -> HopReport {
    let report: HopReport = text.parse().unwrap();
    assert!(u128::from(report.total_us()) <= *took_us, "{text} of {took_us} µs");
    assert!(report.us(Hop::Unknown) * 100 <= report.total_us(), "{text}");
    assert!(report.us(Hop::Backend) >= LATENCY_US_MIN, "{text}");
    for secret in [CARD_TOKEN, MERCHANT, "T1"] {
        assert!(!text.contains(secret), "{text}");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hops_of_a_payment_are_its_whole_time() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    std::fs::write(&script, format!("[wallet]\nlatency_ms = {LATENCY_MS}\n")).unwrap();
    let file = folder.path().join("twqr.toml");
    std::fs::write(&file, ONE_CALL_AT_A_TIME).unwrap();
    let config = Config::load(Some(&file)).unwrap();
    let system = launch(env!("CARGO_BIN_EXE_twqr"), &folder.path().join("run"), Some(&script), config).await;
    let channel = connect(system.config.grpc).await.unwrap();

    let alone = check(&pay(channel.clone(), 0).await);
    for hop in [Hop::Ingress, Hop::Router, Hop::Worker, Hop::Reply] {
        assert!(alone.us(hop) > 0, "{hop:?} in {alone}");
    }

    // One call at a time reaches the wallet, so of three at once the last waits for two.
    let at_once = join_all((1..=3).map(|number| pay(channel.clone(), number))).await;
    let mut waited: Vec<u64> = at_once.iter().map(|paid| check(paid).us(Hop::WorkerWait)).collect();
    waited.sort_unstable();
    assert!(waited[1] > 0 && waited[2] >= LATENCY_US_MIN, "{at_once:?}");
    assert_eq!(Hop::WorkerWait.kind(), HopKind::Waiting);
}
