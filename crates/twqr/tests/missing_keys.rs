//! A process without card keys is unready once the policy needs them, names the directory, and is
//! ready again without a restart once the keys are there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use twqr_card_keys::KeyDirectory;
use twqr_config::Config;
use twqr_lab::launch::{ReservedAddresses, command};
use twqr_service::{Clock, SystemClock};

/// After this time the process counts as stuck.
const STUCK: Duration = Duration::from_secs(40);

/// The answer of `/readyz`; empty while there is none.
async fn readyz(admin: SocketAddr) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(admin).await {
        let request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        if stream.write_all(request).await.is_ok() {
            drop(stream.read_to_string(&mut answer).await);
        }
    }
    answer
}

/// Waits for an answer that begins and contains this.
async fn until(admin: SocketAddr, status: &str, contains: &[&str]) {
    let mut answer = String::new();
    let waiting = async {
        while !(answer.starts_with(status) && contains.iter().all(|text| answer.contains(text))) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = readyz(admin).await;
        }
    };
    let waited = tokio::time::timeout(STUCK, waiting).await;
    assert!(waited.is_ok(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_keys_is_unready_until_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let mut reserved = ReservedAddresses::default();
    let config = Config { data_dir: folder.path().join("data"), card_keys_dir: keys.clone(), ..Config::default() };
    let config = reserved.assign_to(config).unwrap();
    let file = folder.path().join("twqr.toml");
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr")));
    command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
    let _process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let not_ready = format!("card-keys: card_keys_dir {}: there is no comparison key", keys.display());
    until(config.admin, "HTTP/1.1 503", &[&not_ready, "twqr keys"]).await;
    KeyDirectory::new(keys).renew(SystemClock.now()).unwrap();
    until(config.admin, "HTTP/1.1 200", &[]).await;
}
