//! Tests of the whole system as real processes. Under load it is killed with kill -9 at seeded
//! moments, started again, and audited against the simulator's ledger; the other tests check what
//! callers receive. `TWQR_SEED` sets the seed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its seed"
)]

#[path = "support/launched.rs"]
mod launched;

use std::time::Duration;

use launched::{kill_and_restart, launch};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_config::Config;
use twqr_lab::{
    launch::{System, command, connect},
    short_times::with_short_times,
};
use twqr_loadgen::{audit, day, ledger, resolve, send_each};
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, QueryRequest, WatchOrderRequest, pos_service_client::PosServiceClient,
};

/// The faults of the issuers while processes are killed.
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
late_ms = 4200
";

/// The policy's `send_within_ms`: after it, a charge is not sent any more.
const SEND_WITHIN_MS: i64 = 2_000;

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// Starts a system with short times, on free ports, in a temporary folder.
async fn start() -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), SCRIPT).unwrap();
    let config = with_short_times(Config::default(), SEND_WITHIN_MS).unwrap();
    let system = launch(TWQR, folder.path(), Some(script.path()), config).await;
    (folder, system)
}

fn seed() -> u64 {
    let seed = std::env::var("TWQR_SEED").map_or(5, |seed| seed.parse().unwrap());
    println!("seed {seed} (TWQR_SEED sets another one)");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_nothing_is_charged_twice_lost_or_contradicted() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let (_folder, mut system) = start().await;
    let channel = connect(system.config.grpc).await.unwrap();
    let mut results = Vec::new();
    for round in 0..4 {
        let requests = day(random.random(), &format!("r{round}"), 400);
        let sending = tokio::spawn({
            let channel = channel.clone();
            async move { send_each(&channel, requests, 100, || ()).await }
        });
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        let recovery = kill_and_restart(&mut system).await;
        println!("round {round}: serving again after {} ms", recovery.as_millis());
        results.extend(sending.await.unwrap());
    }
    let orders = resolve(&channel, &results, Duration::from_secs(90)).await;
    let entries = ledger(connect(&system.config.wallet).await.unwrap()).await.unwrap();
    let found = audit(&results, &orders, &entries);
    println!("{} answers, {} orders, {} ledger entries", results.len(), orders.len(), entries.len());
    assert!(found.is_clean(), "{found:#?}");
    assert!(orders.len() > 1_000 && entries.len() > 1_000, "too little of the load arrived");
}

/// A payment of which 50 TWD cannot be paid with points.
fn payment(merchant_trade_no: &str, card_token: &str) -> PayRequest {
    PayRequest { un_redeem: 50, ..launched::payment(merchant_trade_no, card_token) }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_codes_repeats_and_conflicts_are_those_of_the_pos_document() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    let cases = [
        ("paid by the wallet", "22abcdefghijklmnop", "000", OrderStatus::Paid, ""),
        ("paid by another issuer", "P2abcdefghijklmnop", "000", OrderStatus::Paid, "389"),
        ("declined by the wallet", "22D928efghijklmnop", "928", OrderStatus::Failed, ""),
        ("declined by another issuer", "P2D928efghijklmnop", "983", OrderStatus::Failed, "389"),
        ("no credit card at the issuer", "P2NOCARDghijklmnop", "981", OrderStatus::Failed, "389"),
        ("a prefix without a route", "99abcdefghijklmnop", "927", OrderStatus::Failed, ""),
        ("a code that is too short", "22abc", "927", OrderStatus::Failed, ""),
    ];
    for (n, (name, card_token, code, status, institution)) in cases.into_iter().enumerate() {
        let request = payment(&format!("T{n}"), card_token);
        let first = client.pay(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.status_code, code, "{name}: {}", first.status_desc);
        assert!(!first.is_rep && first.trade_no.len() == 25, "{name}");
        if !institution.is_empty() {
            assert_eq!((first.payment_type, first.extra3.as_str()), (8, institution), "{name}");
        }
        let repeated = client.pay(request.clone()).await.unwrap().into_inner();
        assert!(repeated.is_rep, "{name}");
        assert_eq!((&repeated.trade_no, &repeated.status_code), (&first.trade_no, &first.status_code), "{name}");
        let query = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: request.merchant_trade_no.clone(),
            ..QueryRequest::default()
        };
        let order = client.query(query).await.unwrap().into_inner();
        assert_eq!((order.status_code.as_str(), order.order_status), ("000", Some(status.into())), "{name}");
        let conflict = client.pay(PayRequest { trade_amount: 101, ..request }).await.unwrap_err();
        assert_eq!(conflict.code(), tonic::Code::AlreadyExists, "{name}");
        assert!(conflict.message().contains("TradeAmount"), "{name}: {}", conflict.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_every_invalid_field_and_shows_no_card_token() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    let invalid = PayRequest {
        trade_amount: 0,
        extra3: "x".into(),
        card_token: "22SECRET SECRET".into(),
        ..PayRequest::default()
    };
    let refused = client.pay(invalid).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    for field in ["merchant_id", "merchant_trade_no", "card_token", "trade_amount", "extra3"] {
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    assert!(!format!("{refused:?}").contains("SECRET"));
    let unknown_order = QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "nothing".into(),
        ..QueryRequest::default()
    };
    let answer = client.query(unknown_order).await.unwrap().into_inner();
    assert_eq!((answer.status_code.as_str(), answer.order_status), ("916", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    let (_folder, system) = start().await;
    let mut command = command(TWQR);
    command.arg("--config").arg(system.config_file()).arg("up");
    // The second process must not fail for its addresses instead of its data.
    for name in ["ADMIN", "GRPC", "POS_HTTP", "OPERATORS"] {
        command.env(format!("TWQR__{name}"), "127.0.0.1:0");
    }
    let second_process = command.output().unwrap();
    let error = String::from_utf8(second_process.stderr).unwrap();
    assert!(!second_process.status.success() && error.contains("in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_final_state_of_its_order() {
    let (_folder, system) = start().await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    // Some requests to this issuer are lost: those payments are unknown at first, and an inquiry
    // resolves them after the window.
    let mut final_states = Vec::new();
    for n in 0..20 {
        let request = payment(&format!("W{n}"), &format!("MWabcdefghijklmn{n:02}"));
        let mut with_short_deadline = tonic::Request::new(request.clone());
        with_short_deadline.set_timeout(Duration::from_millis(1_500));
        let first = client.pay(with_short_deadline).await.unwrap().into_inner();
        let watch = WatchOrderRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: request.merchant_trade_no,
            keep_watching: false,
        };
        let mut changes = client.watch_order(watch).await.unwrap().into_inner();
        let mut states = Vec::new();
        while let Some(change) = changes.message().await.unwrap() {
            states.push(change.order.unwrap().order_status());
        }
        let last = *states.last().unwrap();
        assert!(matches!(last, OrderStatus::Paid | OrderStatus::Failed), "{states:?}");
        assert!(first.status_code != "000" || states == [OrderStatus::Paid], "{states:?}");
        final_states.push(last);
    }
    assert!(final_states.contains(&OrderStatus::Failed), "the script lost no request to the issuer");
}
