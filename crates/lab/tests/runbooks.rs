//! Each command of `twqr-lab` on a page of `deploy/runbooks` exists, with its options.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../twqr/tests/support/page_commands.rs"]
mod page_commands;

#[test]
fn every_rehearsal_on_the_runbooks_exists() {
    page_commands::check("twqr-lab", env!("CARGO_BIN_EXE_twqr-lab"), 10);
}
