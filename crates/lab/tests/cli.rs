//! Tests of the command line of `twqr-lab`: wrong arguments, and folders that it must not empty.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, io::Write, path::Path, process::Stdio};

use twqr_lab::launch::{ReservedAddresses, command};

/// The outcome of a command.
struct CommandOutcome {
    code: i32,
    error: String,
}

fn lab(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutcome {
    let mut command = command(env!("CARGO_BIN_EXE_twqr-lab"));
    command.current_dir(folder).args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    CommandOutcome { code: output.status.code().unwrap(), error: String::from_utf8(output.stderr).unwrap() }
}

/// The variables of all addresses, with addresses that are free.
fn free_addresses(reserved: &mut ReservedAddresses) -> Vec<(String, String)> {
    let names = ["GRPC", "POS_HTTP", "ADMIN", "OPERATORS", "WALLET", "FISC"];
    let addresses: [_; 6] = reserved.reserve().unwrap();
    let variable = |(name, address): (&str, std::net::SocketAddr)| (format!("TWQR__{name}"), address.to_string());
    names.into_iter().zip(addresses).map(variable).collect()
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&[][..], 64),
        (&["sample-day", "--lines", "99999999999"], 64),
        (&["sample-day", "--lines", "0"], 64),
        (&["sample-day", "--lines", "1"], 0),
        (&["load", "--rate-scale", "0"], 64),
        (&["load"], 1),
        (&["load", "--explain"], 0),
        (&["load", "compare", "a", "b", "--rounds", "5"], 64),
        (&["--help"], 0),
    ] {
        let outcome = lab(folder.path(), &[], arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {}", outcome.error);
    }
}

#[test]
fn a_scenario_is_refused_with_every_fault_and_its_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("odd.toml"), "seeds = 1\n[[phase]]\nkind = \"odd\"\n").unwrap();
    let outcome = lab(folder.path(), &[], &["load", "odd.toml"]);
    assert_eq!(outcome.code, 1);
    for fault in ["odd.toml: line 1: seeds: there is no such key", "odd.toml: line 3: phase.kind: is \"odd\", must be"]
    {
        assert!(outcome.error.contains(fault), "{}", outcome.error);
    }
}

#[test]
fn targets_are_requests_of_new_payments() {
    let mut command = command(env!("CARGO_BIN_EXE_twqr-lab"));
    command.args(["load", "targets", "--count", "3", "--http", "127.0.0.1:7"]);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let targets: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(targets.iter().all(|target| target["url"] == "http://127.0.0.1:7/Load/Payment"), "{printed}");
    let bodies: std::collections::BTreeSet<&str> =
        targets.iter().filter_map(|target| target["body"].as_str()).collect();
    assert_eq!(bodies.len(), 3, "{printed}");
}

#[test]
fn a_closed_pipe_ends_the_sample_day_quietly() {
    for stderr_too in [false, true] {
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        };
        let mut command = command(env!("CARGO_BIN_EXE_twqr-lab"));
        command.args(["sample-day", "--lines", "20000"]).stdin(Stdio::null()).stdout(closed());
        command.stderr(if stderr_too { Stdio::from(closed()) } else { Stdio::piped() });
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    }
}

#[test]
fn a_fault_script_may_come_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("day"), "").unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_twqr-lab"));
    command.current_dir(folder.path()).args(["run", "--once", "--dir", "run", "--script", "-"]);
    let mut reserved = ReservedAddresses::default();
    command.envs(free_addresses(&mut reserved));
    command.args(["--file", "day", "--whole-api-file", "day"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"no_such_fault = 1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("fault script -: ") && error.contains("no_such_fault"),
        "{error}"
    );
}

#[test]
fn counterparty_files_refuses_a_day_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = lab(folder.path(), &[], &["counterparty-files", "--date", "9999-12-31"]);
    assert!(outcome.code == 1 && outcome.error.contains("2000-01-01 to 2199-12-31"), "{}", outcome.error);
}

#[test]
fn a_run_empties_only_folders_that_an_earlier_run_made() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    fs::write(folder.path().join("day"), "").unwrap();
    let mut reserved = ReservedAddresses::default();
    let addresses = free_addresses(&mut reserved);
    let mut variables: Vec<(&str, &str)> =
        addresses.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
    variables.push(("TWQR__KAFKA__BOOTSTRAP", "127.0.0.1:1"));
    let days = ["--file", "day", "--whole-api-file", "day", "--script", "day", "--once"];
    for command in [
        &[&["run", "--dir", "precious"][..], &days].concat(),
        &[&["run-kafka", "--dir", "precious"][..], &days].concat(),
        &["chaos", "kill-each", "--dir", "precious"][..],
    ] {
        let outcome = lab(folder.path(), &variables, command);
        assert!(
            outcome.code == 1 && outcome.error.contains("precious is not empty and was not made by twqr"),
            "{command:?}: {}",
            outcome.error
        );
        assert_eq!(fs::read_dir(&precious).unwrap().count(), 1, "{command:?}");
    }
}

#[test]
fn a_check_that_cannot_be_made_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere: [_; 1] = ReservedAddresses::default().reserve().unwrap();
    let address = format!("http://{}", nowhere[0]);
    for (options, code, expected) in [
        (&[][..], 1, "cannot reach http://"),
        (&["--amount", "9"], 1, "--amount is 9, must be 10 or more"),
        (&["--institution", "39"], 1, "--institution \"39\""),
        (&["--concurrency", "1001"], 1, "--concurrency is 1001, must be 1 to 1000"),
        (&["--card-token-file", "none"], 1, "none"),
        (&["--idempotent", "reversals"], 64, "invalid value 'reversals'"),
    ] {
        let outcome = lab(folder.path(), &[], &[&["backend", "check", &address][..], options].concat());
        assert!(outcome.code == code && outcome.error.contains(expected), "{options:?}: {}", outcome.error);
    }
}
