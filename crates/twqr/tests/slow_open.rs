//! A disk that stalls while a process opens its folders: the process still answers about its
//! health, and ends when it is asked to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpStream, process::Command, time::timeout};
use twqr_config::Config;
use twqr_lab::launch::on_free_ports;

/// After this time the process counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Makes a folder whose database cannot be read to its end: a file of it is a pipe without a
/// writer.
fn stall(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.join("version")).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_while_it_is_opened_stops_neither_the_health_report_nor_the_shutdown() {
    for name in ["journal", "orders"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        stall(&data.join(name));
        let config = Config { data_dir: data, ..on_free_ports(Config::default()).unwrap() };
        let file = folder.path().join("twqr.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
        command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let until_answers = async {
            while TcpStream::connect(config.admin).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(STUCK, until_answers).await.unwrap();
        // The folder is being opened meanwhile.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(process.try_wait().unwrap(), None, "{name}: the process ended by itself");
        let id = i32::try_from(process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(STUCK, process.wait()).await;
        assert!(ended.is_ok(), "{name}: the process waited for the disk and did not end");
    }
}
