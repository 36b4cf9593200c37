//! `twqr dead-letters show` on a folder of the embedded journal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/output.rs"]
mod output;

use std::path::Path;

use output::CommandOutput;
use serde_json::Value;
use twqr_config::Config;
use twqr_journal::{Entry, Journal, Partition, Topic, embedded::EmbeddedJournal};
use twqr_lab::launch::command;
use twqr_types::{PayForm, RawPay, UnixMs};
use twqr_wire::convert::{DeadLetter, encode_dead_letter, encode_pay};

const CARD_TOKEN: &str = "22abcdefghijklmnop";
const LETTERS: Partition = Partition { topic: Topic::DeadLetters, index: 0 };

/// A letter about a record of the topic.
fn letter(topic: Topic, offset: u64, payload: impl Into<bytes::Bytes>) -> Entry {
    let letter = DeadLetter {
        topic: topic.name().to_owned(),
        partition: 5,
        offset,
        payload: payload.into(),
        reason: "the state of its order cannot be read by this build".to_owned(),
        at: UnixMs(1_790_000_000_000),
    };
    Entry::plain(encode_dead_letter(&letter))
}

fn payment() -> bytes::Bytes {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        card_token: CARD_TOKEN.into(),
        trade_amount: 100,
        ..RawPay::default()
    };
    encode_pay(UnixMs(1_790_000_000_000), &PayForm::parse(raw).unwrap(), None)
}

fn show(folder: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = command(env!("CARGO_BIN_EXE_twqr"));
    command.env("TWQR__DATA_DIR", folder).args(["dead-letters", "show"]).args(arguments);
    command.output().unwrap().into()
}

#[tokio::test]
async fn letters_are_shown_with_what_this_build_can_read_and_without_tokens() {
    let folder = tempfile::tempdir().unwrap();
    assert!(show(folder.path(), &[]).stderr.contains("there is no journal in"));
    let journal = EmbeddedJournal::open(Config::default().embedded(folder.path().join("journal"))).unwrap();
    let letters = vec![
        letter(Topic::WalletTasks, 7, CARD_TOKEN),
        letter(Topic::Orders, 42, payment()),
        Entry::plain(bytes::Bytes::from(CARD_TOKEN)),
    ];
    journal.append(LETTERS, letters).await.unwrap();
    journal.close();
    drop(journal);
    let shown = show(folder.path(), &[]);
    assert!(shown.code == 1 && shown.stderr.contains("dead letter 2 cannot be read"), "{}", shown.stderr);
    assert!(!format!("{}{}", shown.stdout, shown.stderr).contains("abcdefghijklmnop"), "a token is shown");
    let lines: Vec<Value> = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(lines.len(), 2, "{}", shown.stdout);
    assert_eq!((text(&lines[0], "Topic"), text(&lines[0], "Kind")), ("wallet-tasks".to_owned(), String::new()));
    assert!(!text(&lines[0], "Unreadable").is_empty(), "{}", lines[0]);
    let named = ["Kind", "MerchantID", "MerchantTradeNo", "Unreadable"].map(|name| text(&lines[1], name));
    assert_eq!((named, lines[1]["Offset"].as_u64()), (["payment", "M1", "T1", ""].map(str::to_owned), Some(42)));

    let newest = show(folder.path(), &["--last", "1"]);
    assert!(newest.stdout.lines().count() == 1 && newest.stdout.contains("\"orders\""), "{}", newest.stdout);
    let tasks = show(folder.path(), &["--topic", "wallet-tasks"]);
    assert!(tasks.stdout.lines().count() == 1 && tasks.stdout.contains("\"wallet-tasks\""), "{}", tasks.stdout);
    assert_eq!(show(folder.path(), &["--topic", "nothing"]).code, 64);
}
