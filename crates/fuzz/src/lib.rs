//! Fuzz targets for everything that reads bytes from callers, operators, counterparties, brokers,
//! the log or a disk. Each target accepts any bytes. It must not panic, and input that it accepts
//! must be the same after it was encoded and read again.
//!
//! `make fuzz` runs each target for some seconds with libFuzzer, from the inputs in `corpus/`. The
//! tests of this crate play the same inputs without libFuzzer.

mod api;
mod records;
mod seeds;

use std::str;

use twqr_config::CallerDocument;
use twqr_settlement::{Side, read_movements, verify_file, write_movements};

pub use seeds::seeds;

/// A target: its name, which is also the folder of its inputs, and what it does with an input. It
/// returns whether a reader accepted the input.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target of this crate.
pub const TARGETS: [Target; 20] = [
    ("http_form", twqr_ingress::fuzzing::http_form),
    ("grpc_requests", api::requests),
    ("operators", api::operators),
    ("backend_answers", api::backend_answers),
    ("orders", records::orders),
    ("replies", records::replies),
    ("states", records::states),
    ("tasks", records::tasks),
    ("callers", records::callers),
    ("dead_letters", records::dead_letters),
    ("stored", records::stored),
    ("policy", policy),
    ("callers_document", callers_document),
    ("accounting", accounting),
    ("counterparty", counterparty),
    ("journal", journal),
    ("layout", twqr_journal::kafka::fuzz_layout),
    ("kafka_answers", twqr_journal::kafka::fuzz_answer),
    ("kafka_records", twqr_journal::kafka::fuzz_records),
    ("certificates", twqr_tls::fuzzing::pem),
];

/// The policy document, as an operator writes it.
fn policy(input: &[u8]) -> bool {
    let policy = str::from_utf8(input).ok().and_then(|text| twqr_config::parse_policy(text).ok());
    policy.is_some_and(|policy| policy.faults().is_empty())
}

/// The document of a caller, as an operator writes it. A caller that was read is written, and read
/// again.
fn callers_document(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let Ok(caller) = CallerDocument::parse(text) else { return false };
    let written = CallerDocument::text(&caller).unwrap_or_default();
    assert!(
        CallerDocument::parse(&written).is_ok_and(|again| again == caller),
        "a caller is not the same when it is written and read again"
    );
    true
}

/// An accounting file.
fn accounting(input: &[u8]) -> bool {
    verify_file(input).map_err(|faults| drop(faults.to_string())).is_ok()
}

/// A counterparty's file. What was read is written, and read again.
fn counterparty(input: &[u8]) -> bool {
    [Side::Wallet, Side::Fisc].map(|side| counterparty_of(side, input)).contains(&true)
}

fn counterparty_of(side: Side, input: &[u8]) -> bool {
    let file = read_movements(side, input);
    let movements = || file.movements.iter().map(|row| &row.movement);
    let Ok(written) = write_movements(movements()) else { return false };
    let again = read_movements(side, &written);
    assert!(
        again.movements.iter().map(|row| &row.movement).eq(movements()),
        "a movement is not the same when it is written and read again"
    );
    !file.movements.is_empty()
}

/// A record of the embedded journal, as its disk has it.
fn journal(input: &[u8]) -> bool {
    let Some(entry) = twqr_journal::embedded::read_stored(input) else { return false };
    let stored = twqr_journal::embedded::stored_form(&entry);
    assert!(twqr_journal::embedded::read_stored(&stored).as_ref() == Some(&entry));
    true
}
