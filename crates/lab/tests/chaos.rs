//! Runs each scenario of `twqr-lab chaos`: every service in its own processes on a Kafka cluster,
//! while processes and brokers fail. No payment may be charged twice, lost or contradicted. Needs
//! brokers: `make test-kafka`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use twqr_lab::launch::{SecureBroker, command};

/// Runs a scenario with the seed in `TWQR_SEED`, or 1, and the kinds of issuers in
/// `TWQR_ISSUER_KINDS`; prints its seed, recovery times and audit.
fn survives(scenario: &str, arguments: &[&str]) {
    survives_at("50", scenario, arguments);
}

/// The same at another rate of payments per second.
fn survives_at(rate: &str, scenario: &str, arguments: &[&str]) {
    let seed = std::env::var("TWQR_SEED").unwrap_or_else(|_| "1".to_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_twqr-lab"));
    command.current_dir(root).args(["chaos", scenario, "--seed", &seed, "--rate", rate]);
    command.args(["--dir", &format!("target/chaos/{scenario}")]).env("TWQR_LOG", "info");
    command.args(arguments);
    if let Ok(kinds) = std::env::var("TWQR_ISSUER_KINDS") {
        command.args(["--issuer-kind", &kinds]);
    }
    let output = command.output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{scenario}, seed {seed}: logs are in target/chaos/{scenario}/logs");
}

macro_rules! scenarios {
    ($($test:ident: $scenario:literal, $needs:literal;)*) => {$(
        #[test]
        #[ignore = $needs]
        fn $test() {
            survives($scenario, &[]);
        }
    )*};
}

scenarios! {
    each_process_is_killed_in_turn: "kill-each", "needs a broker: make test-kafka";
    several_processes_are_killed_at_once: "kill-several", "needs a broker: make test-kafka";
    a_router_is_suspended_and_resumes: "router-zombie", "needs a broker: make test-kafka";
    workers_are_suspended_with_tasks_and_resume: "worker-zombie", "needs a broker: make test-kafka";
    checkpoints_are_torn: "torn-checkpoint", "needs a broker: make test-kafka";
    a_disk_is_full: "full-disk", "needs a broker, and root for a small disk: make test-kafka";
    processes_join_and_leave: "scale", "needs a broker: make test-kafka";
    topics_are_restored_from_copies: "restore", "needs a broker: make test-kafka";
    partitions_move_away_from_one_of_three_brokers: "move-partitions", "needs three brokers: make test-kafka";
    a_secure_broker_changes_the_passwords_of_all_services: "passwords", "needs a secure broker: make test-kafka";
    the_broker_is_killed: "kill-broker", "needs a broker: make test-kafka";
    the_leader_of_three_is_killed: "kill-leader", "needs three brokers: make test-kafka";
}

#[test]
#[ignore = "needs a broker: make test-kafka"]
fn availability_is_measured_and_audited() {
    survives("availability", &["--kills", "1", "--services", "router"]);
}

#[test]
#[ignore = "needs a broker, and libfaketime in FAKETIME_LIBRARY: make test-kafka"]
fn the_clock_of_a_process_jumps() {
    survives("clock-jump", &["--faketime", &std::env::var("FAKETIME_LIBRARY").unwrap()]);
}

fn clocks_of_brokers_are_wrong() {
    survives("broker-clocks", &["--faketime", &std::env::var("FAKETIME_LIBRARY").unwrap()]);
}

#[test]
#[ignore = "needs a broker, and libfaketime in FAKETIME_LIBRARY: make test-kafka"]
fn the_clock_of_the_only_broker_is_wrong() {
    clocks_of_brokers_are_wrong();
}

#[test]
#[ignore = "needs three brokers, and libfaketime in FAKETIME_LIBRARY: make test-kafka"]
fn the_clocks_of_one_and_of_two_of_three_brokers_are_wrong() {
    clocks_of_brokers_are_wrong();
}

// It restarts much on a small machine, so the rate is low.
#[test]
#[ignore = "needs a secure broker: make test-kafka"]
fn a_secure_broker_changes_its_certificates_and_their_authority() {
    survives_at("10", "certificates", &[]);
}

/// Runs `twqr topics plan` at the secure broker, with one variable changed; returns its code and
/// what it says.
fn plan(name: &str, value: &Path) -> (Option<i32>, String) {
    plan_by(|command| command.env(name, value))
}

/// The same with any change of the command.
fn plan_by(change: impl FnOnce(&mut Command) -> &mut Command) -> (Option<i32>, String) {
    let dir = PathBuf::from(std::env::var_os("KAFKA_DIR").unwrap());
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let broker = SecureBroker::in_folder(&root.join(dir)).unwrap().unwrap();
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_twqr-lab")).with_file_name("twqr"));
    command.args(["topics", "plan"]).stdin(Stdio::null()).envs(broker.variables("topics"));
    command.env("TWQR__KAFKA__BOOTSTRAP", std::env::var_os("TWQR__KAFKA__BOOTSTRAP").unwrap());
    let output = change(&mut command).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
#[ignore = "needs a secure broker: make test-kafka"]
fn a_secure_broker_that_refuses_a_login_gives_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let own = plan("TWQR__KAFKA__PREFIX", Path::new("twqr."));
    assert!(matches!(own.0, Some(0 | 2)), "{own:?}");

    let (code, said) = plan("TWQR__KAFKA__PASSWORD_FILE", &write("password", "SECRET-and-wrong"));
    let last = said.lines().next_back().unwrap();
    assert!(code == Some(1) && last.contains("check the password in kafka.password_file"), "{said}");
    assert!(!said.contains("SECRET"), "{said}");

    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let authority = write("ca.pem", &stranger.cert.pem());
    let (code, said) = plan("TWQR__KAFKA__PROPERTIES__SSL.CA.LOCATION", &authority);
    let last = said.lines().next_back().unwrap();
    assert!(code == Some(1) && last.contains("ssl.ca.location in kafka.properties must name"), "{said}");

    let [certificate, key] = ["CERTIFICATE", "KEY"].map(|what| format!("TWQR__KAFKA__PROPERTIES__SSL.{what}.LOCATION"));
    let other = write("client.pem", &[stranger.signing_key.serialize_pem(), stranger.cert.pem()].concat());
    for (what, (code, said)) in [
        ("no certificate", plan_by(|command| command.env_remove(&certificate).env_remove(&key))),
        ("of another authority", plan_by(|command| command.env(&certificate, &other).env(&key, &other))),
    ] {
        let last = said.lines().next_back().unwrap();
        assert!(code == Some(1) && last.contains("ssl.certificate.location and"), "{what}: {said}");
    }

    let (code, said) = plan("TWQR__KAFKA__PROPERTIES__SASL.USERNAME", Path::new("fisc-worker"));
    let last = said.lines().next_back().unwrap();
    assert!(code == Some(1) && last.contains("kafka.password_file"), "a password of another user: {said}");
}
