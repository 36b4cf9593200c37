//! Tests of the directory of merchants while real processes run: import, changes, conflicts and
//! kill -9.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/system.rs"]
mod system;

use std::{path::Path, time::Duration};

use system::{CommandOutput, System, command_with};

const WALLET: &str = "22abcdefghijklmnop";
/// Exit code of `merchants diff` if something differs.
const DIFFERS: i32 = 2;
/// Exit code of a change of an entry that is newer than expected.
const CONFLICT: i32 = 3;

fn merchants(config: &Path, arguments: &str) -> CommandOutput {
    let arguments: Vec<&str> = ["merchants"].into_iter().chain(arguments.split(' ')).collect();
    command_with(config, &arguments)
}

/// Runs a command that must succeed.
fn succeed(system: &System, arguments: &str) -> String {
    let output = merchants(&system.config_file(), arguments);
    assert_eq!(output.code, 0, "{arguments}: {}", output.stderr);
    output.stdout
}

/// Waits until every shard has the newest version of every entry.
async fn wait_for_all_shards(system: &System) {
    for _ in 0..200 {
        let behind = merchants(&system.config_file(), "list --behind");
        if behind.code == 0 && behind.stdout.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a shard is behind for 10 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn merchants_of_a_policy_move_to_the_directory_and_are_changed_one_by_one() {
    let mut system = System::start().await;
    let first = system.newest_policy();
    let inline = format!("{first}\n[[merchants]]\nid = \"M1\"\n");
    let inline = system.write_file("inline.toml", &inline);
    assert_eq!(system.apply_policy(&inline, "1").code, 0);
    assert_eq!(
        succeed(&system, &format!("import {inline} --who alice --why move")),
        "1 entries changed, 0 unchanged, 0 changed by others in the meantime\n"
    );
    wait_for_all_shards(&system).await;
    let listed = first.replacen("send_within_ms", "accepted_merchants = \"listed\"\nsend_within_ms", 1);
    let listed = system.write_file("listed.toml", &listed);
    let against_log = system.policy(&["diff", &listed, "--against-log"]);
    assert_eq!(against_log.code, 0, "{}{}", against_log.stdout, against_log.stderr);
    let applied = system.apply_policy(&listed, "2");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    system.newest_policy();
    assert_eq!(system.pay("T1", WALLET).await.status_code, "000");

    // Stores, as JSON lines; the second time nothing is left to do.
    let stores = (0..1_200).map(|n| format!("{{\"merchant\":\"M2\",\"store\":\"S{n}\"}}"));
    let lines: Vec<String> = std::iter::once("{\"merchant\":\"M2\"}".to_owned()).chain(stores).collect();
    let file = system.write_file("stores.jsonl", &lines.join("\n"));
    assert_eq!(merchants(&system.config_file(), &format!("diff {file}")).code, DIFFERS);
    let import = format!("import {file} --who alice --why stores --per-second 100000");
    let end = "0 changed by others in the meantime\n";
    assert_eq!(succeed(&system, &import), format!("1201 entries changed, 0 unchanged, {end}"));
    assert_eq!(succeed(&system, &import), format!("0 entries changed, 1201 unchanged, {end}"));
    assert_eq!(succeed(&system, &format!("diff {file}")), "nothing differs\n");
    assert_eq!(succeed(&system, "list --merchant M2").lines().count(), 1_201);

    // One entry after the other, each by its own version.
    let set = "set M1 --open false --expect 1 --who bob --why closed";
    assert_eq!(succeed(&system, set), "version 2 of M1 holds\n");
    let conflict = merchants(&system.config_file(), set);
    assert!(conflict.code == CONFLICT && conflict.stderr.contains("but version 2 is"), "{}", conflict.stderr);
    wait_for_all_shards(&system).await;
    assert_eq!(system.pay("T2", WALLET).await.status_code, "980");
    let shown = succeed(&system, "show M1");
    assert!(
        shown.starts_with("# version 2 of M1, ") && shown.contains("by bob: closed\n{\"merchant\":\"M1\""),
        "{shown}"
    );

    system.kill_and_restart().await;
    wait_for_all_shards(&system).await;
    assert_eq!(system.pay("T3", WALLET).await.status_code, "980");
    assert_eq!(succeed(&system, "set M1 --open true --who bob --why open"), "version 3 of M1 holds\n");
    wait_for_all_shards(&system).await;
    assert_eq!(system.pay("T4", WALLET).await.status_code, "000");
    assert_eq!(succeed(&system, "remove M1 --who bob --why left"), "version 4 of M1 holds\n");
    wait_for_all_shards(&system).await;
    assert_eq!(system.pay("T5", WALLET).await.status_code, "907");
    let unknown = merchants(&system.config_file(), "show M9");
    assert!(unknown.code == 1 && unknown.stderr.contains("M9 was never listed"), "{}", unknown.stderr);
}
