//! Suspends and resumes processes that this command has started, by their id.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("the process id is invalid")?;
    kill_process(pid, signal).with_context(|| format!("cannot send a signal to process {id}"))
}

/// Suspends the process.
pub(crate) fn suspend(id: u32) -> anyhow::Result<()> {
    send(id, Signal::STOP)
}

/// Resumes a suspended process.
pub(crate) fn resume(id: u32) -> anyhow::Result<()> {
    send(id, Signal::CONT)
}
