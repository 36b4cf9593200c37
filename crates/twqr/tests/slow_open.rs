//! A disk that stalls while a process opens its folders: the process still answers about its
//! health, and ends when it is asked to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process},
};
use tokio::{net::TcpStream, process::Command, time::timeout};
use twqr_config::Config;
use twqr_lab::launch::{ReservedAddresses, command};

/// After this time the process counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Makes a folder whose database cannot be read to its end: a file of it is a pipe. Returns the
/// pipe.
fn stall(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let pipe = folder.join("version");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe
}

/// Waits until the process reads the pipe. It finds no end while the returned file is open.
async fn until_read(pipe: &Path) -> File {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    loop {
        // Without a reader this fails.
        if let Ok(writer) = File::options().write(true).custom_flags(nonblocking).open(pipe) {
            return writer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_while_it_is_opened_stops_neither_the_health_report_nor_the_shutdown() {
    for name in ["journal", "orders"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let pipe = stall(&data.join(name));
        let mut reserved = ReservedAddresses::default();
        let config = Config { data_dir: data, ..reserved.assign_to(Config::default()).unwrap() };
        let file = folder.path().join("twqr.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr")));
        command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let _writer = timeout(STUCK, until_read(&pipe)).await.unwrap();
        let reported = async {
            while TcpStream::connect(config.admin).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(STUCK, reported).await.unwrap();
        let id = i32::try_from(process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(STUCK, process.wait()).await;
        assert!(ended.is_ok(), "{name}: the process waited for the disk and did not end");
    }
}
