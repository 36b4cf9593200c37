//! Tests of `twqr settlement` and `twqr reconcile` as processes, against an operators' API that
//! serves the settled movements of a test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/fixed_operators.rs"]
mod fixed_operators;
#[path = "support/output.rs"]
mod output;

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use fixed_operators::{serve, serve_with};
use output::CommandOutput;
use tokio::process::Command;
use twqr_lab::launch::command;
use twqr_settlement::{Kind, Movement, verify_file, write_movements};
use twqr_types::{CutOff, ShardId, TradeNo, UnixMs};
use twqr_wire::ops::{SettlementEntry, settlement_entry};

/// 2025-03-10 00:00 in Asia/Taipei.
const DAY_MS: i64 = 1_741_536_000_000;
const HOUR_MS: i64 = 3_600_000;

fn trade_no(n: u64) -> String {
    TradeNo::new(ShardId(0), n, UnixMs(DAY_MS)).to_string()
}

/// A payment of 100 TWD that was settled `hours` hours after the day began.
fn payment(n: u64, merchant: &str, institution: &str, hours: i64) -> SettlementEntry {
    SettlementEntry {
        kind: settlement_entry::Kind::Payment.into(),
        merchant_id: merchant.into(),
        store_id: "S1".into(),
        merchant_trade_no: format!("T{n}"),
        trade_no: trade_no(n),
        institution: institution.into(),
        payment_type: if institution.is_empty() { 1 } else { 8 },
        trade_amount: 100,
        debit_amount: 100,
        accepted_at_ms: DAY_MS + hours * HOUR_MS - 1_000,
        settled_at_ms: DAY_MS + hours * HOUR_MS,
        ..SettlementEntry::default()
    }
}

/// Three movements of 2025-03-10 for two merchants, then one of the date before and one of the
/// next.
fn day() -> Vec<SettlementEntry> {
    let refund = SettlementEntry {
        kind: settlement_entry::Kind::Refund.into(),
        refund_trade_no: trade_no(9),
        ..payment(1, "M1", "", 3)
    };
    vec![
        payment(1, "M1", "", 2),
        refund,
        payment(2, "m/2", "391", 4),
        payment(3, "M1", "391", -1),
        payment(4, "M1", "391", 25),
    ]
}

/// The counterparty's file with these movements.
fn counterparty_file(entries: &[SettlementEntry]) -> Vec<u8> {
    let movement = |entry: &SettlementEntry| Movement {
        kind: if entry.refund_trade_no.is_empty() { Kind::Payment } else { Kind::Refund },
        institution: entry.institution.as_str().into(),
        trade_no: entry.trade_no.as_str().into(),
        refund_trade_no: entry.refund_trade_no.as_str().into(),
        merchant_id: entry.merchant_id.as_str().into(),
        merchant_trade_no: entry.merchant_trade_no.as_str().into(),
        trade_amount: entry.trade_amount,
        debit_amount: entry.debit_amount,
        at: UnixMs(entry.settled_at_ms),
    };
    write_movements(&entries.iter().map(movement).collect::<Vec<_>>()).unwrap()
}

