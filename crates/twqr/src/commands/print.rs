//! Answers of the APIs, printed as one JSON line each.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use serde_json::{Map, Value, json};
use tonic::Status;
use twqr_client::refused;

/// Prints an answer, or the error instead of one, as one line; exit code 1 if there was no answer.
pub(crate) fn print(answer: Result<Map<String, Value>, &Status>) -> anyhow::Result<ExitCode> {
    let (line, code) = match answer {
        Ok(fields) => (json!(fields), ExitCode::SUCCESS),
        Err(status) => (json!({ "Error": refused(status) }), ExitCode::FAILURE),
    };
    writeln!(stdout(), "{line}")?;
    Ok(code)
}
