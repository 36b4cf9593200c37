//! Starts a whole system for a test: `twqr up` as a process, and the simulator within the test's
//! process, so that killing the services never kills the ledger.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use twqr_config::Config;
use twqr_lab::{
    launch::{Launch, Listen, Programs, Shape, System},
    simulator::Kinds,
};
use twqr_wire::pos::PayRequest;

/// A code of the wallet, which approves.
pub const WALLET: &str = "22abcdefghijklmnop";

/// A payment of 100 TWD at the merchant M1.
pub fn payment(merchant_trade_no: &str, card_token: &str) -> PayRequest {
    PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: merchant_trade_no.into(),
        card_token: card_token.into(),
        trade_amount: 100,
        ..PayRequest::default()
    }
}

/// Starts the binary `twqr` on free ports with its data in `dir`, and waits until it serves. The
/// variable `TWQR_ISSUER_KINDS` chooses kinds of issuers.
pub async fn launch(twqr: &str, dir: &Path, script: Option<&Path>, config: Config) -> System {
    launch_shaped(twqr, dir, script, config, Shape::AllInOne).await
}

/// The same, with the services divided into processes by `shape`.
pub async fn launch_shaped(twqr: &str, dir: &Path, script: Option<&Path>, config: Config, shape: Shape) -> System {
    let kinds: Kinds = std::env::var("TWQR_ISSUER_KINDS").unwrap_or_default().parse().unwrap();
    let launch = Launch {
        programs: Programs::with_simulator_in_this_process(twqr),
        dir,
        script,
        config,
        listen: Listen::OnFreePorts,
        shape,
        kinds,
        tls: false,
        log_filter: Some("info"),
    };
    launch.start().await.unwrap()
}

/// Kills the services with kill -9 and starts them again on the same data; returns the time from
/// the kill until they serve.
pub async fn kill_and_restart(system: &mut System) -> Duration {
    system.kill("up").await.unwrap();
    let killed = Instant::now();
    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    killed.elapsed()
}
