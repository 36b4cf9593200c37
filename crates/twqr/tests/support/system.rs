//! A whole system of real processes, for tests that change its policy.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

#[path = "launched.rs"]
mod launched;
#[path = "output.rs"]
mod output;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use launched::{kill_and_restart, launch, launch_shaped};
pub use output::CommandOutput;
use twqr_config::{AccessConfig, Config};
use twqr_lab::launch::{Shape, command, connect};
use twqr_wire::pos::{PayRequest, PayResponse, RefundRequest, RefundResponse, pos_service_client::PosServiceClient};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// A running system in a temporary folder; dropping it ends its processes.
pub struct System {
    folder: tempfile::TempDir,
    launched: twqr_lab::launch::System,
}

impl System {
    /// Starts a system with the default policy and without merchants' keys.
    pub async fn start() -> Self {
        Self::start_with(AccessConfig::default()).await
    }

    /// Starts a system that lets in these callers.
    pub async fn start_with(access: AccessConfig) -> Self {
        Self::start_on(None, access).await
    }

    /// The same; on a broker with two processes of each service, if one is named.
    pub async fn start_on(bootstrap: Option<String>, access: AccessConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        std::fs::write(&keys, "[keys]\n").unwrap();
        let config = Config { shards: NonZeroU32::new(4), merchant_keys_file: keys, access, ..Config::default() };
        let run = folder.path().join("run");
        let launched = match bootstrap {
            None => launch(TWQR, &run, None, config).await,
            Some(bootstrap) => {
                let mut config = config;
                config.kafka.bootstrap = bootstrap;
                launch_shaped(TWQR, &run, None, config, Shape::TwoOfEach).await
            }
        };
        Self { folder, launched }
    }

    pub fn config_file(&self) -> PathBuf {
        self.launched.config_file().to_owned()
    }

    /// The address of the public gRPC API.
    pub fn public_api(&self) -> SocketAddr {
        self.launched.config.grpc
    }

    /// The addresses of the public gRPC API of all ingresses.
    pub fn ingresses(&self) -> Vec<SocketAddr> {
        self.launched.ingresses()
    }

    /// The address of the POS API over HTTP.
    pub fn pos_http(&self) -> SocketAddr {
        self.launched.config.pos_http
    }

    /// The log of the services.
    pub fn log(&self) -> String {
        self.launched.log("up").unwrap()
    }

    /// Waits until a line of the log has all of these texts.
    pub async fn until_logged(&self, texts: &[&str]) {
        for _ in 0..200 {
            if self.log().lines().any(|line| texts.iter().all(|text| line.contains(text))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("after 10 s no line of the log has {texts:?}");
    }

    /// Kills the services with kill -9 and starts them again on the same data.
    pub async fn kill_and_restart(&mut self) {
        kill_and_restart(&mut self.launched).await;
    }

    /// The address of the operators' API.
    pub fn operators(&self) -> SocketAddr {
        self.launched.config.operators
    }

    /// Runs `twqr policy` with these arguments.
    pub fn policy(&self, arguments: &[&str]) -> CommandOutput {
        policy_with(&self.config_file(), arguments)
    }

    /// The newest policy document. Waits until the tracker has read it and every shard has it.
    pub fn newest_policy(&self) -> String {
        for _ in 0..200 {
            let output = self.policy(&["get"]);
            if output.code == 0 && !output.stdout.contains("\n# shard ") {
                return output.stdout;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not every shard had the newest policy within 10 s: {}", self.policy(&["get"]).stderr)
    }

    /// Writes a file in the system's folder, and returns its path.
    pub fn write_file(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    /// Applies a policy document to the version that is expected to be the newest.
    pub fn apply_policy(&self, file: &str, expected_version: &str) -> CommandOutput {
        self.policy(&["apply", file, "--expect", expected_version, "--who", "alice", "--why", "a test"])
    }

    /// Pays 100 TWD at merchant M1 under this MerchantTradeNo.
    pub async fn pay(&self, merchant_trade_no: &str, card_token: &str) -> PayResponse {
        let request = PayRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: merchant_trade_no.into(),
            card_token: card_token.into(),
            trade_amount: 100,
            ..PayRequest::default()
        };
        PosServiceClient::new(connect(self.launched.config.grpc).await.unwrap())
            .pay(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Refunds 10 TWD of the payment with this TradeNo.
    pub async fn refund(&self, merchant_trade_no: &str, trade_no: &str) -> RefundResponse {
        let request = RefundRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: merchant_trade_no.into(),
            trade_no: trade_no.into(),
            trade_amount: 10,
            ..RefundRequest::default()
        };
        PosServiceClient::new(connect(self.launched.config.grpc).await.unwrap())
            .refund(request)
            .await
            .unwrap()
            .into_inner()
    }
}

/// Runs `twqr policy` with these arguments and this configuration.
pub fn policy_with(config: &Path, arguments: &[&str]) -> CommandOutput {
    command_with(config, &[&["policy"], arguments].concat())
}

/// Runs `twqr` with these arguments and this configuration.
pub fn command_with(config: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = command(TWQR);
    command.arg("--config").arg(config).args(arguments);
    command.env("TWQR_LOG", "warn").stdin(Stdio::null()).output().unwrap().into()
}
