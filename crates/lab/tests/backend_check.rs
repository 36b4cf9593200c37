//! Tests of `twqr-lab backend check` against the simulator: each kind of issuer, and faults that it
//! must notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command};
use twqr_lab::{
    backend_check::{BackendReport, CheckOptions, Findings, Holds, Idempotent, check},
    launch::{ReservedAddresses, command},
};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{IssuerKind, Script, Settings};

use Holds::{No, NotShown, Yes};

/// What the simulator's accounts have at first.
const BALANCE: i64 = 1_000_000;
/// How many attempts to reach the simulator are made while it starts, and the pause between two.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A simulator with a ledger of its own, until it is dropped.
struct Served {
    wallet: SocketAddr,
    fisc: SocketAddr,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [wallet, fisc] = ReservedAddresses::default().reserve().unwrap();
        let stop = CancellationToken::new();
        let settings = Settings {
            wallet_address: wallet,
            fisc_address: fisc,
            http_address: None,
            tls: None,
            data_dir: folder.path().to_owned(),
            script,
        };
        let context = Context { clock: Arc::new(SystemClock), shutdown: stop.clone(), health: Health::default() };
        tokio::spawn(async move { twqr_simulator::run(settings, context).await.unwrap() });
        Self { wallet, fisc, stop, _folder: folder }
    }

    /// Checks the wallet, or the issuer with this institution code.
    async fn check(&self, institution: &str) -> BackendReport {
        let address = if institution.is_empty() { self.wallet } else { self.fisc };
        let options = CheckOptions { institution: institution.to_owned(), ..options(address) };
        self.reach(&options).await.unwrap()
    }

    /// Checks with these options. The simulator needs a moment to listen.
    async fn reach(&self, options: &CheckOptions) -> anyhow::Result<BackendReport> {
        for _ in 0..ATTEMPTS {
            match check(options).await {
                Err(error) if error.to_string().contains("cannot reach") => {}
                checked => return checked,
            }
            tokio::time::sleep(PAUSE).await;
        }
        check(options).await
    }
}

/// Short times, so that many checks fit into a test.
fn options(address: SocketAddr) -> CheckOptions {
    CheckOptions {
        balance: Some(BALANCE),
        answer_ms: 1_000,
        send_within_ms: 2_000,
        window_ms: 500,
        clock_skew_ms: 10,
        ..CheckOptions::of(format!("http://{address}"))
    }
}

