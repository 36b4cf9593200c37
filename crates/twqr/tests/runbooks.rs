//! Each command of `twqr` on a page of `deploy/runbooks` exists, with its options.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/page_commands.rs"]
mod page_commands;

#[test]
fn every_command_on_the_runbooks_exists() {
    page_commands::check("twqr", env!("CARGO_BIN_EXE_twqr"), 10);
}
