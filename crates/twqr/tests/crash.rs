//! The whole system as real processes: killed with kill -9 at seeded moments under load, started
//! again, and audited against the simulator's ledger.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its seed"
)]

#[path = "support/connect.rs"]
mod connect;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use connect::connect;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_loadgen::{audit, day, ledger, resolve, send_each};
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, QueryRequest, WatchOrderRequest, pos_service_client::PosServiceClient,
};

/// What goes wrong at the issuers while processes are killed.
const SCRIPT: &str = "
seed = 11
[wallet]
latency_ms = 10
[issuers.397]
lose_answers = 0.2
latency_ms = 10
[issuers.392]
land_after_inquiry = 0.2
window_ms = 800
[issuers.822]
lose_requests = 0.2
[issuers.395]
answer_late = 0.2
late_ms = 1200
";

/// A system of its own on free ports, ended when it is dropped.
struct System {
    folder: tempfile::TempDir,
    grpc: SocketAddr,
    wallet: SocketAddr,
    simulator: Child,
    services: Child,
}

fn free_ports() -> [SocketAddr; 6] {
    let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn start(config: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
    command.arg("--config").arg(config).args(arguments).env("TWQR_LOG", "error").stdin(Stdio::null());
    command.spawn().unwrap()
}

impl System {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [grpc, pos_http, admin, operators, wallet, fisc] = free_ports();
        let defaults = Command::new(env!("CARGO_BIN_EXE_twqr")).args(["config", "default"]).output().unwrap();
        let defaults = String::from_utf8(defaults.stdout).unwrap();
        let in_folder = |name: &str| format!("\"{}\"", folder.path().join(name).display());
        let text: Vec<String> = defaults
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("data_dir", _)) => format!("data_dir = {}", in_folder("data")),
                Some(("simulator_data_dir", _)) => format!("simulator_data_dir = {}", in_folder("simulator")),
                Some(("grpc", _)) => format!("grpc = \"{grpc}\""),
                Some(("pos_http", _)) => format!("pos_http = \"{pos_http}\""),
                Some(("operators", _)) => format!("operators = \"{operators}\""),
                Some(("admin", _)) => format!("admin = \"{admin}\""),
                Some(("wallet", _)) => format!("wallet = \"{wallet}\""),
                Some(("fisc", _)) => format!("fisc = \"{fisc}\""),
                Some(("call_timeout_ms", _)) => "call_timeout_ms = 800".to_owned(),
                Some(("send_within_ms", _)) => "send_within_ms = 2000".to_owned(),
                Some(("window_ms", _)) => "window_ms = 3000".to_owned(),
                Some(("first_delay_ms", _)) => "first_delay_ms = 300".to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        std::fs::write(folder.path().join("twqr.toml"), text.join("\n")).unwrap();
        std::fs::write(folder.path().join("script.toml"), SCRIPT).unwrap();
        let (config, script) = (folder.path().join("twqr.toml"), folder.path().join("script.toml"));
        let simulator = start(&config, &["simulator", "--script", script.to_str().unwrap()]);
        connect(wallet).await;
        let services = start(&config, &["up"]);
        connect(grpc).await;
        Self { folder, grpc, wallet, simulator, services }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("twqr.toml")
    }

    /// kill -9, and at once another one on the same data.
    async fn kill_and_restart(&mut self) -> Duration {
        self.services.kill().unwrap();
        self.services.wait().unwrap();
        let killed = Instant::now();
        self.services = start(&self.config(), &["up"]);
        connect(self.grpc).await;
        killed.elapsed()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for child in [&mut self.services, &mut self.simulator] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("TWQR_SEED").map_or(5, |seed| seed.parse().unwrap());
    println!("seed {seed} (set TWQR_SEED for another)");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_nothing_is_charged_twice_lost_or_contradicted() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let mut system = System::start().await;
    let channel = connect(system.grpc).await;
    let mut told = Vec::new();
    for round in 0..4 {
        let requests = day(random.random(), &format!("r{round}"), 400);
        let sending = tokio::spawn({
            let channel = channel.clone();
            async move { send_each(&channel, requests, 100, || ()).await }
        });
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        let recovery = system.kill_and_restart().await;
        println!("round {round}: serving again after {} ms", recovery.as_millis());
        told.extend(sending.await.unwrap());
    }
    let orders = resolve(&channel, &told, Duration::from_secs(90)).await;
    let entries = ledger(connect(system.wallet).await).await.unwrap();
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
    let system = System::start().await;
    let mut client = PosServiceClient::new(connect(system.grpc).await);
    let cases = [
        ("paid by the wallet", "22abcdefghijklmnop", "000", OrderStatus::Paid, ""),
        ("paid by another issuer", "IPabcdefghijklmnopqr", "000", OrderStatus::Paid, "391"),
        ("declined by the wallet", "22D928efghijklmnop", "928", OrderStatus::Failed, ""),
        ("declined by another issuer", "IPD928efghijklmnopqr", "983", OrderStatus::Failed, "391"),
        ("no credit card here", "IPNOCARDghijklmnopqr", "981", OrderStatus::Failed, "391"),
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
    let system = System::start().await;
    let mut client = PosServiceClient::new(connect(system.grpc).await);
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
    let second =
        Command::new(env!("CARGO_BIN_EXE_twqr")).arg("--config").arg(system.config()).arg("up").output().unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && error.contains("in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_an_order_through_to_its_end() {
    let system = System::start().await;
    let mut client = PosServiceClient::new(connect(system.grpc).await);
    // Some of the issuer's requests are lost: those are unknown first, and resolved by an inquiry
    // after the window.
    let mut ends = Vec::new();
    for n in 0..20 {
        let request = payment(&format!("W{n}"), &format!("B822abcdefghijklmnop{n:02}"));
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
