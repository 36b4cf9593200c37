//! What is fuzzed: everything that reads bytes from callers, operators, counterparties, the log or
//! a disk. Each target takes any bytes. It must not panic, and what it accepts must survive a way
//! through the product's own types: encoded and read again, it is the same.
//!
//! `make fuzz` runs each target for some seconds with libFuzzer, from the inputs in `corpus/`. The
//! tests of this crate play the same inputs without libFuzzer.

mod records;
mod seeds;

use std::str;

use twqr_settlement::{Side, read_movements, verify_file, write_movements};

pub use seeds::seeds;

/// A target: its name, which is also the folder of its inputs, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: [Target; 11] = [
    ("http_form", twqr_ingress::fuzzing::http_form),
    ("orders", records::orders),
    ("replies", records::replies),
    ("states", records::states),
    ("tasks", records::tasks),
    ("dead_letters", records::dead_letters),
    ("stored", records::stored),
    ("policy", policy),
    ("accounting", accounting),
    ("counterparty", counterparty),
    ("journal", journal),
];

/// The policy document, as an operator writes it.
fn policy(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input)
        && let Ok(policy) = twqr_config::parse_policy(text)
    {
        drop(policy.faults());
    }
}

/// An accounting file.
fn accounting(input: &[u8]) {
    if let Err(faults) = verify_file(input) {
        drop(faults.to_string());
    }
}

/// A counterparty's file. What was read is written, and read again.
fn counterparty(input: &[u8]) {
    for side in [Side::Wallet, Side::Fisc] {
        let file = read_movements(side, input);
        let movements = || file.movements.iter().map(|row| &row.movement);
        let Ok(written) = write_movements(movements()) else { continue };
        let again = read_movements(side, &written);
        assert!(
            again.movements.iter().map(|row| &row.movement).eq(movements()),
            "a movement is not the same when it is written and read again"
        );
    }
}

/// A record of the embedded journal, as its disk has it.
fn journal(input: &[u8]) {
    if let Some(entry) = twqr_journal::embedded::read_stored(input) {
        let stored = twqr_journal::embedded::stored_form(&entry);
        assert!(twqr_journal::embedded::read_stored(&stored).as_ref() == Some(&entry));
    }
}
