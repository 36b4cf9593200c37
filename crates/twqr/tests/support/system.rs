//! A whole system of real processes, for tests that change its rules.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

#[path = "connect.rs"]
mod connect;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use connect::connect;
use twqr_wire::pos::{PayRequest, PayResponse, RefundRequest, RefundResponse, pos_service_client::PosServiceClient};

/// A system of its own on free ports, ended when it is dropped.
pub struct System {
    folder: tempfile::TempDir,
    grpc: SocketAddr,
    /// Where the POS HTTP form is served.
    pub pos_http: SocketAddr,
    simulator: Child,
    services: Child,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub error: String,
}

fn twqr(config: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
    command.arg("--config").arg(config).env("TWQR_LOG", "info").stdin(Stdio::null());
    command
}

impl System {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [grpc, pos_http, admin, operators, wallet, fisc] = listeners.map(|listener| listener.local_addr().unwrap());
        let dir = folder.path().display();
        let text = format!(
            "data_dir = \"{dir}/data\"\nsimulator_data_dir = \"{dir}/simulator\"\nshards = 4\n\
             grpc = \"{grpc}\"\npos_http = \"{pos_http}\"\nmerchant_keys_file = \"{dir}/keys.toml\"\nadmin = \"{admin}\"\noperators = \"{operators}\"\nwallet = \"{wallet}\"\nfisc = \"{fisc}\"\n"
        );
        let config = folder.path().join("twqr.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::write(folder.path().join("keys.toml"), "[keys]\n").unwrap();
        let simulator = twqr(&config).arg("simulator").stderr(Stdio::null()).spawn().unwrap();
        connect(wallet).await;
        let mut system = Self { grpc, pos_http, simulator, services: up(&folder), folder };
        system.ready().await;
        system
    }

    pub async fn ready(&mut self) {
        connect(self.grpc).await;
        assert!(self.services.try_wait().unwrap().is_none(), "twqr up ended: {}", self.log());
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("twqr.toml")
    }

    /// What the services logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// kill -9, and another one on the same data.
    pub async fn kill_and_restart(&mut self) {
        self.services.kill().unwrap();
        self.services.wait().unwrap();
        self.services = up(&self.folder);
        self.ready().await;
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
        PosServiceClient::new(connect(self.grpc).await).pay(request).await.unwrap().into_inner()
    }

    pub async fn refund(&self, number: &str, trade_no: &str) -> RefundResponse {
        let request = RefundRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: number.into(),
            trade_no: trade_no.into(),
            trade_amount: 10,
            ..RefundRequest::default()
        };
        PosServiceClient::new(connect(self.grpc).await).refund(request).await.unwrap().into_inner()
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

fn up(folder: &tempfile::TempDir) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    twqr(&folder.path().join("twqr.toml")).arg("up").stderr(log).spawn().unwrap()
}
