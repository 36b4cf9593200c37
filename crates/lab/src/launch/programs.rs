//! Finds, starts and ends the programs: `twqr`, and `twqr-lab` for the simulator and the floors of
//! benchmarks.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a process may take to end after SIGTERM, in s.
const END_S_MAX: u64 = 15;
/// Variables with this prefix set the configuration, its file and merchants' keys. Children do not
/// inherit them: the configuration that they are started with already holds what they need.
const VARIABLES: &str = "TWQR_";
/// The variable that says what is logged. Children inherit it.
const LOG_VARIABLE: &str = "TWQR_LOG";

/// The folder of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    twqr: PathBuf,
    /// If it is absent, the simulator runs within this process.
    lab: Option<PathBuf>,
    /// The `twqr` of an older build, with which a system may start.
    older: Option<PathBuf>,
}

/// The build that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The build under test.
    Present,
    /// The build that is upgraded from.
    Older,
}

impl Programs {
    /// This program, which must be `twqr-lab`, and `twqr` in the same folder.
    pub fn beside_this_one() -> anyhow::Result<Self> {
        let lab = std::env::current_exe().context("the path of this program is unknown")?;
        Ok(Self { twqr: lab.with_file_name("twqr"), lab: Some(lab), older: None })
    }

    /// `twqr` of the folder `build`, and this program as `twqr-lab`: the same laboratory measures
    /// another build.
    pub fn with_services_of(build: &Path) -> anyhow::Result<Self> {
        let lab = std::env::current_exe().context("the path of this program is unknown")?;
        Ok(Self { twqr: build.join("twqr"), lab: Some(lab), older: None })
    }

    /// For tests that know `twqr` only: the simulator runs within the test's process.
    pub fn with_simulator_in_this_process(twqr: impl Into<PathBuf>) -> Self {
        Self { twqr: twqr.into(), lab: None, older: None }
    }

    /// The same, but a system starts with the `twqr` of an older build.
    #[must_use]
    pub fn with_older(self, twqr: impl Into<PathBuf>) -> Self {
        Self { older: Some(twqr.into()), ..self }
    }

    /// The build with which a system starts.
    pub(super) const fn first_build(&self) -> Build {
        if self.older.is_some() { Build::Older } else { Build::Present }
    }

    /// Fails if `twqr` has not been built.
    pub(super) fn check_built(&self) -> anyhow::Result<()> {
        for twqr in std::iter::once(&self.twqr).chain(&self.older) {
            ensure!(twqr.exists(), "{} is missing; build it with cargo build", twqr.display());
        }
        Ok(())
    }

    /// A command that runs the `twqr` of a build; the process is killed when its handle is dropped.
    pub(super) fn twqr(&self, build: Build) -> Command {
        match (build, &self.older) {
            (Build::Older, Some(older)) => child(older),
            (Build::Older, None) | (Build::Present, _) => child(&self.twqr),
        }
    }

    /// The same for `twqr-lab`; absent where the simulator runs within this process.
    pub(super) fn lab(&self, config: &Path, arguments: &[&OsStr]) -> Option<Command> {
        let mut command = child(self.lab.as_deref()?);
        command.arg("--config").arg(config).args(arguments);
        Some(command)
    }
}

/// A command that runs a program of this project without the variables of the caller's environment
/// that would change its configuration.
pub fn command(program: impl AsRef<OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(VARIABLES.as_bytes()) && name != LOG_VARIABLE {
            command.env_remove(name);
        }
    }
    command
}

/// The same for a process that gets no standard input and is killed when its handle is dropped.
fn child(program: &Path) -> Command {
    let mut command = Command::from(command(program));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A command that runs this program with these arguments. Benchmarks start their floors with it.
pub(crate) fn this_program(arguments: &[&OsStr]) -> anyhow::Result<Command> {
    let mut command = child(&std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// Sends SIGTERM, waits for the end, and kills the process if it takes too long.
pub(crate) async fn end(child: &mut Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        // A process that has just ended cannot be signalled, and need not be.
        let _ = kill_process(id, Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_secs(END_S_MAX), child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}
