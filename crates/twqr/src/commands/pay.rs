//! `twqr pay`: sends the payments of a file and writes the result of each. A malformed line does
//! not stop the others.

use std::{
    fs::{File, Metadata},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures::StreamExt;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use tonic::transport::Channel;
use twqr_client::{Answer, Attempts, Problem, ProgressBar};
use twqr_types::StatusCode;
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

use crate::cli;

/// The longest line that is accepted, in bytes; a complete Payment request has about 12 KiB.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The highest latency that the histogram can hold, in µs.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Sends every line in one pass over the file, which may be a pipe; exit code 1 unless every line
/// was answered.
pub(crate) async fn run(arguments: cli::Pay) -> anyhow::Result<ExitCode> {
    let attempts = Attempts { max: arguments.attempts, timeout_ms: arguments.timeout_ms };
    let lines = Lines::open(&arguments.file)?;
    ensure!(
        !lines.is_same_file(&arguments.out),
        "--out is the same file as --file and would be emptied; name another file"
    );
    let client = twqr_client::connect(&arguments.endpoint).await?;
    let not_written = || format!("{} cannot be written", arguments.out.display());
    let mut out = BufWriter::new(File::create(&arguments.out).with_context(not_written)?);
    let mut progress = ProgressBar::start("payments", 0);
    let mut summary = Summary::new()?;
    let file = arguments.file.display().to_string();
    let mut unread = None;
    let mut results = futures::stream::iter(lines)
        .map(|line| async {
            let line = line?;
            let outcome = pay_line(&client, &line, attempts).await;
            anyhow::Ok((line.number, outcome))
        })
        .buffer_unordered(usize::from(arguments.concurrency));
    while let Some(result) = results.next().await {
        match result {
            Ok((number, outcome)) => {
                summary.count(&outcome);
                writeln!(out, "{}", json!(result_line(&file, number, &outcome))).with_context(not_written)?;
                progress.step(&summary.short());
            }
            Err(error) => unread = Some(error),
        }
    }
    out.flush().with_context(not_written)?;
    progress.finish(&summary.short());
    eprintln!("{}", summary.long());
    if let Some(error) = unread {
        return Err(error.context("stopped before the end of --file; the results of what was sent are in --out"));
    }
    Ok(if summary.unanswered() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The outcome of a line.
enum Outcome {
    /// The line is not a request.
    Bad(Vec<Problem>),
    /// The request was sent.
    Sent(Box<(PayRequest, Answer)>),
}

async fn pay_line(client: &PosServiceClient<Channel>, line: &Line, attempts: Attempts) -> Outcome {
    if line.too_long {
        let text = format!("is longer than {LINE_BYTES_MAX} bytes");
        return Outcome::Bad(vec![Problem { field: None, text }]);
    }
    match twqr_client::parse(&line.bytes) {
        Err(problems) => Outcome::Bad(problems),
        Ok(request) => {
            let answer = twqr_client::pay(client, &request, attempts).await;
            Outcome::Sent(Box::new((request, answer)))
        }
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
        Outcome::Sent(sent) => {
            let (request, answer) = &**sent;
            let mut result = match &answer.result {
                Ok(response) => twqr_client::payment_json(response),
                Err(status) => Map::from_iter([
                    ("MerchantID".to_owned(), json!(request.merchant_id)),
                    ("MerchantTradeNo".to_owned(), json!(request.merchant_trade_no)),
                    ("Error".to_owned(), twqr_client::error_json(status)),
                ]),
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

/// Counts the outcomes of all lines so far.
struct Summary {
    approved: u64,
    others: u64,
    refused: u64,
    bad: u64,
    attempts: u64,
    latencies: Histogram<u32>,
}

impl Summary {
    fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Self { approved: 0, others: 0, refused: 0, bad: 0, attempts: 0, latencies })
    }

    fn count(&mut self, outcome: &Outcome) {
        let Outcome::Sent(sent) = outcome else {
            self.bad += 1;
            return;
        };
        let (_, answer) = &**sent;
        self.attempts += u64::from(answer.attempts);
        self.latencies.saturating_record(answer.took.as_micros() as u64);
        match &answer.result {
            Ok(response) if response.status_code == StatusCode::SUCCESS => self.approved += 1,
            Ok(_) => self.others += 1,
            Err(_) => self.refused += 1,
        }
    }

    fn unanswered(&self) -> u64 {
        self.refused + self.bad
    }

    fn short(&self) -> String {
        format!("{} approved, {} not, {} without an answer", self.approved, self.others, self.unanswered())
    }

    fn long(&self) -> String {
        let at = |quantile| Duration::from_micros(self.latencies.value_at_quantile(quantile));
        format!(
            "approved {}, other StatusCodes {}, gRPC errors {}, bad lines {}; attempts {}; p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            self.approved,
            self.others,
            self.refused,
            self.bad,
            self.attempts,
            at(0.5),
            at(0.99),
            Duration::from_micros(self.latencies.max()),
        )
    }
}

/// One line of the file.
struct Line {
    /// The line number, from 1.
    number: u64,
    bytes: Vec<u8>,
    too_long: bool,
}

/// Iterates over the lines of a file that are not empty.
struct Lines {
    reader: BufReader<File>,
    name: String,
    about: Metadata,
    number: u64,
    /// Whether the end or a read error was reached.
    ended: bool,
}

impl Lines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let cannot_read = || format!("{name} cannot be read");
        let file = File::open(path).with_context(cannot_read)?;
        let about = file.metadata().with_context(cannot_read)?;
        ensure!(!about.is_dir(), "{name} is a folder; name a file with one request in each line");
        Ok(Self { reader: BufReader::new(file), name, about, number: 0, ended: false })
    }

    /// Whether the path leads to the same file.
    fn is_same_file(&self, path: &Path) -> bool {
        let is_same = |other: Metadata| (other.dev(), other.ino()) == (self.about.dev(), self.about.ino());
        self.about.is_file() && path.metadata().is_ok_and(is_same)
    }

    /// Reads to the end of the line, and keeps at most [`LINE_BYTES_MAX`] bytes of it.
    fn read(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        if self.reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let too_long = bytes.len() as u64 > LINE_BYTES_MAX && bytes.last() != Some(&b'\n');
        if too_long {
            self.reader.skip_until(b'\n')?;
        }
        Ok(Some(Line { number: self.number, bytes, too_long }))
    }
}

impl Iterator for Lines {
    type Item = anyhow::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read() {
                Ok(None) => self.ended = true,
                Ok(Some(line)) if line.bytes.trim_ascii().is_empty() => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => {
                    self.ended = true;
                    let place = || format!("{} cannot be read after line {}", self.name, self.number);
                    return Some(Err(error).with_context(place));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_keep_the_numbers_of_later_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(3 * LINE_BYTES_MAX as usize);
        std::fs::write(file.path(), format!("{{}}\n\n{long}\n  \n[]")).unwrap();
        let lines: Vec<Line> = Lines::open(file.path()).unwrap().map(Result::unwrap).collect();
        let seen: Vec<(u64, bool)> = lines.iter().map(|line| (line.number, line.too_long)).collect();
        assert_eq!(seen, [(1, false), (3, true), (5, false)]);
        assert!(lines.iter().all(|line| line.bytes.len() as u64 <= LINE_BYTES_MAX + 1));
    }

    #[test]
    fn iteration_ends_at_the_first_read_error() {
        // Reading the memory of a process at address 0 always fails.
        let mut lines = Lines::open(Path::new("/proc/self/mem")).unwrap();
        let error = lines.next().unwrap().err().unwrap();
        assert!(format!("{error:#}").starts_with("/proc/self/mem cannot be read after line 0"), "{error:#}");
        assert!(lines.next().is_none());
    }

    #[test]
    fn the_result_of_a_malformed_line_names_file_line_and_field() {
        let problems = vec![Problem { field: Some("TradeAmount".into()), text: "must be a whole number".into() }];
        let result = result_line("requests.jsonl", 7, &Outcome::Bad(problems));
        let error = &result["Error"];
        assert_eq!((error["File"].as_str(), error["Line"].as_u64()), (Some("requests.jsonl"), Some(7)));
        assert_eq!(error["Fields"][0]["Field"], "TradeAmount");
    }
}
