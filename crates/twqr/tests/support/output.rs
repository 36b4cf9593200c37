//! The output and exit code of a command that a test ran.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Output;

/// What a finished command printed, and its exit code.
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
