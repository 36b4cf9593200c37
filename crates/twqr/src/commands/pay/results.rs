//! The file of results. Each line is written completely in one call, so that the death of the
//! process neither loses a result nor leaves a partial line.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tonic::Status;
use twqr_client::{Answer, Problem};
use twqr_files::is_standard;
use twqr_wire::pos::PayRequest;

/// The outcome of a line.
pub(super) enum Outcome {
    /// The line is not a valid request; it was not sent.
    Bad(Vec<Problem>),
    /// The request was sent and answered, or refused.
    Sent(Box<(PayRequest, Answer)>),
    /// The request was sent, and its answer was not waited for.
    Interrupted(Box<(PayRequest, Status)>),
}

/// The file of results.
pub(super) struct Results {
    out: File,
    name: String,
    /// The name of the file of requests, for lines that are none.
    requests: String,
    /// The length of all whole lines, if the file holds nothing else.
    whole_bytes: Option<u64>,
    unwritten: u64,
}

impl Results {
    /// Creates a file or empties it; `-` is standard output.
    pub(super) fn create(path: &Path, requests: String) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let out = twqr_files::create(path).with_context(|| format!("{name} cannot be written"))?;
        let whole_bytes = (!is_standard(path)).then_some(0);
        Ok(Self { out, name, requests, whole_bytes, unwritten: 0 })
    }

    /// Writes the result of a line. After a failure nothing more is written.
    pub(super) fn write(&mut self, number: u64, outcome: &Outcome) -> anyhow::Result<()> {
        if self.unwritten > 0 {
            self.unwritten += 1;
            return Ok(());
        }
        let line = format!("{}\n", json!(result_line(&self.requests, number, outcome)));
        match self.out.write_all(line.as_bytes()) {
            Ok(()) => {
                self.whole_bytes = self.whole_bytes.map(|bytes| bytes + line.len() as u64);
                Ok(())
            }
            Err(error) => {
                self.unwritten = 1;
                if let Some(bytes) = self.whole_bytes {
                    // Removes the torn line; a device or pipe cannot be shortened.
                    drop(self.out.set_len(bytes));
                }
                Err(error).with_context(|| format!("{} cannot be written", self.name))
            }
        }
    }

    /// How many results could not be written.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }
}

/// Returns the result as JSON.
fn result_line(file: &str, number: u64, outcome: &Outcome) -> Map<String, Value> {
    let mut result = match outcome {
        Outcome::Bad(problems) => {
            let fields = problems.iter().map(|problem| json!({ "Field": problem.field, "Problem": problem.text }));
            let error =
                json!({ "Code": "BAD_LINE", "File": file, "Line": number, "Fields": fields.collect::<Vec<_>>() });
            Map::from_iter([("Error".to_owned(), error)])
        }
        Outcome::Interrupted(sent) => refused(&sent.0, &sent.1),
        Outcome::Sent(sent) => {
            let (request, answer) = &**sent;
            let mut result = match &answer.result {
                Ok(response) => twqr_client::payment_json(response),
                Err(status) => refused(request, status),
            };
            result.insert("Attempts".to_owned(), json!(answer.attempts));
            let latency_ms = answer.took.as_micros() as f64 / 1_000.0;
            result.insert("LatencyMs".to_owned(), json!(latency_ms));
            result
        }
    };
    result.insert("Line".to_owned(), json!(number));
    result
}

fn refused(request: &PayRequest, status: &Status) -> Map<String, Value> {
    Map::from_iter([
        ("MerchantID".to_owned(), json!(request.merchant_id)),
        ("MerchantTradeNo".to_owned(), json!(request.merchant_trade_no)),
        ("Error".to_owned(), twqr_client::error_json(status)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_malformed_line_names_file_line_and_field() {
        let problems = vec![Problem { field: Some("TradeAmount".into()), text: "must be a whole number".into() }];
        let result = result_line("requests.jsonl", 7, &Outcome::Bad(problems));
        let error = &result["Error"];
        assert_eq!((error["File"].as_str(), error["Line"].as_u64()), (Some("requests.jsonl"), Some(7)));
        assert_eq!(error["Fields"][0]["Field"], "TradeAmount");
    }
}
