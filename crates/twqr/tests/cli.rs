//! Output and exit codes of the commands without a server: usage, configuration, invalid input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/output.rs"]
mod output;

use std::{fs, io::Write, net::TcpListener, path::Path, process::Stdio};

use output::CommandOutput;
use twqr_lab::launch::command;

/// An address where no server listens.
const NO_SERVER: &str = "http://127.0.0.1:1";

/// Runs `twqr` in this folder with further environment variables.
fn twqr(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
    let mut command = command(env!("CARGO_BIN_EXE_twqr"));
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
        (&["capacity"], 64),
        (&["capacity", "--tps", "0"], 64),
        (&["capacity", "--tps", "1000", "--average", "101"], 64),
        (&["capacity", "--tps", "583000", "--json"], 0),
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
fn an_address_names_its_scheme_and_one_with_tls_needs_an_authority() {
    let folder = tempfile::tempdir().unwrap();
    for (endpoint, expected) in [("https://127.0.0.1:1", "tls.client.ca_file"), ("127.0.0.1:1", "http://HOST:PORT")] {
        for command in [&["query", "M1", "T1"][..], &["policy", "get"], &["settlement", "--date", "2025-03-10"]] {
            let output = twqr(folder.path(), &[], &[command, &["--endpoint", endpoint]].concat());
            assert!(output.code == 1 && output.stderr.contains(expected), "{command:?} {endpoint}: {}", output.stderr);
        }
    }
}

#[test]
fn an_api_key_leaves_the_machine_only_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "twqr_0123").unwrap();
    let run = |endpoint: &str, further: &[&str]| {
        let arguments = [&["--api-key-file", "key", "callers", "list", "--endpoint", endpoint], further].concat();
        let output = twqr(folder.path(), &[], &arguments);
        assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
        output.stderr
    };
    let refused = run("http://0.0.0.0:1", &[]);
    assert!(refused.contains("has no TLS") && refused.contains("--api-key-in-plain-text"), "{refused}");
    for reached in [run("http://0.0.0.0:1", &["--api-key-in-plain-text"]), run(NO_SERVER, &[])] {
        assert!(reached.contains("cannot reach"), "{reached}");
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
    let mut command = command(env!("CARGO_BIN_EXE_twqr"));
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
        (&[("TWQR_MERCHANT_KEY_M7", "k\n")], 0, ""),
        (&[("TWQR_MERCHANT_KEY_M7", "SECRET ")], 1, "TWQR_MERCHANT_KEY_M7: a key begins or ends with a blank"),
        (&[("TWQR__KAFKA__BOOTSTRAP", "kafka")], 1, "kafka.bootstrap contains \"kafka\", must be host:port"),
        (&[("TWQR__ADMIN", "127.0.0.1:17051")], 1, "admin is 127.0.0.1:17051, must have another port than grpc"),
        (
            &[("TWQR__CALL_TIMEOUT_MS", "5000")],
            1,
            "policy.issuers[0].window_ms: is 5000, must be above call_timeout_ms",
        ),
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
fn the_reason_of_a_policy_change_must_be_short_printable_text() {
    let folder = tempfile::tempdir().unwrap();
    for (why, expected) in
        [(" ", "is blank"), ("a\nb", "a control character"), (&"x".repeat(201), "has 201 characters")]
    {
        let output =
            twqr(folder.path(), &[], &["policy", "rollback", "--to", "1", "--expect", "2", "--who", "a", "--why", why]);
        assert!(output.code == 64 && output.stderr.contains(expected), "{why:?}: {}", output.stderr);
    }
}

/// An output stream whose reading end is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_changes_no_exit_code_and_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy"), "[[routes]]\nprefix = \"22\"\ncode_lengths = [18]\n").unwrap();
    for (arguments, code) in [
        (&["config", "default"][..], 0),
        (&["config", "check"], 0),
        (&["policy", "validate", "policy"], 0),
        (&["policy", "validate", "missing"], 1),
        (&["query", "M1", "T1", "--endpoint", NO_SERVER], 1),
        (&["settlement", "verify", "policy"], 1),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["nothing"], 64),
    ] {
        let mut command = command(env!("CARGO_BIN_EXE_twqr"));
        command.current_dir(folder.path()).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let with_errors = command.stdout(closed_pipe()).output().unwrap();
        let error = String::from_utf8(with_errors.stderr).unwrap();
        assert_eq!(with_errors.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(!error.contains("Broken pipe") && !error.contains("panicked"), "{arguments:?}: {error}");
        let without = command.stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(without.code(), Some(code), "{arguments:?} without standard error");
    }
}

