//! The whole system as real processes: killed with kill -9 at seeded moments under load, started
//! again, and audited against the simulator's ledger.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its seed"
)]

#[path = "support/launched.rs"]
mod launched;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use launched::launch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_config::Config;
use twqr_lab::{
    launch::{System, connect},
    short_times::with_short_times,
};
use twqr_loadgen::{audit, day, ledger, resolve, send_each};
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, QueryRequest, WatchOrderRequest, pos_service_client::PosServiceClient,
};

/// What goes wrong at the issuers while processes are killed.
const SCRIPT: &str = "
seed = 11
[wallet]
latency_ms = 10
[issuers.390]
lose_answers = 0.2
latency_ms = 10
[issuers.392]
land_after_inquiry = 0.2
window_ms = 800
[issuers.812]
lose_requests = 0.2
[issuers.004]
answer_late = 0.2
late_ms = 1200
";

/// A movement of money is sent within this or not at all, in ms.
const SEND_WITHIN_MS: i64 = 2_000;

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// A system on free ports with short times, in a folder of its own.
async fn start() -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), SCRIPT).unwrap();
    let config = with_short_times(Config::default(), SEND_WITHIN_MS).unwrap();
    let system = launch(TWQR, folder.path(), Some(script.path()), config).await;
    (folder, system)
}

/// kill -9, and at once another process on the same data; returns how long until it serves.
async fn kill_and_restart(system: &mut System) -> Duration {
    system.kill("up").await.unwrap();
    let killed = Instant::now();
    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    killed.elapsed()
}

fn seed() -> u64 {
    let seed = std::env::var("TWQR_SEED").map_or(5, |seed| seed.parse().unwrap());
    println!("seed {seed} (set TWQR_SEED for another)");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_nothing_is_charged_twice_lost_or_contradicted() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let (_folder, mut system) = start().await;
    let channel = connect(system.config.grpc).await.unwrap();
    let mut told = Vec::new();
    for round in 0..4 {
        let requests = day(random.random(), &format!("r{round}"), 400);
        let sending = tokio::spawn({
            let channel = channel.clone();
            async move { send_each(&channel, requests, 100, || ()).await }
        });
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        let recovery = kill_and_restart(&mut system).await;
        println!("round {round}: serving again after {} ms", recovery.as_millis());
        told.extend(sending.await.unwrap());
    }
    let orders = resolve(&channel, &told, Duration::from_secs(90)).await;
    let entries = ledger(connect(system.config.wallet).await.unwrap()).await.unwrap();
    let found = audit(&told, &orders, &entries);
    println!("{} answers, {} orders, {} ledger entries", told.len(), orders.len(), entries.len());
    assert!(found.is_clean(), "{found:#?}");
    assert!(orders.len() > 1_000 && entries.len() > 1_000, "the load did not arrive");
}

fn payment(number: &str, token: &str) -> PayRequest {
    PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        card_token: token.into(),
        trade_amount: 100,
        un_redeem: 50,
        ..PayRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_get_what_the_pos_document_says() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    let cases = [
        ("paid by the wallet", "22abcdefghijklmnop", "000", OrderStatus::Paid, ""),
        ("paid by another issuer", "P2abcdefghijklmnop", "000", OrderStatus::Paid, "389"),
        ("declined by the wallet", "22D928efghijklmnop", "928", OrderStatus::Failed, ""),
        ("declined by another issuer", "P2D928efghijklmnop", "983", OrderStatus::Failed, "389"),
        ("no credit card here", "P2NOCARDghijklmnop", "981", OrderStatus::Failed, "389"),
        ("nobody's code", "99abcdefghijklmnop", "927", OrderStatus::Failed, ""),
        ("a code that is too short", "22abc", "927", OrderStatus::Failed, ""),
    ];
    for (n, (name, token, code, status, institution)) in cases.into_iter().enumerate() {
        let request = payment(&format!("T{n}"), token);
        let first = client.pay(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.status_code, code, "{name}: {}", first.status_desc);
        assert!(!first.is_rep && first.trade_no.len() == 25, "{name}");
        if !institution.is_empty() {
            assert_eq!((first.payment_type, first.extra3.as_str()), (8, institution), "{name}");
        }
        let again = client.pay(request.clone()).await.unwrap().into_inner();
        assert!(again.is_rep, "{name}");
        assert_eq!((&again.trade_no, &again.status_code), (&first.trade_no, &first.status_code), "{name}");
        let query = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: request.merchant_trade_no.clone(),
            ..QueryRequest::default()
        };
        let order = client.query(query).await.unwrap().into_inner();
        assert_eq!((order.status_code.as_str(), order.order_status), ("000", Some(status.into())), "{name}");
        let other = client.pay(PayRequest { trade_amount: 101, ..request }).await.unwrap_err();
        assert_eq!(other.code(), tonic::Code::AlreadyExists, "{name}");
        assert!(other.message().contains("TradeAmount"), "{name}: {}", other.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_everything_that_is_wrong() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    let bad = PayRequest {
        trade_amount: 0,
        extra3: "x".into(),
        card_token: "22SECRET SECRET".into(),
        ..PayRequest::default()
    };
    let refused = client.pay(bad).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    for field in ["merchant_id", "merchant_trade_no", "card_token", "trade_amount", "extra3"] {
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    assert!(!format!("{refused:?}").contains("SECRET"));
    let unknown = QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "nothing".into(),
        ..QueryRequest::default()
    };
    let answer = client.query(unknown).await.unwrap().into_inner();
    assert_eq!((answer.status_code.as_str(), answer.order_status), ("916", None));
    let second = Command::new(TWQR).arg("--config").arg(system.config_file()).arg("up").output().unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && error.contains("in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_an_order_through_to_its_end() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    // Some of the issuer's requests are lost: those are unknown first, and resolved by an inquiry
    // after the window.
    let mut ends = Vec::new();
    for n in 0..20 {
        let request = payment(&format!("W{n}"), &format!("MWabcdefghijklmn{n:02}"));
        let mut impatient = tonic::Request::new(request.clone());
        impatient.set_timeout(Duration::from_millis(1_500));
        let first = client.pay(impatient).await.unwrap().into_inner();
        let watch = WatchOrderRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: request.merchant_trade_no,
            keep_watching: false,
        };
        let mut changes = client.watch_order(watch).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(change) = changes.message().await.unwrap() {
            seen.push(change.order.unwrap().order_status());
        }
        let end = *seen.last().unwrap();
        assert!(matches!(end, OrderStatus::Paid | OrderStatus::Failed), "{seen:?}");
        assert!(first.status_code != "000" || seen == [OrderStatus::Paid], "{seen:?}");
        ends.push(end);
    }
    assert!(ends.contains(&OrderStatus::Failed), "no request was lost: the script did not do its work");
}
