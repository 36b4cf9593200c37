//! A process that ends by a fault leaves nothing of its memory: no core dump, and no other user can
//! read it while it runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::{CommandExt, ExitStatusExt},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use twqr_config::Config;
use twqr_lab::launch::ReservedAddresses;

/// A user without rights.
const OTHER_USER: u32 = 65_534;

#[test]
fn an_aborted_process_leaves_no_core_dump_and_other_users_cannot_read_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut reserved = ReservedAddresses::default();
    let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    let config = reserved.assign_to(config).unwrap();
    let file = folder.path().join("twqr.toml");
    fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    // Even where dumps are wanted.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" --config \"$1\" up"]);
    command.arg(env!("CARGO_BIN_EXE_twqr")).arg(&file).current_dir(folder.path());
    let is_root = geteuid().is_root();
    if is_root {
        // Root could read everything, so the process runs as another user.
        command.uid(OTHER_USER).gid(OTHER_USER);
        for path in [folder.path(), &file] {
            chown(path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    let proc = format!("/proc/{}", process.id());
    let began = Instant::now();
    while !config.data_dir.join("journal").exists() {
        assert!(
            process.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20),
            "it does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The kernel gives the files of a process that may not be dumped to root.
    assert_eq!(fs::metadata(format!("{proc}/mem")).unwrap().uid(), 0, "another process of its user can read it");
    if !is_root {
        assert!(fs::File::open(format!("{proc}/mem")).is_err());
    }
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(id, Signal::ABORT).unwrap();
    let status = process.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "{status}");
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let dumps: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("core")).collect();
    assert!(dumps.is_empty(), "{dumps:?}");
}
