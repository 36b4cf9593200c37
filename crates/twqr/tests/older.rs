//! `twqr up` opens a `data_dir` of the first build with a fixed format, commit 2727eef, and goes on
//! with its orders: what was final stays, and what was in progress is resolved. `older/make` made
//! `older/data.tar.gz` with that build: its `data_dir` and its simulator's ledger, after kill -9.
//! `make test-older` runs both builds beside each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::process::Child;
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_lab::launch::{ReservedAddresses, command, connect, is_ready};
use twqr_loadgen::ledger;
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{Script, Settings};
use twqr_wire::{
    backend::ledger_entry::Kind,
    pos::{
        CancelRequest, InquiryType, OrderStatus, PayRequest, QueryRequest, RefundRequest,
        pos_service_client::PosServiceClient,
    },
};

/// How long the orders in progress may take to end, in s.
const RESOLVE_S: u64 = 60;

/// Every order in the data, and how it is or ends.
const ORDERS: [(&str, InquiryType, OrderStatus); 13] = {
    use InquiryType::{Payment, Refund};
    use OrderStatus::{Failed, FullyRefunded, Paid, PartlyRefunded, RefundSucceeded};
    [
        ("paid-wallet", Payment, Paid),
        ("part-refunded-wallet", Payment, PartlyRefunded),
        ("cancelled-wallet", Payment, FullyRefunded),
        ("paid-389", Payment, Paid),
        ("refunded-389", Payment, FullyRefunded),
        ("failed-wallet", Payment, Failed),
        ("failed-389", Payment, Failed),
        ("refund-wallet", Refund, RefundSucceeded),
        ("refund-389", Refund, RefundSucceeded),
        // These were in progress. The issuer knows the first two, and never got the third.
        ("open-lost-answer", Payment, Paid),
        ("open-refund", Refund, RefundSucceeded),
        ("open-lost-request", Payment, Failed),
        ("paid-390", Payment, PartlyRefunded),
    ]
};

/// The services on the unpacked data, and the simulator within this process.
struct Opened {
    folder: tempfile::TempDir,
    config: Config,
    process: Child,
    _reserved: ReservedAddresses,
}

