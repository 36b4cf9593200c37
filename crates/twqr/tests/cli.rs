//! Output and exit codes of the commands without a server: usage, configuration, invalid input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/output.rs"]
mod output;

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use output::CommandOutput;

/// An address where no server listens.
const NO_SERVER: &str = "http://127.0.0.1:1";

/// Runs `twqr` in this folder with further environment variables.
fn twqr(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
    command.current_dir(folder).args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
fn a_malformed_command_line_exits_with_64() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&[][..], 64),
        (&["nothing"], 64),
        (&["reconcile", "--date", "2025-03-10"], 64),
        (&["policy", "diff"], 64),
        (&["topics", "plan", "--no-such-option"], 64),
        (&["policy", "apply", "p", "--who", "a", "--why", "b", "--expect", "18446744073709551615"], 64),
        (&["--help"], 0),
        (&["reconcile", "--help"], 0),
        (&["--version"], 0),
        (&["query", "M1", "T1", "--endpoint", NO_SERVER], 1),
    ] {
        let output = twqr(folder.path(), &[], arguments);
        assert_eq!(output.code, code, "{arguments:?}: {}{}", output.stdout, output.stderr);
    }
}

#[test]
fn only_plain_text_addresses_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (endpoint, expected) in
        [("https://127.0.0.1:1", "TLS, which is not supported"), ("127.0.0.1:1", "http://HOST:PORT")]
    {
        for command in [&["query", "M1", "T1"][..], &["policy", "get"], &["settlement", "--date", "2025-03-10"]] {
            let output = twqr(folder.path(), &[], &[command, &["--endpoint", endpoint]].concat());
            assert!(output.code == 1 && output.stderr.contains(expected), "{command:?} {endpoint}: {}", output.stderr);
        }
    }
}

/// One line of a file of requests.
const REQUEST: &str =
    "{\"MerchantID\":\"M1\",\"MerchantTradeNo\":\"T1\",\"CardToken\":\"22abcdefghijklmnop\",\"TradeAmount\":120}\n";

#[test]
fn pay_changes_no_file_before_it_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("requests", REQUEST);
    write("earlier", "results");
    std::os::unix::fs::symlink("requests", folder.path().join("link")).unwrap();
    for (file, out, expected) in [
        (".", "earlier", ". is a folder"),
        ("missing", "earlier", "missing cannot be read"),
        ("requests", "requests", "--out is the same file as --file"),
        ("requests", "./link", "--out is the same file as --file"),
        ("requests", "earlier", "cannot reach http://127.0.0.1:1"),
    ] {
        let output = twqr(folder.path(), &[], &["pay", "--file", file, "--out", out, "--endpoint", NO_SERVER]);
        assert!(output.code == 1 && output.stderr.contains(expected), "{file} {out}: {}", output.stderr);
        let read = ["requests", "earlier"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        assert_eq!(read, [REQUEST, "results"], "{file} {out}");
    }
}

#[test]
fn pay_reads_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    // Accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr"));
    command.args(["pay", "--file", "/dev/stdin", "--out", "results", "--attempts", "1", "--timeout-ms", "300"]);
    command.args(["--endpoint", &endpoint]).current_dir(folder.path()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{REQUEST}{{}}x\n").as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let results = fs::read_to_string(folder.path().join("results")).unwrap();
    assert!(results.contains("\"MerchantTradeNo\":\"T1\"") && results.contains("BAD_LINE"), "{results}");
}

#[test]
fn files_that_a_configuration_names_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys"), "[keys]\nM1 = \"\"\n").unwrap();
    fs::write(folder.path().join("secret.toml"), "shards = 1\nmember = SECRET\n").unwrap();
    let secret = [("TWQR_CONFIG", "secret.toml")];
    for (variables, code, expected) in [
        (&[][..], 0, ""),
        (&[("TWQR__MERCHANT_KEYS_FILE", "nowhere")], 1, "merchant_keys_file: merchant keys: nowhere: cannot be read"),
        (&[("TWQR__MERCHANT_KEYS_FILE", "keys")], 1, "keys, line 2: a key is empty"),
        (&[("TWQR__KAFKA__PASSWORD_FILE", "nowhere")], 1, "kafka.password_file: sasl.password: nowhere cannot be read"),
        (&[("TWQR__MEMBER", "true")], 1, "member: must be text, such as \"router-0\", or a whole number"),
        (&[("TWQR__MEMBER", "7")], 0, ""),
        (&secret, 1, "secret.toml, line 2: "),
    ] {
        let output = twqr(folder.path(), variables, &["config", "check"]);
        assert!(output.code == code && output.stderr.contains(expected), "{variables:?}: {}", output.stderr);
        assert!(
            !output.stderr.contains("SECRET") && output.stderr.lines().count() == usize::from(code != 0),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn the_reason_of_a_policy_change_must_be_readable() {
    let folder = tempfile::tempdir().unwrap();
    for (why, expected) in
        [(" ", "is blank"), ("a\nb", "a control character"), (&"x".repeat(201), "has 201 characters")]
    {
        let output =
            twqr(folder.path(), &[], &["policy", "rollback", "--to", "1", "--expect", "2", "--who", "a", "--why", why]);
        assert!(output.code == 64 && output.stderr.contains(expected), "{why:?}: {}", output.stderr);
    }
}
