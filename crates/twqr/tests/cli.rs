//! What the commands say and which exit code they end with where nobody serves: usage, configuration, and input that cannot be used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// An address at which nobody serves.
const NOWHERE: &str = "http://127.0.0.1:1";

/// What a command came to.
struct Ran {
    code: i32,
    out: String,
    error: String,
}

fn twqr(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
    command.current_dir(folder).args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

#[test]
fn a_wrong_command_line_ends_with_a_code_that_means_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&[][..], 64),
        (&["nothing"], 64),
        (&["reconcile", "--date", "2025-03-10"], 64),
        (&["policy", "diff"], 64),
        (&["topics", "plan", "--no-such-option"], 64),
        (&["--help"], 0),
        (&["reconcile", "--help"], 0),
        (&["--version"], 0),
        (&["query", "M1", "T1", "--endpoint", NOWHERE], 1),
    ] {
        let ran = twqr(folder.path(), &[], arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.error);
    }
}

#[test]
fn an_address_that_would_not_be_spoken_to_as_it_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (endpoint, expected) in [("https://127.0.0.1:1", "TLS is for a proxy"), ("127.0.0.1:1", "http://HOST:PORT")] {
        for command in [&["query", "M1", "T1"][..], &["policy", "get"], &["settlement", "--date", "2025-03-10"]] {
            let ran = twqr(folder.path(), &[], &[command, &["--endpoint", endpoint]].concat());
            assert!(ran.code == 1 && ran.error.contains(expected), "{command:?} {endpoint}: {}", ran.error);
        }
    }
}