/// Runs `twqr` in this folder against the operators' API at this address.
async fn twqr(folder: &Path, address: SocketAddr, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr")));
    command.args(arguments).current_dir(folder).env("TWQR__OPERATORS", address.to_string()).stdin(Stdio::null());
    command.output().await.unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_merchant_gets_one_file_with_the_same_bytes_every_time() {
    let (folder, address) = (tempfile::tempdir().unwrap(), serve(day()).await);
    let run = async |arguments: &[&str]| twqr(folder.path(), address, arguments).await;
    let names = ["settlement-M1-20250310.csv", "settlement-_6D_2F2-20250310.csv"];
    let read = |folder_name: &str| names.map(|name| fs::read(folder.path().join(folder_name).join(name)).unwrap());
    for out in ["first", "second"] {
        let CommandOutput { code, stdout, stderr } = run(&["settlement", "--date", "2025-03-10", "--out", out]).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        assert!(stdout.contains("2 of 2 files written"), "{stdout}");
        assert_eq!(fs::read_dir(folder.path().join(out)).unwrap().count(), 2, "no temporary file is left");
    }
    assert_eq!(read("first"), read("second"));
    let totals = verify_file(&read("first")[0]).unwrap().totals;
    assert_eq!((totals.all.payments.count, totals.all.refunds.count, totals.all.net()), (1, 1, 0));

    let file = format!("first/{}", names[0]);
    let CommandOutput { code, stdout, .. } = run(&["settlement", "verify", &file]).await;
    assert!(code == 0 && stdout.contains("good, merchant \"M1\", 2025-03-10, 2 movements, net 0 TWD"), "{stdout}");
    let damaged = String::from_utf8(read("first")[0].clone()).unwrap().replacen(",100,", ",101,", 1);
    fs::write(folder.path().join("damaged.csv"), damaged).unwrap();
    let CommandOutput { code, stderr, .. } = run(&["settlement", "verify", "damaged.csv"]).await;
    assert!(code == 1 && stderr.contains("checksum") && stderr.contains("totals of issuer wallet"), "{stderr}");

    let CommandOutput { code, stdout, stderr } =
        run(&["settlement", "--date", "20250310", "--merchant", "M9", "--out", "no-movements"]).await;
    assert!(stderr.contains("merchant \"M9\" has no movement on 2025-03-10"), "{stderr}");
    assert!(code == 0 && stdout.contains("settlement-M9-20250310.csv: 0 movements"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_ends_at_the_cut_off_of_the_policy_and_the_file_records_it() {
    let folder = tempfile::tempdir().unwrap();
    // Settled at 22:00 and 23:30 of the date before, and at 22:30 and 23:30 of the date.
    let entries = [(1, -2), (2, -1), (3, 22), (4, 24)]
        .map(|(n, hours)| SettlementEntry {
            settled_at_ms: DAY_MS + hours * HOUR_MS + HOUR_MS / 2,
            ..payment(n, "M1", "", hours)
        })
        .to_vec();
    for (cut_off, hours, trade_nos) in [
        ("00:00", "00:00:00.000+08:00", &[3][..]),
        ("23:00", "23:00:00.000+08:00", &[2, 3]),
        ("02:00", "02:00:00.000+08:00", &[3, 4]),
    ] {
        let address = serve_with(entries.clone(), &[(UnixMs(DAY_MS), CutOff::parse(cut_off).unwrap())]).await;
        let arguments = ["settlement", "--date", "2025-03-10", "--out", cut_off];
        let CommandOutput { code, stdout, stderr } = twqr(folder.path(), address, &arguments).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        let file = fs::read_to_string(folder.path().join(cut_off).join("settlement-M1-20250310.csv")).unwrap();
        let head = file.lines().next().unwrap();
        assert!(head.contains(&format!(",2025-03-10,{cut_off},")) && head.contains(hours), "{head}");
        let written: Vec<bool> = (1..=4).map(|n| file.contains(&trade_no(n))).collect();
        assert_eq!(written, [1, 2, 3, 4].map(|n| trade_nos.contains(&n)), "{cut_off}: {file}");
    }
}

/// Writes 2025-03-09 to 2025-03-13 and returns the bytes of each day.
async fn write_days(entries: &[SettlementEntry], cut_offs: &[(UnixMs, CutOff)]) -> Vec<Vec<u8>> {
    let (folder, address) = (tempfile::tempdir().unwrap(), serve_with(entries.to_vec(), cut_offs).await);
    let mut days = Vec::new();
    for date in ["20250309", "20250310", "20250311", "20250312", "20250313"] {
        let arguments = ["settlement", "--date", date, "--merchant", "M1"];
        let CommandOutput { code, stdout, stderr } = twqr(folder.path(), address, &arguments).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        days.push(fs::read(folder.path().join(format!("settlement-M1-{date}.csv"))).unwrap());
    }
    days
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_cut_off_leaves_each_movement_in_one_file_and_old_days_as_they_were() {
    let cut_off = |text: &str| CutOff::parse(text).unwrap();
    let noon = |days: i64| UnixMs(DAY_MS + (days * 24 + 12) * HOUR_MS);
    let entries: Vec<SettlementEntry> = (1..).zip(-6..72).map(|(n, hours)| payment(n, "M1", "", hours)).collect();
    for (old, new, newest) in [("00:00", "23:00", "02:00"), ("02:00", "00:00", "23:00"), ("12:00", "12:01", "12:00")] {
        // The change on 2025-03-10 counts from 2025-03-11 on, the next one from 2025-03-12 on.
        let mut cut_offs = vec![(noon(-9), cut_off(old))];
        let before = write_days(&entries, &cut_offs).await;
        cut_offs.push((noon(0), cut_off(new)));
        let between = write_days(&entries, &cut_offs).await;
        cut_offs.push((noon(1), cut_off(newest)));
        let after = write_days(&entries, &cut_offs).await;
        assert!(before[..2] == after[..2] && between[..3] == after[..3], "{old}, {new}: an old day changed");
        assert!(between[2] != before[2], "{old}, {new}: the change has no effect");
        let text: Vec<String> = after.into_iter().map(|day| String::from_utf8(day).unwrap()).collect();
        for entry in &entries {
            let files = text.iter().filter(|day| day.contains(&entry.trade_no)).count();
            assert_eq!(files, 1, "{old}, {new}, {newest}: {entry:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_is_wrong() {
    let (folder, address) = (tempfile::tempdir().unwrap(), serve(day()).await);
    fs::write(folder.path().join("layout.toml"), "encoding = \"x\"\ndelimiter = \"y\"").unwrap();
    let layout = ["settlement", "--date", "2025-03-10", "--layout", "layout.toml"];
    for (arguments, expected) in [
        (&["settlement"][..], "--date"),
        (&["settlement", "--date", "2025-02-30"], "a date is a real one"),
        (&["settlement", "--date", "2199-01-01"], "--partial writes the movements that are final so far"),
        (&["settlement", "--date", "9999-12-31"], "2000-01-01 to 2199-12-31"),
        (&["reconcile", "--date", "9999-12-31", "--fisc", "f", "--wallet", "w"], "2000-01-01 to 2199-12-31"),
        (
            &["reconcile", "--date", "2199-01-01", "--fisc", "f", "--wallet", "w"],
            "--partial writes the movements that are final so far",
        ),
        (&["settlement", "--date", "2025-03-10", "--merchant", "a234567890123456789"], "is 19 characters long"),
        (
            &["settlement", "--date", "2025-03-10", "--endpoint", "http://127.0.0.1:1"],
            "cannot reach http://127.0.0.1:1",
        ),
        (&layout, "layout layout.toml: encoding is \"x\""),
        (&layout, "delimiter is \"y\""),
        (&["reconcile", "--date", "2025-03-10", "--fisc", "f", "--wallet", "w"], "wallet's file w cannot be read"),
    ] {
        let CommandOutput { code, stderr, .. } = twqr(folder.path(), address, arguments).await;
        assert!(code != 0 && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let partial = ["settlement", "--date", "2199-01-01", "--merchant", "M1", "--partial"];
    assert_eq!(twqr(folder.path(), address, &partial).await.code, 0);
    assert!(folder.path().join("settlement-M1-21990101.csv.partial").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_exits_with_2_for_differences_and_1_for_an_unreadable_file() {
    let (folder, address) = (tempfile::tempdir().unwrap(), serve(day()).await);
    let [one, refund, two, before, _] = &day()[..] else { panic!("the day has five movements") };
    let write = |name: &str, entries: &[&SettlementEntry]| {
        let entries: Vec<SettlementEntry> = entries.iter().map(|entry| (*entry).clone()).collect();
        fs::write(folder.path().join(name), counterparty_file(&entries)).unwrap();
    };
    let run = async |more: &[&str]| {
        let arguments = ["reconcile", "--date", "2025-03-10", "--fisc", "fisc", "--wallet", "wallet"];
        twqr(folder.path(), address, &[&arguments, more].concat()).await
    };
    write("wallet", &[one, refund]);
    write("fisc", &[two]);
    let CommandOutput { code, stdout, stderr } = run(&[]).await;
    assert!(
        code == 0 && stdout.ends_with("\nclean\n") && stdout.contains("matched: 3 movements, 300 TWD"),
        "{stdout}{stderr}"
    );

    fs::write(folder.path().join("program"), b"\x7fELF\x02\x01\n".repeat(500)).unwrap();
    let CommandOutput { code, stdout, stderr } = run(&["--fisc-before", "program"]).await;
    assert!(code == 1 && stdout.is_empty() && stderr.lines().count() == 1, "{stdout}{stderr}");
    assert!(stderr.contains("fisc's file program is not a counterparty file"), "{stderr}");
    assert!(stderr.contains("line 1 ") && stderr.contains("; 495 more lines have faults"), "{stderr}");

    // In every row the same fault: the year is of another calendar.
    let of_another_calendar = |byte: &[u8]| String::from_utf8(byte.to_vec()).unwrap().replace("2025-", "0114-");
    let faulty = of_another_calendar(&counterparty_file(std::slice::from_ref(two)));
    fs::write(folder.path().join("faulty"), faulty).unwrap();
    let CommandOutput { code, stdout, stderr } = run(&["--fisc-before", "faulty"]).await;
    assert!(code == 1 && stdout.is_empty() && stderr.lines().count() == 1, "{stdout}{stderr}");
    assert!(stderr.contains("line 2 at must have a year from 2000 to 2199"), "{stderr}");
    assert!(stderr.contains("file faulty cannot be used: ") && stderr.contains("checksum"), "{stderr}");

    // The counterparty's file of the day has a movement that was settled here on the day before.
    // Only its file of the day before shows whether it booked the movement on both days.
    write("fisc", &[two, before]);
    write("fisc-before", &[]);
    let CommandOutput { code, stdout, .. } = run(&[]).await;
    assert!(code == 2 && stdout.contains("booked on another day: 1"), "{stdout}");
    assert_eq!(run(&["--fisc-before", "fisc-before"]).await.code, 0);

    write("wallet", &[one]);
    let CommandOutput { code, stdout, .. } = run(&["--json", "--fisc-before", "fisc-before"]).await;
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &report["is_clean"]), (2, &serde_json::Value::Bool(false)));
    let missing = &report["missing_there"][0];
    assert_eq!((&missing["kind"], &missing["refund_trade_no"]), (&"refund".into(), &trade_no(9).into()));
}
