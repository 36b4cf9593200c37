//! `twqr up` on the embedded journal: a copy of its `data_dir`, without the keys that decrypt card
//! tokens, is restored on another machine, at other addresses
//! (`deploy/runbooks/backup-and-restore.md`). Orders of the copy are as the issuers know them,
//! payments after it are known to the issuers alone, and nothing is charged twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use launched::{WALLET, launch, payment};
use tokio::process::{Child, Command};
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_lab::launch::{ReservedAddresses, command, connect, is_ready};
use twqr_loadgen::ledger;
use twqr_wire::{
    backend::ledger_entry::Kind,
    pos::{InquiryType, OrderStatus, QueryRequest, pos_service_client::PosServiceClient},
};

const TWQR: &str = env!("CARGO_BIN_EXE_twqr");
/// A code of an institution that loses its answers.
const LOSES_ANSWERS: &str = "99801234567890123456";
const SCRIPT: &str = "[issuers.390]\nlose_answers = 1.0\n";
/// The longest time until an order in progress is final.
const RESOLVED_WITHIN: Duration = Duration::from_mins(1);
/// A movement of money is sent within this time or not at all: `send_within_ms` of the policy.
const SENT_WITHIN: Duration = Duration::from_secs(3);

async fn client(config: &Config) -> PosServiceClient<Channel> {
    PosServiceClient::new(connect(config.grpc).await.unwrap())
}

/// Pays 100 TWD; returns the StatusCode, and whether it is a repeat.
async fn pay(config: &Config, number: &str, card_token: &str) -> (String, bool) {
    let paid = client(config).await.pay(payment(number, card_token)).await.unwrap().into_inner();
    (paid.status_code, paid.is_rep)
}

/// The state of a payment; absent if it is unknown here.
async fn state(config: &Config, number: &str) -> Option<OrderStatus> {
    let query = QueryRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        inquiry_type: InquiryType::Payment.into(),
        ..QueryRequest::default()
    };
    let found = client(config).await.query(query).await.unwrap().into_inner();
    found.order_status.map(|_| found.order_status())
}

/// How often each payment was charged at the issuers.
async fn charges(config: &Config) -> BTreeMap<String, usize> {
    let entries = ledger(connect(&config.wallet).await.unwrap()).await.unwrap();
    let mut charges = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| entry.kind() == Kind::Charged) {
        *charges.entry(entry.merchant_trade_no).or_default() += 1;
    }
    charges
}

/// Copies a folder as the runbook says. The sealing keys would decrypt the card tokens in the copy.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("sealing-") {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The names of the card keys in a `data_dir`.
fn keys(data_dir: &Path) -> String {
    let files = std::fs::read_dir(data_dir.join("card-keys")).unwrap();
    files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned() + " ").collect()
}

/// Starts `twqr up` with this configuration, and waits until it is ready.
async fn up(folder: &Path, config: &Config) -> Child {
    let file = folder.join("moved.toml");
    std::fs::write(&file, toml::to_string(config).unwrap()).unwrap();
    let mut command = Command::from(command(TWQR));
    command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
    let process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    drop(connect(config.grpc).await.unwrap());
    while !is_ready(config.admin).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_folder_is_restored_on_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut system = launch(TWQR, &folder.path().join("run"), Some(&script), Config::default()).await;
    let config = system.config.clone();
    assert_eq!(pay(&config, "before", WALLET).await, ("000".into(), false));
    // Charged, but the issuer does not say so before it is asked: in progress in the copy.
    let paying = tokio::spawn({
        let config = config.clone();
        async move { pay(&config, "open", LOSES_ANSWERS).await }
    });
    let began = Instant::now();
    while !charges(&config).await.contains_key("open") {
        assert!(began.elapsed() < RESOLVED_WITHIN, "it is not charged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    system.kill("up").await.unwrap();
    drop(paying.await);
    tokio::time::sleep(SENT_WITHIN).await;
    let backup = folder.path().join("backup");
    copy(&config.data_dir, &backup);
    let [all, copied] = [&config.data_dir, &backup].map(|data| keys(data));
    assert!(all.contains("sealing-") && !copied.contains("sealing-") && copied.contains("comparison-"), "{copied}");

    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    assert_eq!(pay(&config, "after", WALLET).await, ("000".into(), false));
    system.stop("up").await.unwrap();
    // The machine is gone; another one has the copy and other addresses, and reaches the issuers.
    std::fs::remove_dir_all(&config.data_dir).unwrap();
    let mut reserved = ReservedAddresses::default();
    let elsewhere = reserved.assign_to(config.clone()).unwrap();
    let moved = Config { data_dir: backup, wallet: config.wallet.clone(), fisc: config.fisc.clone(), ..elsewhere };
    let _process = up(folder.path(), &moved).await;

    assert_eq!(state(&moved, "before").await, Some(OrderStatus::Paid));
    assert_eq!(pay(&moved, "before", WALLET).await, ("000".into(), true), "a repeat has the same answer");
    let began = Instant::now();
    while state(&moved, "open").await != Some(OrderStatus::Paid) {
        assert!(began.elapsed() < RESOLVED_WITHIN, "{:?}", state(&moved, "open").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state(&moved, "after").await, None, "it is known to the issuers alone");
    assert_eq!(pay(&moved, "new", WALLET).await, ("000".into(), false));
    let expected = ["after", "before", "new", "open"].map(|number| (number.to_owned(), 1));
    assert_eq!(charges(&moved).await, expected.into(), "each is charged once");
}
