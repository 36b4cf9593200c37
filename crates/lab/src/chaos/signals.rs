//! Signals to processes that this command has started, by their id.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process")?;
    kill_process(pid, signal).with_context(|| format!("process {id} cannot be signalled"))
}

/// It stands still from now on.
pub(super) fn stop(id: u32) -> anyhow::Result<()> {
    send(id, Signal::STOP)
}

/// It goes on where it was.
pub(super) fn go_on(id: u32) -> anyhow::Result<()> {
    send(id, Signal::CONT)
}