impl Opened {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/older/data.tar.gz");
        let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(folder.path()).status().unwrap();
        assert!(unpacked.success());
        let file = folder.path().join("twqr.toml");
        let data_dir = folder.path().join("data");
        std::fs::write(&file, format!("data_dir = \"{}\"\nshards = 2\ntask_partitions = 1\n", data_dir.display()))
            .unwrap();
        let mut reserved = ReservedAddresses::default();
        let config = reserved.assign_to(Config::read_file(&file).unwrap()).unwrap();
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let settings = Settings {
            wallet_address: config.wallet.socket_address().unwrap(),
            fisc_address: config.fisc.socket_address().unwrap(),
            http_address: None,
            tls: None,
            data_dir: folder.path().join("simulator"),
            script: Script::default(),
        };
        let context =
            Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
        tokio::spawn(async move { twqr_simulator::run(settings, context).await.unwrap() });
        let process = spawn(folder.path());
        let opened = Self { folder, config, process, _reserved: reserved };
        opened.until_ready().await;
        opened
    }

    async fn until_ready(&self) {
        drop(connect(self.config.grpc).await.unwrap());
        while !is_ready(self.config.admin).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn kill_and_restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = spawn(self.folder.path());
        self.until_ready().await;
    }

    async fn client(&self) -> PosServiceClient<Channel> {
        PosServiceClient::new(connect(self.config.grpc).await.unwrap())
    }

    /// Waits until each order is as it must be.
    async fn check_orders(&self) {
        let mut client = self.client().await;
        let began = Instant::now();
        for (number, inquiry_type, expected) in ORDERS {
            let query = QueryRequest {
                inquiry_type: inquiry_type.into(),
                merchant_id: "M1".into(),
                merchant_trade_no: number.into(),
                ..QueryRequest::default()
            };
            loop {
                let found = client.query(query.clone()).await.unwrap().into_inner();
                if found.order_status() == expected {
                    break;
                }
                assert!(began.elapsed() < Duration::from_secs(RESOLVE_S), "{number}: {found:?}\n{}", self.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Pays 500 TWD; returns StatusCode, whether it is a repeat, and TradeNo.
    async fn pay(&self, number: &str, card_token: &str) -> (String, bool, String) {
        let request = PayRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
            card_token: card_token.into(),
            trade_amount: 500,
            ..PayRequest::default()
        };
        let paid = self.client().await.pay(request).await.unwrap().into_inner();
        (paid.status_code, paid.is_rep, paid.trade_no)
    }

    fn policy(&self, arguments: &[&str]) -> String {
        let mut command = command(env!("CARGO_BIN_EXE_twqr"));
        command.arg("--config").arg(self.folder.path().join("twqr.toml")).arg("policy").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = tokio::process::Command::from(command(env!("CARGO_BIN_EXE_twqr")));
    command.arg("--config").arg(folder.join("twqr.toml")).arg("up").env("TWQR_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap()
}

/// The policy of the older build with the protocol version raised, and with times that this build
/// accepts.
fn raised(policy: &str) -> String {
    let mut policy: toml::Table = toml::from_str(policy).unwrap();
    assert_eq!(policy["protocol_version"].as_integer(), Some(0));
    policy.insert("protocol_version".into(), 1.into());
    policy.insert("send_within_ms".into(), 3_000.into());
    for issuer in policy["issuers"].as_array_mut().unwrap() {
        issuer.as_table_mut().unwrap().insert("window_ms".into(), 6_000.into());
    }
    toml::to_string(&policy).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_of_the_first_build_is_opened_and_its_open_orders_are_resolved() {
    let mut opened = Opened::start().await;
    opened.check_orders().await;
    let (code, is_repeat, trade_no) = opened.pay("paid-wallet", "22abcefghijklmnop1").await;
    assert_eq!((code.as_str(), is_repeat), ("000", true));
    let (code, is_repeat, _) = opened.pay("new-0", "22abcefghijklmnop4").await;
    assert_eq!((code.as_str(), is_repeat), ("000", false));

    let file = opened.folder.path().join("raised.toml");
    std::fs::write(&file, raised(&opened.policy(&["get"]))).unwrap();
    opened.policy(&["apply", file.to_str().unwrap(), "--expect", "1", "--who", "test", "--why", "upgraded"]);
    let (code, ..) = opened.pay("new-1", "PXABCEFGHIJKLMNOPQR3").await;
    assert_eq!(code, "000");
    let refund = RefundRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: "new-refund".into(),
        trade_no: trade_no.clone(),
        trade_amount: 500,
        ..RefundRequest::default()
    };
    let refunded = opened.client().await.refund(refund).await.unwrap().into_inner();
    assert_eq!(refunded.status_code, "000", "{}", refunded.status_desc);
    let cancel = CancelRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: "paid-389".into(),
        card_token: "PXABCEFGHIJKLMNOPQR1".into(),
        trade_amount: 500,
        ..CancelRequest::default()
    };
    let cancelled = opened.client().await.cancel(cancel).await.unwrap().into_inner();
    assert_eq!(cancelled.status_code, "000", "{}", cancelled.status_desc);

    opened.kill_and_restart().await;
    assert!(opened.policy(&["get"]).contains("protocol_version = 1"));
    assert_eq!(opened.pay("new-0", "22abcefghijklmnop4").await.0, "000");
    let mut charged: Vec<String> = ledger(connect(&opened.config.wallet).await.unwrap())
        .await
        .unwrap()
        .into_iter()
        .filter(|entry| entry.kind() == Kind::Charged)
        .map(|entry| entry.merchant_trade_no)
        .collect();
    charged.sort_unstable();
    let expected = [
        "cancelled-wallet",
        "new-0",
        "new-1",
        "open-lost-answer",
        "paid-389",
        "paid-390",
        "paid-wallet",
        "part-refunded-wallet",
        "refunded-389",
    ];
    assert_eq!(charged, expected, "each is charged once, and no other");
}
