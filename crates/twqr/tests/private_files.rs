//! What the services store is readable only by their user, whatever the umask is with which they
//! are started.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use launched::{WALLET, launch, payment};
use rustix::{fs::Mode, process::umask};
use twqr_config::Config;
use twqr_lab::launch::connect;
use twqr_wire::pos::pos_service_client::PosServiceClient;

/// The entries of a folder, at every depth, that other users could use, with their modes.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // A file may be removed meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push(format!("{} {mode:o}", entry.path().display()));
        }
        if metadata.is_dir() {
            found.extend(open_to_others(&entry.path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_can_read_nothing_that_services_store() {
    // The processes inherit it.
    umask(Mode::from_raw_mode(0o022));
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let system = launch(env!("CARGO_BIN_EXE_twqr"), &run, None, Config::default()).await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    assert_eq!(client.pay(payment("1", WALLET)).await.unwrap().into_inner().status_code, "000");
    let data_dir = &system.config.data_dir;
    for stored in ["journal", "orders", "card-keys", "read-model.sqlite"] {
        assert!(data_dir.join(stored).exists(), "{stored}");
    }
    assert_eq!(open_to_others(data_dir), Vec::<String>::new());
}