/// Runs a command with this text on its standard input.
fn twqr_with_input(folder: &Path, input: &[u8], arguments: &[&str]) -> CommandOutput {
    let mut command = command(env!("CARGO_BIN_EXE_twqr"));
    command.current_dir(folder).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may end before it has read all of its input.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_hyphen_means_standard_input_wherever_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("-"), "a file of this name is not meant").unwrap();
    let date = ["--date", "2025-03-10"];
    for (input, arguments, code, expected) in [
        ("[[routes]]\nprefix = \"22\"\ncode_lengths = [18]\n", &["policy", "validate", "-"][..], 0, "is valid"),
        ("x", &["policy", "validate", "-"], 1, "-: line 1"),
        (
            "[[routes]]\nprefix = \"22\"\ncode_lengths = [18]\n[[issuers]]\ninstitution = \"\"\nwindow_ms = 3000\n",
            &["policy", "validate", "-"],
            1,
            "-: issuers[0].window_ms: is 3000, must be above call_timeout_ms, which is 4000",
        ),
        ("x", &["policy", "diff", "-"], 1, "-: line 1"),
        ("x", &["policy", "apply", "-", "--expect", "1", "--who", "a", "--why", "b"], 1, "-: line 1"),
        ("H,x", &["settlement", "verify", "-"], 1, "-: is not an accounting file"),
        ("x", &[&["settlement"][..], &date, &["--layout", "-"]].concat(), 1, "layout -: line 1"),
        ("shards = 0", &["--config", "-", "config", "check"], 1, "configuration -: shards: "),
        ("", &["cancel", "M1", "T1", "--amount", "1", "--card-token-file", "-"], 1, "- is empty"),
        ("shards = 8", &["--config", "-", "policy", "validate", "-"], 1, "standard input was already read"),
    ] {
        let ran = twqr_with_input(folder.path(), input.as_bytes(), arguments);
        let said = ran.stdout + &ran.stderr;
        assert!(ran.code == code && said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn access_that_cannot_work_is_refused_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let both = |listener: &str| format!("[access]\nrequired = true\nkey_and_certificate = [\"{listener}\"]\n");
    for (text, expected) in [
        (both("grpc"), "but tls.grpc.client_ca_file names no authority"),
        (both("operators"), "but tls.operators.client_ca_file names no authority"),
        (both("grpc").replace("true", "false"), "which needs access.required = true"),
        ("grpc = \"0.0.0.0:17051\"\n".to_owned(), "grpc is 0.0.0.0:17051, which others can reach"),
        ("operators = \"[::]:17071\"\n".to_owned(), "operators is [::]:17071, which others can reach"),
        ("admin = \"0.0.0.0:17090\"\n".to_owned(), "admin is 0.0.0.0:17090, which others can reach"),
        ("admin = \"[::]:17090\"\n[access]\ninsecure = true\n".to_owned(), "set access.insecure_admin = true"),
        ("[[access.callers]]\nname = \"a b\"\n".to_owned(), "access.callers[0].name must"),
    ] {
        let ran = twqr_with_input(folder.path(), text.as_bytes(), &["--config", "-", "config", "check"]);
        assert!(ran.code == 1 && ran.stderr.contains(expected), "{text}: {}{}", ran.stdout, ran.stderr);
    }
}

/// The text as some Windows editors save it: with a byte order mark, and CRLF at the ends of lines.
fn as_saved_on_windows(text: &str) -> String {
    format!("\u{feff}{}", text.replace('\n', "\r\n"))
}

#[test]
fn files_saved_by_windows_editors_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| fs::write(folder.path().join(name), as_saved_on_windows(text)).unwrap();
    written("twqr.toml", "shards = 3\nmerchant_keys_file = \"keys\"\n");
    written("keys", "[keys]\nM1 = \"key\"\n");
    written("policy", "name = \"\"\"\na\"\"\"\n[[routes]]\nprefix = \"22\"\ncode_lengths = [18]\n");
    written("layout", "encoding = \"utf-8\"\n");
    written("token", "22SECRET\n");
    let date_and_endpoint = ["--date", "2025-03-10", "--endpoint", NO_SERVER];
    for (arguments, code, expected) in [
        (&["--config", "twqr.toml", "config", "check"][..], 0, "the configuration is valid"),
        (&["policy", "validate", "policy"], 0, "the policy is valid"),
        (&[&["settlement", "--layout", "layout"][..], &date_and_endpoint].concat(), 1, "cannot reach"),
        (
            &["cancel", "M1", "T1", "--amount", "1", "--card-token-file", "token", "--endpoint", NO_SERVER],
            1,
            "cannot reach",
        ),
    ] {
        let ran = twqr(folder.path(), &[], arguments);
        let said = ran.stdout + &ran.stderr;
        assert!(ran.code == code && said.contains(expected), "{arguments:?}: {said}");
    }
    // Windows editors save "Unicode" as UTF-16, which is not accepted.
    fs::write(folder.path().join("policy"), [0xff, 0xfe, b'a', 0]).unwrap();
    let ran = twqr(folder.path(), &[], &["policy", "validate", "policy"]);
    assert!(ran.code == 1 && ran.stderr.contains("UTF-16; save it as UTF-8"), "{}", ran.stderr);
}

#[test]
fn the_charts_file_of_rights_is_what_this_build_prints() {
    let folder = tempfile::tempdir().unwrap();
    let printed = twqr(folder.path(), &[], &["topics", "acls", "--chart"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm/twqr/files/kafka-rights.yaml");
    let how = "write it anew: twqr topics acls --chart > deploy/helm/twqr/files/kafka-rights.yaml";
    assert_eq!(fs::read_to_string(file).unwrap_or_default(), printed.stdout, "{how}");
}

#[test]
fn rights_are_printed_for_the_configured_prefix_and_the_given_principals() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["topics", "acls", "--principal", "User:CN={},O=twqr"];
    let printed = twqr(folder.path(), &[("TWQR__KAFKA__PREFIX", "shop.")], &arguments).stdout;
    let expected = "--add --allow-principal 'User:CN=wallet-worker,O=twqr' --operation Read --topic shop.wallet-tasks \
        --topic shop.layout --group shop.owners-wallet-tasks --group shop.workers\n";
    assert!(printed.contains(expected), "{printed}");
    assert!(!printed.contains("twqr."), "{printed}");
}
