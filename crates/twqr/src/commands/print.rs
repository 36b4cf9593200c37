//! Prints answers as one JSON line each.

use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tonic::Status;
use twqr_client::error_json;
use twqr_files::print_line;

/// Prints an answer or the error as one line; exit code 1 for an error.
pub(crate) fn print(answer: Result<Map<String, Value>, &Status>) -> anyhow::Result<ExitCode> {
    let (line, code) = match answer {
        Ok(fields) => (json!(fields), ExitCode::SUCCESS),
        Err(status) => (json!({ "Error": error_json(status) }), ExitCode::FAILURE),
    };
    print_line(line)?;
    Ok(code)
}
