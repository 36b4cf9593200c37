//! The rules changed while real processes run: routed, refunded, rolled back, contended for, and
//! kept over kill -9.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/system.rs"]
mod system;

use system::{Ran, System};

const NO_DIFFERENCE: i32 = 0;
const DIFFERS: i32 = 2;
const CONFLICT: i32 = 3;
/// A code of the prefix that no rule knows at first.
const NEW_CODE: &str = "QXSECRETSECRETSECRET";

/// The document with a route for the new codes.
fn with_new_route(document: &str) -> String {
    format!("{document}\n[[routes]]\nprefix = \"QX\"\ninstitution = \"389\"\ncode_lengths = [20]\n")
}

/// The document in which issuer 389 takes no refunds.
fn without_refunds(document: &str) -> String {
    let (before, rules) = document.split_once("institution = \"389\"\nwindow_ms").unwrap();
    let rules = rules.replacen("scope = \"partial\"", "scope = \"none\"", 1);
    format!("{before}institution = \"389\"\nwindow_ms{rules}")
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_take_effect_without_a_restart_and_are_kept_over_one() {
    let mut system = System::start().await;
    let first = system.get();
    assert!(first.starts_with("# version 1 of 1\n# applied "), "{first}");
    assert_eq!(system.pay("T1", NEW_CODE).await.status_code, "927");

    // A new route: what it would change, and then that it does.
    let routed = system.write("routed.toml", &with_new_route(&first));
    assert_eq!(system.run(&["validate", &routed]).code, 0);
    let diff = system.run(&["diff", &routed]);
    assert_eq!(diff.code, DIFFERS, "{}", diff.error);
    assert!(diff.out.contains("+ route QX: to 389, code_lengths 20"), "{}", diff.out);
    let log = system.run(&["diff", &routed, "--against-log"]);
    assert_eq!(log.code, DIFFERS, "{}", log.error);
    assert!(log.out.contains("1 recorded payments replayed, 1 would go elsewhere"), "{}", log.out);
    assert!(log.out.contains("M1/T1  refused 927 -> 389"), "{}", log.out);
    let applied = system.apply(&routed, "1");
    assert_eq!((applied.code, applied.out.as_str()), (0, "version 2 holds\n"), "{}", applied.error);
    let second = system.get();
    let paid = system.pay("T2", NEW_CODE).await;
    assert_eq!((paid.status_code.as_str(), paid.extra3.as_str()), ("000", "389"));
    let again = system.pay("T1", NEW_CODE).await;
    assert!(again.is_rep && again.status_code == "927", "what was told stays: {again:?}");
    assert_eq!(system.run(&["diff", &routed]).code, NO_DIFFERENCE);
    let log_now = system.run(&["diff", &routed, "--against-log"]).out;
    assert!(log_now.contains("2 recorded payments replayed, 1 would go elsewhere"), "{log_now}");

    // A rule for refunds.
    assert_eq!(system.refund("R1", &paid.trade_no).await.status_code, "000");
    let strict = system.write("strict.toml", &without_refunds(&second));
    assert!(system.run(&["diff", &strict]).out.contains("~ issuer 389 refund.scope: partial -> none"));
    assert_eq!(system.apply(&strict, "2").code, 0);
    system.get();
    assert_eq!(system.refund("R2", &paid.trade_no).await.status_code, "951");

    // Over a restart, with other rules in the configuration.
    let mut configured: toml::Table = toml::from_str(&std::fs::read_to_string(system.config()).unwrap()).unwrap();
    let policy = configured.get_mut("policy").and_then(toml::Value::as_table_mut).unwrap();
    policy.insert("name".into(), "anew".into());
    policy.insert("fisc_abnormal".into(), "990".into());
    std::fs::write(system.config(), toml::to_string(&configured).unwrap()).unwrap();
    system.kill_and_restart().await;
    let third = system.get();
    assert!(third.starts_with("# version 3 of 3\n") && !third.contains("anew"), "{third}");
    assert_eq!(system.refund("R3", &paid.trade_no).await.status_code, "951");

    // And back.
    let back = system.run(&["rollback", "--to", "1", "--expect", "3", "--who", "bob", "--why", "it was better"]);
    assert_eq!((back.code, back.out.as_str()), (0, "version 4 holds\n"), "{}", back.error);
    system.get();
    assert_eq!(system.pay("T3", NEW_CODE).await.status_code, "927");
    assert_eq!(system.refund("R4", &paid.trade_no).await.status_code, "000");
    let history = system.run(&["get", "--version", "2", "--history"]).out;
    assert!(history.contains("# version 2 of 4\n") && history.contains("by bob: it was better"), "{history}");
    assert!(!format!("{history}{}{}{}", log.out, log.error, system.log()).contains("SECRET"), "a code was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_change_the_same_version_one_wins_and_faults_change_nothing() {
    let system = System::start().await;
    let first = system.get();
    let named = |name: &str| first.replacen("name = \"default\"", &format!("name = \"{name}\""), 1);
    let files = ["a", "b", "c"].map(|name| system.write(&format!("{name}.toml"), &named(name)));
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let running: Vec<_> = files.iter().map(|file| scope.spawn(|| system.apply(file, "1"))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    let won: Vec<usize> = (0..3).filter(|i| ran[*i].code == 0).collect();
    assert_eq!(won.len(), 1, "exactly one");
    for lost in ran.iter().filter(|ran| ran.code != 0) {
        assert_eq!(lost.code, CONFLICT, "{}", lost.error);
        assert!(lost.error.contains("version 2 is") && lost.error.contains("--expect 2"), "{}", lost.error);
    }
    assert!(system.get().contains(&format!("name = \"{}\"", ["a", "b", "c"][won[0]])));

    let bad = system.write("bad.toml", "send_within_ms = 1\n[[routes]]\nprefix = \"22\"\ncode_lengths = []\n");
    for arguments in
        [vec!["validate", &bad], vec!["diff", &bad], vec!["apply", &bad, "--expect", "2", "--who", "a", "--why", "b"]]
    {
        let refused = system.run(&arguments);
        assert_eq!(refused.code, 1, "{arguments:?}");
        for fault in ["send_within_ms: is 1", "routes[0].code_lengths"] {
            assert!(refused.error.contains(fault) && refused.error.contains("bad.toml"), "{}", refused.error);
        }
    }
    let nobody = system.run(&["apply", &files[0], "--expect", "2", "--who", " ", "--why", "b"]);
    assert!(nobody.code == 64 && nobody.error.contains("who"), "{}", nobody.error);
    let unknown = system.run(&["rollback", "--to", "9", "--expect", "2", "--who", "a", "--why", "b"]);
    assert!(unknown.code == 1 && unknown.error.contains("versions 1 to 2 are"), "{}", unknown.error);
    let unreachable = system.run(&["get", "--endpoint", "http://127.0.0.1:1"]);
    assert!(unreachable.code == 1 && unreachable.error.contains("cannot reach"), "{}", unreachable.error);
    assert!(system.get().starts_with("# version 2 of 2\n"), "nothing was changed");
}
