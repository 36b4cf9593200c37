//! Output and exit codes of the commands without a server: usage, configuration, invalid input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// An address without a server.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The outcome of a command.
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
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
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
        (&["query", "M1", "T1", "--endpoint", NOWHERE], 1),
    ] {
        let ran = twqr(folder.path(), &[], arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.error);
    }
}

#[test]
fn only_plain_text_addresses_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (endpoint, expected) in
        [("https://127.0.0.1:1", "TLS, which is not supported"), ("127.0.0.1:1", "http://HOST:PORT")]
    {
        for command in [&["query", "M1", "T1"][..], &["policy", "get"], &["settlement", "--date", "2025-03-10"]] {
            let ran = twqr(folder.path(), &[], &[command, &["--endpoint", endpoint]].concat());
            assert!(ran.code == 1 && ran.error.contains(expected), "{command:?} {endpoint}: {}", ran.error);
        }
    }
}

const REQUEST: &str =
    "{\"MerchantID\":\"M1\",\"MerchantTradeNo\":\"T1\",\"CardToken\":\"22abcdefghijklmnop\",\"TradeAmount\":120}\n";

#[test]
fn pay_changes_no_file_before_it_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    written("requests", REQUEST);
    written("earlier", "results");
    std::os::unix::fs::symlink("requests", folder.path().join("link")).unwrap();
    for (file, out, expected) in [
        (".", "earlier", ". is a folder"),
        ("missing", "earlier", "missing cannot be read"),
        ("requests", "requests", "--out is the same file as --file"),
        ("requests", "./link", "--out is the same file as --file"),
        ("requests", "earlier", "cannot reach http://127.0.0.1:1"),
    ] {
        let ran = twqr(folder.path(), &[], &["pay", "--file", file, "--out", out, "--endpoint", NOWHERE]);
        assert!(ran.code == 1 && ran.error.contains(expected), "{file} {out}: {}", ran.error);
        let read = ["requests", "earlier"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        assert_eq!(read, [REQUEST, "results"], "{file} {out}");
    }
}

#[test]
fn pay_reads_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    // Takes connections and answers nothing.
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
        let ran = twqr(folder.path(), variables, &["config", "check"]);
        assert!(ran.code == code && ran.error.contains(expected), "{variables:?}: {}", ran.error);
        assert!(!ran.error.contains("SECRET") && ran.error.lines().count() == usize::from(code != 0), "{}", ran.error);
    }
}

#[test]
fn the_history_needs_a_text() {
    let folder = tempfile::tempdir().unwrap();
    for (why, expected) in
        [(" ", "is blank"), ("a\nb", "a control character"), (&"x".repeat(201), "has 201 characters")]
    {
        let ran =
            twqr(folder.path(), &[], &["policy", "rollback", "--to", "1", "--expect", "2", "--who", "a", "--why", why]);
        assert!(ran.code == 64 && ran.error.contains(expected), "{why:?}: {}", ran.error);
    }
}
