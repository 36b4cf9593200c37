//! A disk that becomes full under `twqr up`: the process says so, ends, and loses no payment that
//! it answered. The disk is a small one in memory, which only root may mount.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints what it found")]

#[path = "support/launched.rs"]
mod launched;

use std::{fs, path::Path, process::Command, time::Duration};

use launched::launch;
use twqr_config::Config;
use twqr_lab::{launch::connect, short_times::with_short_times};
use twqr_loadgen::{audit, day, ledger, resolve, send_each};

/// The size of the disk: room for a start and some payments.
const DISK: &str = "size=256m";

/// A mounted disk in memory, which is unmounted when this is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(dir: &'a Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "twqr-test"]).arg(dir).status();
        assert!(mount.unwrap().success(), "cannot mount a small disk on {}: run this test as root", dir.display());
        Self(dir)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root for a small disk: make test-kafka"]
async fn a_full_disk_ends_the_process_with_a_reason_and_loses_no_answered_payment() {
    let folder = tempfile::tempdir().unwrap();
    // The log is on another disk: on a full one it could not say why the process ended.
    let data = folder.path().join("data");
    let _disk = SmallDisk::mount(&data);
    let config = with_short_times(Config { data_dir: data.clone(), ..Config::default() }, 2_000).unwrap();
    let mut system = launch(env!("CARGO_BIN_EXE_twqr"), &folder.path().join("run"), None, config).await;
    let channel = connect(system.config.grpc).await.unwrap();
    let filler = data.join("filler");
    let mut results = send_each(&channel, day(1, "before", 100), 50, || ()).await;
    // This write is meant to fail, when the disk is full.
    drop(fs::write(&filler, vec![0; 512 << 20]));
    let sending = tokio::spawn({
        let channel = channel.clone();
        async move { send_each(&channel, day(2, "full", 400), 50, || ()).await }
    });
    tokio::time::timeout(Duration::from_mins(1), system.until_ended("up")).await.unwrap().unwrap();
    let log = system.log("up").unwrap();
    assert!(log.contains("No space left on device") && log.contains("repair the disk, then restart"), "{log}");
    fs::remove_file(&filler).unwrap();
    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    results.extend(sending.await.unwrap());
    let orders = resolve(&channel, &results, Duration::from_secs(20)).await;
    let entries = ledger(connect(&system.config.wallet).await.unwrap()).await.unwrap();
    let found = audit(&results, &orders, &entries);
    println!("{} answers, {} orders, {} ledger entries", results.len(), orders.len(), entries.len());
    assert!(found.is_clean(), "{found:#?}\n{}", system.log("up").unwrap());
    assert!(!orders.is_empty(), "nothing was paid before the disk was full");
}
