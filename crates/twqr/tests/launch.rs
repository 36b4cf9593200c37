//! Launching a whole system: the caller's environment cannot change or break it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::process::Command;

use launched::{WALLET, launch, payment};
use twqr_config::Config;
use twqr_lab::launch::connect;
use twqr_wire::pos::pos_service_client::PosServiceClient;

const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

#[test]
fn variables_of_the_caller_do_not_reach_the_processes_of_a_launch() {
    // The variables must be set in the launcher's own environment, so the launcher is a process.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "launcher"])
        .env("TWQR__KAFKA__PREFIX", "x")
        .env("TWQR__KAFKA__BOOTSTRAP", "127.0.0.1:1")
        .env("TWQR__GRPC", "127.0.0.1:1")
        .env("TWQR__SHARDS", "3000")
        .env("TWQR_CONFIG", "/no/such/file")
        .env("TWQR_MERCHANT_KEY_", "a key without its merchant")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test above"]
async fn launcher() {
    let folder = tempfile::tempdir().unwrap();
    let system = launch(TWQR, &folder.path().join("run"), None, Config::default()).await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    assert_eq!(client.pay(payment("T1", WALLET)).await.unwrap().into_inner().status_code, "000");
    let commands = system.run_command(twqr_lab::launch::Build::Present, &["config", "check"]).await;
    assert!(commands.is_ok(), "{commands:?}");
}
