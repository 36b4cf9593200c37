//! The window of an issuer is true: whatever the network and the process do, a charge does not
//! arrive so late that the order has already failed as absent. The wallet here charges whatever
//! arrives, however late.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/plain_backend.rs"]
mod plain_backend;

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use plain_backend::{LONG_WINDOW, PlainBackend, SHORT_WINDOW};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::{Request, Status};
use twqr_config::Config;
use twqr_lab::{
    launch::{ReservedAddresses, command, connect, is_ready},
    relay::Relay,
};
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, PayResponse, QueryRequest, pos_service_client::PosServiceClient,
};

/// The policy's `send_within_ms`, and the wallet's window, which is hardly longer than allowed.
const SEND_WITHIN_MS: u64 = 1_000;
const WINDOW_MS: u64 = 4_600;
/// How long a caller waits for a charge that is held back, in ms.
const HELD_CALL_MS: u64 = 400;
/// How long an order may take to end, in s.
const RESOLVE_S: u64 = 60;

/// `twqr up` as a process whose wallet is at another address.
struct Services {
    folder: tempfile::TempDir,
    config: Config,
    process: Child,
    _reserved: ReservedAddresses,
}

impl Services {
    async fn start(wallet: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = format!(
            "data_dir = \"{}\"\ncall_timeout_ms = 4000\nclock_skew_max_ms = 40\n[policy]\nsend_within_ms = {SEND_WITHIN_MS}\n\
             [[policy.issuers]]\ninstitution = \"\"\nwindow_ms = {WINDOW_MS}\nfirst_delay_ms = 300\n",
            folder.path().join("data").display()
        );
        let file = folder.path().join("twqr.toml");
        std::fs::write(&file, policy).unwrap();
        let mut reserved = ReservedAddresses::default();
        let config = Config { wallet: wallet.into(), ..reserved.assign_to(Config::read_file(&file).unwrap()).unwrap() };
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let process = Self::spawn(&folder);
        let services = Self { folder, config, process, _reserved: reserved };
        services.until_ready().await;
        services
    }

    fn spawn(folder: &tempfile::TempDir) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr")));
        command.arg("--config").arg(folder.path().join("twqr.toml")).arg("up");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap()
    }

    async fn until_ready(&self) {
        drop(connect(self.config.grpc).await.unwrap());
        while !is_ready(self.config.admin).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the process with kill -9, and starts it again on the same data.
    async fn kill_and_restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = Self::spawn(&self.folder);
        self.until_ready().await;
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn client(&self) -> PosServiceClient<tonic::transport::Channel> {
        PosServiceClient::new(connect(self.config.grpc).await.unwrap())
    }

    async fn pay(&self, number: &str, within_ms: u64) -> Result<PayResponse, Status> {
        let mut request = Request::new(PayRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 100,
            ..PayRequest::default()
        });
        request.set_timeout(Duration::from_millis(within_ms));
        self.client().await.pay(request).await.map(tonic::Response::into_inner)
    }

    /// Waits until the payment has ended; returns how.
    async fn ended(&self, number: &str) -> OrderStatus {
        let mut client = self.client().await;
        let query = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
            ..QueryRequest::default()
        };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(RESOLVE_S) {
            let status = client.query(query.clone()).await.map(|order| order.into_inner().order_status());
            if let Ok(ended @ (OrderStatus::Paid | OrderStatus::Failed)) = status {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{number} has not ended; the log: {}", std::fs::read_to_string(self.folder.path().join("log")).unwrap());
    }
}

/// Pays once, so that the connection to the wallet is open.
async fn pay_first(services: &Services) {
    let paid = services.pay("T0", 10_000).await.unwrap();
    assert_eq!(paid.status_code, "000", "{}", paid.status_desc);
}

async fn moment(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A charge is held back by the network until its order has failed as absent. Meanwhile the process
/// is killed, or lives.
async fn hold_a_charge_back(is_killed: bool) {
    let wallet = PlainBackend::start(Duration::ZERO, LONG_WINDOW).await;
    let relay = Relay::start(wallet.address).await.unwrap();
    let mut services = Services::start(relay.address).await;
    pay_first(&services).await;
    relay.hold_back();
    let held = services.pay("T1", HELD_CALL_MS).await;
    assert!(held.is_err() || held.as_ref().is_ok_and(|held| held.status_code != "000"), "{held:?}");
    if is_killed {
        services.kill_and_restart().await;
    }
    assert_eq!(services.ended("T1").await, OrderStatus::Failed);
    relay.release();
    moment(1_000).await;
    assert_eq!(wallet.charged().len(), 1, "the held charge arrived after it had failed as absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_the_network_holds_back_never_arrives_after_the_window() {
    hold_a_charge_back(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_a_killed_process_left_in_the_network_never_arrives() {
    hold_a_charge_back(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_sends_nothing_that_it_still_held_in_memory() {
    let wallet = PlainBackend::start(Duration::ZERO, SHORT_WINDOW).await;
    let services = Services::start(wallet.address).await;
    pay_first(&services).await;
    wallet.set_reads(false);
    drop(services.pay("T1", HELD_CALL_MS).await);
    services.signal(Signal::STOP);
    moment(SEND_WITHIN_MS + WINDOW_MS + 500).await;
    wallet.set_reads(true);
    services.signal(Signal::CONT);
    assert_eq!(services.ended("T1").await, OrderStatus::Failed);
    moment(1_000).await;
    assert_eq!(wallet.charged().len(), 1, "the charge was sent after the process had been stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_silently_is_replaced_in_seconds() {
    let wallet = PlainBackend::start(Duration::ZERO, LONG_WINDOW).await;
    let relay = Relay::start(wallet.address).await.unwrap();
    let services = Services::start(relay.address).await;
    pay_first(&services).await;
    relay.hold_back();
    let began = Instant::now();
    for attempt in 1.. {
        let paid = services.pay(&format!("T{attempt}"), HELD_CALL_MS).await;
        if paid.is_ok_and(|paid| paid.status_code == "000") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(RESOLVE_S), "no payment succeeds any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_is_always_slow_keeps_its_connection() {
    let wallet = PlainBackend::start(Duration::from_millis(3_500), LONG_WINDOW).await;
    let relay = Relay::start(wallet.address).await.unwrap();
    let services = Services::start(relay.address).await;
    let connections = relay.accepted();
    let payments = (0..20_u64).map(|n| {
        let services = &services;
        async move {
            moment(n * 200).await;
            services.pay(&format!("T{n}"), 12_000).await.unwrap().status_code
        }
    });
    assert_eq!(futures::future::join_all(payments).await, ["000"; 20]);
    assert_eq!(relay.accepted(), connections, "connections were replaced");
}