fn script(text: &str) -> Script {
    Script::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_issuer_has_the_verdict_of_its_kind() {
    let check_kind = |(name, kind): (&'static str, IssuerKind)| async move {
        let served = Served::start(Script { kind: Some(kind), ..Script::default() });
        let (wallet, other) = tokio::join!(served.check(""), served.check("391"));
        for (report, issuer) in [(wallet, "wallet"), (other, "391")] {
            // Idempotent for charges; for refunds; refuses late charges; refuses late reversals; a
            // repeated charge and a repeated refund move no money; refused charges stay refused.
            let expected = match kind {
                IssuerKind::Plain => [No, No, No, No, No, No, NotShown],
                IssuerKind::RefusesLate => [No, No, Yes, Yes, No, No, No],
                IssuerKind::Idempotent => [Yes, Yes, Yes, Yes, Yes, Yes, Yes],
                IssuerKind::IdempotentCharges => [Yes, No, Yes, Yes, Yes, No, Yes],
                IssuerKind::IdempotentRefunds => [No, Yes, Yes, Yes, No, Yes, No],
                IssuerKind::ForgetsRefusals => [No, No, Yes, Yes, Yes, Yes, No],
                IssuerKind::ForgetsReversals => [No, Yes, Yes, Yes, Yes, Yes, Yes],
            };
            let holds = |check| report.findings.holds(check).unwrap();
            let seen = [
                report.idempotent_charges,
                report.idempotent_refunds,
                holds("late-charge"),
                holds("late-reversal"),
                holds("repeat-charge-money"),
                holds("repeat-refund-money"),
                holds("refused-charge-stays"),
            ];
            assert_eq!(seen, expected, "{name}, {issuer}:\n{report}");
            assert!(report.keeps_contract, "{name}, {issuer}:\n{report}");
            let expected = kind.is_idempotent_for_charges() && kind.is_idempotent_for_refunds();
            assert_eq!(report.allows(&[Idempotent::Charges, Idempotent::Refunds]), expected, "{name}, {issuer}");
        }
    };
    futures::future::join_all(IssuerKind::ALL.map(check_kind)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faults_of_an_issuer_are_named() {
    // What does not hold; whether the contract is kept.
    let expected = [
        ("answer_twice", Some("one-answer"), true),
        ("contradict", Some("one-result"), false),
        ("bad_carrier", Some("approval-form"), false),
        // What is lost is found by inquiries.
        ("lose_answers", None, true),
    ];
    let checks = expected.map(|(fault, broken, is_kept)| async move {
        let served = Served::start(script(&format!("kind = \"idempotent\"\n[issuers.391]\n{fault} = 1.0")));
        let options = CheckOptions { institution: "391".to_owned(), answer_ms: 100, ..options(served.fisc) };
        let report = served.reach(&options).await.unwrap();
        assert_eq!(report.keeps_contract, is_kept, "{fault}:\n{report}");
        if let Some(broken) = broken {
            assert_eq!(report.findings.holds(broken), Some(No), "{fault}:\n{report}");
        } else {
            assert!(report.allows(&[Idempotent::Charges, Idempotent::Refunds]), "{fault}:\n{report}");
        }
    });
    futures::future::join_all(checks).await;
}

#[tokio::test]
async fn without_an_approved_charge_nothing_is_told() {
    let served = Served::start(script("[issuers.391]\nmaintenance = true"));
    let options = CheckOptions { institution: "391".to_owned(), ..options(served.fisc) };
    let error = served.reach(&options).await.unwrap_err().to_string();
    assert!(error.contains("the first test charge is refused with M001; give test codes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_one_line_of_json_and_a_table() {
    let served = Served::start(script("kind = \"idempotent-charges\""));
    let report = served.reach(&CheckOptions { balance: None, ..options(served.wallet) }).await.unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["keeps_contract"], true, "{json}");
    assert_eq!((&json["idempotent_charges"], &json["idempotent_refunds"]), (&"yes".into(), &"no".into()), "{json}");
    let money = json["findings"].as_array().unwrap().iter().find(|found| found["check"] == "repeat-charge-money");
    let money = money.unwrap();
    assert_eq!((&money["group"], &money["holds"]), (&"property".into(), &"not_shown".into()), "{money}");
    let table = report.to_string();
    for line in [
        "In the policy, for the wallet",
        "  idempotent_charges = true",
        "  idempotent_refunds = false  # refused-refund-stays, ",
        "keeps the contract",
    ] {
        assert!(table.contains(line), "{line} is missing:\n{table}");
    }
}

/// Waits until the simulator listens at this address.
async fn until_listening(address: SocketAddr) {
    for _ in 0..ATTEMPTS {
        if TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the simulator does not listen at {address}");
}

/// Runs the command against this address, with short times; returns its exit code and what it
/// printed.
async fn run_command(address: SocketAddr, options: &[&str]) -> (i32, String) {
    until_listening(address).await;
    let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr-lab")));
    // The simulator answers every call of these tests, so a long time for answers costs none.
    command.args(["backend", "check", &format!("http://{address}"), "--answer-ms", "5000"]);
    command.args(["--send-within-ms", "2000", "--window-ms", "500", "--clock-skew-ms", "10"]).args(options);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

const BROKEN: &str = "kind = \"idempotent\"\n[issuers.391]\ncontradict = 1.0";

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_flags_and_its_exit_code_is_the_verdict() {
    let idempotent = ["  idempotent_charges = true", "  idempotent_refunds = true", "keeps the contract"];
    let of_charges = ["  idempotent_charges = true", "  idempotent_refunds = false  # refused-refund-stays, "];
    let broken = [
        "  BROKEN     No call has two results that differ.",
        "one-result: ",
        "In the policy, for 391",
        "BREAKS the contract",
    ];
    let expected: [(&str, &[&str], i32, &[&str]); 5] = [
        ("kind = \"idempotent\"", &["--idempotent", "charges,refunds"], 0, &idempotent),
        ("kind = \"idempotent-charges\"", &[], 0, &of_charges),
        ("kind = \"idempotent-charges\"", &["--idempotent", "charges"], 0, &of_charges),
        ("kind = \"idempotent-charges\"", &["--idempotent", "refunds"], 2, &of_charges),
        (BROKEN, &["--institution", "391"], 2, &broken),
    ];
    let runs = expected.map(|(text, options, expected, lines)| async move {
        let served = Served::start(script(text));
        let address = if options.contains(&"--institution") { served.fisc } else { served.wallet };
        let (code, printed) = run_command(address, options).await;
        assert_eq!(code, expected, "{text}, {options:?}:\n{printed}");
        for line in lines {
            assert!(printed.contains(line), "{text}, {options:?}: {line} is missing:\n{printed}");
        }
    });
    futures::future::join_all(runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_one_line_of_json_with_the_same_exit_code() {
    let served = Served::start(script(BROKEN));
    let (code, printed) = run_command(served.fisc, &["--institution", "391", "--json"]).await;
    assert_eq!((code, printed.lines().count()), (2, 1), "{printed}");
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&json["keeps_contract"], &json["institution"]), (&false.into(), &"391".into()), "{printed}");
    let found = json["findings"].as_array().unwrap().iter().find(|found| found["check"] == "one-result").unwrap();
    assert_eq!((&found["group"], &found["holds"]), (&"contract".into(), &"no".into()), "{found}");
}

#[test]
fn a_report_names_what_else_the_policy_needs() {
    let report = BackendReport {
        address: "http://adapter:1".to_owned(),
        institution: "391".to_owned(),
        keeps_contract: true,
        idempotent_charges: Yes,
        idempotent_refunds: NotShown,
        latest_effect_ms: Some(700),
        cancelled_code: Some("0812".to_owned()),
        findings: Findings::default(),
    };
    let table = report.to_string();
    for line in [
        "In the policy, for 391\n",
        "  idempotent_charges = true\n",
        "  idempotent_refunds = false  # not shown: ",
        "  window_ms is above 700\n",
        "  status_codes maps 0812 to 812\n",
        "http://adapter:1 keeps the contract",
    ] {
        assert!(table.contains(line), "{line} is missing:\n{table}");
    }
}
