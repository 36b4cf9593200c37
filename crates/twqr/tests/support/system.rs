//! A whole system of real processes, for tests that change its rules.

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

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use launched::launch;
use twqr_config::Config;
use twqr_lab::launch::connect;
use twqr_wire::pos::{PayRequest, PayResponse, RefundRequest, RefundResponse, pos_service_client::PosServiceClient};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// A system in a folder of its own, ended when it is dropped.
pub struct System {
    folder: tempfile::TempDir,
    launched: twqr_lab::launch::System,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub error: String,
}

fn twqr(config: &std::path::Path) -> Command {
    let mut command = Command::new(TWQR);
    command.arg("--config").arg(config).env("TWQR_LOG", "info").stdin(Stdio::null());
    command
}

impl System {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        std::fs::write(&keys, "[keys]\n").unwrap();
        let config = Config { shards: NonZeroU32::new(4).unwrap(), merchant_keys_file: keys, ..Config::default() };
        let launched = launch(TWQR, &folder.path().join("run"), None, config).await;
        Self { folder, launched }
    }

    pub fn config(&self) -> PathBuf {
        self.launched.config_file().to_owned()
    }

    /// Where the POS HTTP form is served.
    pub fn pos_http(&self) -> SocketAddr {
        self.launched.config.pos_http
    }

    /// What the services logged.
    pub fn log(&self) -> String {
        self.launched.log("up").unwrap()
    }

    /// kill -9, and another process on the same data.
    pub async fn kill_and_restart(&mut self) {
        self.launched.kill("up").await.unwrap();
        self.launched.start_again("up").unwrap();
        self.launched.until_ready().await.unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = twqr(&self.config()).arg("policy").args(arguments).env("TWQR_LOG", "warn").output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The newest document; the tracker may have to read it first.
    pub fn get(&self) -> String {
        for _ in 0..200 {
            let got = self.run(&["get"]);
            if got.code == 0 && !got.out.contains("\n# shard ") {
                return got.out;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no document on every shard within 10 s: {}", self.run(&["get"]).error)
    }

    /// A file with a document.
    pub fn write(&self, name: &str, document: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, document).unwrap();
        file.display().to_string()
    }

    pub fn apply(&self, file: &str, expect: &str) -> Ran {
        self.run(&["apply", file, "--expect", expect, "--who", "alice", "--why", "a test"])
    }

    pub async fn pay(&self, number: &str, code: &str) -> PayResponse {
        let request = PayRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
            card_token: code.into(),
            trade_amount: 100,
            ..PayRequest::default()
        };
        PosServiceClient::new(connect(self.launched.config.grpc).await.unwrap())
            .pay(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn refund(&self, number: &str, trade_no: &str) -> RefundResponse {
        let request = RefundRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
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
