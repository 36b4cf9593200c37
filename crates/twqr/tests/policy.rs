//! Tests of policy changes while real processes run: new routes, refund rules, rollback, concurrent
//! changes, and kill -9.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/system.rs"]
mod system;

use system::{CommandOutput, System, policy_with};
use twqr_lab::launch::command;

/// Exit code of `policy diff` for equal policies.
const NO_DIFFERENCE: i32 = 0;
/// Exit code of `policy diff` for different policies.
const DIFFERS: i32 = 2;
/// Exit code of `policy apply` if another version than the expected one is the newest.
const CONFLICT: i32 = 3;
/// A card token with a prefix that has no route at first.
const NEW_TOKEN: &str = "QXSECRETSECRETSECRET";

/// Adds a route for [`NEW_TOKEN`] to the document.
fn with_new_route(document: &str) -> String {
    format!("{document}\n[[routes]]\nprefix = \"QX\"\ninstitution = \"389\"\ncode_lengths = [20]\n")
}

/// Changes the document so that issuer 389 takes no refunds.
fn without_refunds(document: &str) -> String {
    let (before, rules) = document.split_once("institution = \"389\"\nwindow_ms").unwrap();
    let rules = rules.replacen("scope = \"partial\"", "scope = \"none\"", 1);
    format!("{before}institution = \"389\"\nwindow_ms{rules}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_each_command_with_its_own_exit_code() {
    let system = System::start().await;
    let routed = system.write_file("routed.toml", &with_new_route(&system.newest_policy()));
    assert_eq!(system.pay("T1", "22abcdefghijklmnop").await.status_code, "000");
    assert_eq!(system.pay("T2", NEW_TOKEN).await.status_code, "927");
    let public = format!("http://{}", system.public_api());
    for (arguments, code) in [
        (&["policy", "get"][..], 0),
        (&["policy", "diff", &routed], DIFFERS),
        (&["policy", "diff", &routed, "--against-log"], DIFFERS),
        (&["query", "M1", "T1", "--endpoint", &public], 0),
        (&["query", "M1", "T1", "--watch", "--keep", "--endpoint", &public], 0),
        (&["settlement", "--date", "2025-03-10"], 0),
        (&["orders"], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(env!("CARGO_BIN_EXE_twqr"));
        command.arg("--config").arg(system.config_file()).args(arguments).stdout(writer);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.as_str()), (Some(code), ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_takes_effect_without_a_restart_and_survives_kill_9() {
    let mut system = System::start().await;
    let first = system.newest_policy();
    assert!(first.starts_with("# version 1 of 1\n# applied "), "{first}");
    assert_eq!(system.pay("T1", NEW_TOKEN).await.status_code, "927");

    // A new route: `diff` shows what it would change, then `apply` changes it.
    let routed = system.write_file("routed.toml", &with_new_route(&first));
    assert_eq!(system.policy(&["validate", &routed]).code, 0);
    let diff = system.policy(&["diff", &routed]);
    assert_eq!(diff.code, DIFFERS, "{}", diff.stderr);
    assert!(diff.stdout.contains("+ route QX: to 389, code_lengths 20"), "{}", diff.stdout);
    let log = system.policy(&["diff", &routed, "--against-log"]);
    assert_eq!(log.code, DIFFERS, "{}", log.stderr);
    assert!(log.stdout.contains("1 recorded payments replayed, 1 would go elsewhere"), "{}", log.stdout);
    assert!(log.stdout.contains("M1/T1  refused 927 -> 389"), "{}", log.stdout);
    let applied = system.apply_policy(&routed, "1");
    assert_eq!((applied.code, applied.stdout.as_str()), (0, "version 2 holds\n"), "{}", applied.stderr);
    let second = system.newest_policy();
    let paid = system.pay("T2", NEW_TOKEN).await;
    assert_eq!((paid.status_code.as_str(), paid.extra3.as_str()), ("000", "389"));
    let repeated = system.pay("T1", NEW_TOKEN).await;
    assert!(repeated.is_rep && repeated.status_code == "927", "a repeat must get the first answer: {repeated:?}");
    assert_eq!(system.policy(&["diff", &routed]).code, NO_DIFFERENCE);
    let log_now = system.policy(&["diff", &routed, "--against-log"]).stdout;
    assert!(log_now.contains("2 recorded payments replayed, 1 would go elsewhere"), "{log_now}");

    // A new rule refuses refunds.
    assert_eq!(system.refund("R1", &paid.trade_no).await.status_code, "000");
    let strict = system.write_file("strict.toml", &without_refunds(&second));
    assert!(system.policy(&["diff", &strict]).stdout.contains("~ issuer 389 refund.scope: partial -> none"));
    assert_eq!(system.apply_policy(&strict, "2").code, 0);
    system.newest_policy();
    assert_eq!(system.refund("R2", &paid.trade_no).await.status_code, "951");

    // The log's policy survives kill -9, although the configuration now has another one.
    let mut configured: toml::Table = toml::from_str(&std::fs::read_to_string(system.config_file()).unwrap()).unwrap();
    let policy = configured.get_mut("policy").and_then(toml::Value::as_table_mut).unwrap();
    policy.insert("name".into(), "configured".into());
    policy.insert("fisc_abnormal".into(), "990".into());
    std::fs::write(system.config_file(), toml::to_string(&configured).unwrap()).unwrap();
    system.kill_and_restart().await;
    let third = system.newest_policy();
    assert!(third.starts_with("# version 3 of 3\n") && !third.contains("configured"), "{third}");
    assert_eq!(system.refund("R3", &paid.trade_no).await.status_code, "951");

    // A rollback is a new version with the old content.
    let rollback = system.policy(&["rollback", "--to", "1", "--expect", "3", "--who", "bob", "--why", "it was better"]);
    assert_eq!((rollback.code, rollback.stdout.as_str()), (0, "version 4 holds\n"), "{}", rollback.stderr);
    system.newest_policy();
    assert_eq!(system.pay("T3", NEW_TOKEN).await.status_code, "927");
    assert_eq!(system.refund("R4", &paid.trade_no).await.status_code, "000");
    let history = system.policy(&["get", "--version", "2", "--history"]).stdout;
    assert!(history.contains("# version 2 of 4\n") && history.contains("by bob: it was better"), "{history}");
    assert!(
        !format!("{history}{}{}{}", log.stdout, log.stderr, system.log()).contains("SECRET"),
        "a card token was shown"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_changes_to_a_version_wins_and_an_invalid_one_changes_nothing() {
    let system = System::start().await;
    let first = system.newest_policy();
    let named = |name: &str| first.replacen("name = \"default\"", &format!("name = \"{name}\""), 1);
    let files = ["a", "b", "c"].map(|name| system.write_file(&format!("{name}.toml"), &named(name)));
    let outputs: Vec<CommandOutput> = std::thread::scope(|scope| {
        let running: Vec<_> = files.iter().map(|file| scope.spawn(|| system.apply_policy(file, "1"))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    let winners: Vec<usize> = (0..3).filter(|i| outputs[*i].code == 0).collect();
    assert_eq!(winners.len(), 1, "exactly one change is applied");
    for lost in outputs.iter().filter(|output| output.code != 0) {
        assert_eq!(lost.code, CONFLICT, "{}", lost.stderr);
        assert!(lost.stderr.contains("version 2 is") && lost.stderr.contains("--expect 2"), "{}", lost.stderr);
    }
    assert!(system.newest_policy().contains(&format!("name = \"{}\"", ["a", "b", "c"][winners[0]])));

    let invalid = system.write_file("bad.toml", "send_within_ms = 1\n[[routes]]\nprefix = \"22\"\ncode_lengths = []\n");
    for arguments in [
        vec!["validate", &invalid],
        vec!["diff", &invalid],
        vec!["apply", &invalid, "--expect", "2", "--who", "a", "--why", "b"],
    ] {
        let refused = system.policy(&arguments);
        assert_eq!(refused.code, 1, "{arguments:?}");
        for fault in ["send_within_ms: is 1", "routes[0].code_lengths"] {
            assert!(refused.stderr.contains(fault) && refused.stderr.contains("bad.toml"), "{}", refused.stderr);
        }
    }
    let blank_who = system.policy(&["apply", &files[0], "--expect", "2", "--who", " ", "--why", "b"]);
    assert!(blank_who.code == 64 && blank_who.stderr.contains("who"), "{}", blank_who.stderr);
    let unknown = system.policy(&["rollback", "--to", "9", "--expect", "2", "--who", "a", "--why", "b"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("versions 1 to 2 are"), "{}", unknown.stderr);
    let slow_calls = system.write_file(
        "slow-calls.toml",
        &format!(
            "operators = \"{}\"\ncall_timeout_ms = 5500\n[[policy.issuers]]\ninstitution = \"\"\nwindow_ms = 5800\n",
            system.operators()
        ),
    );
    let rollback = ["rollback", "--to", "1", "--expect", "2", "--who", "a", "--why", "b"];
    let unsafe_window = policy_with(slow_calls.as_ref(), &rollback);
    assert!(
        unsafe_window.code == 1 && unsafe_window.stderr.contains("version 1 cannot work with this configuration"),
        "{}",
        unsafe_window.stderr
    );
    assert!(unsafe_window.stderr.contains("window_ms: is 5000, must be above call_timeout_ms, which is 5500"));
    let shown = policy_with(slow_calls.as_ref(), &["get"]).stdout;
    assert!(shown.contains("# cannot work with this configuration: issuers[0].window_ms: is 5000"), "{shown}");
    let unreachable = system.policy(&["get", "--endpoint", "http://127.0.0.1:1"]);
    assert!(unreachable.code == 1 && unreachable.stderr.contains("cannot reach"), "{}", unreachable.stderr);
    assert!(system.newest_policy().starts_with("# version 2 of 2\n"), "no version was added");
}
