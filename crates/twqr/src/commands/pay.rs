//! `twqr pay`: the payments of a file, each with its result. A bad line does not stop the others.

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

/// The longest line that is read, in bytes; a full Payment request has about 12 KiB.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Latencies are counted up to this, in µs.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Sends every line, in one pass over the file, which may be a pipe; exit code 1 unless every one
/// was answered.
pub(crate) async fn run(arguments: cli::Pay) -> anyhow::Result<ExitCode> {
    let attempts = Attempts { max: arguments.attempts, timeout_ms: arguments.timeout_ms };
    let lines = Lines::open(&arguments.file)?;
    ensure!(!lines.are_in(&arguments.out), "--out is the file of --file; it would be emptied, name another one");
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
        return Err(error.context("stopped before the end of --file; what was sent has its results in --out"));
    }
    Ok(if summary.unanswered() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of a line.
enum Outcome {
    /// It is no request.
    Bad(Vec<Problem>),
    /// It was sent.
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

/// The result as it is written.
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
                Ok(response) => twqr_client::answered(response),
                Err(status) => Map::from_iter([
                    ("MerchantID".to_owned(), json!(request.merchant_id)),
                    ("MerchantTradeNo".to_owned(), json!(request.merchant_trade_no)),
                    ("Error".to_owned(), twqr_client::refused(status)),
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

/// What came of all lines so far.
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
    /// From 1.
    number: u64,
    bytes: Vec<u8>,
    too_long: bool,
}

/// The lines of a file that are not empty, one after the other.
struct Lines {
    reader: BufReader<File>,
    name: String,
    about: Metadata,
    number: u64,
    /// Nothing is read any more: the end, or an error.
    ended: bool,
}

impl Lines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let cannot_read = || format!("{name} cannot be read");
        let file = File::open(path).with_context(cannot_read)?;
        let about = file.metadata().with_context(cannot_read)?;
        ensure!(!about.is_dir(), "{name} is a folder; name a file with one request a line");
        Ok(Self { reader: BufReader::new(file), name, about, number: 0, ended: false })
    }

    /// Whether the path leads to this file.
    fn are_in(&self, path: &Path) -> bool {
        let is_same = |other: Metadata| (other.dev(), other.ino()) == (self.about.dev(), self.about.ino());
        self.about.is_file() && path.metadata().is_ok_and(is_same)
    }

    /// Reads up to the end of the line, and keeps at most what a line may have.
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
    fn lines_keep_their_numbers_and_long_ones_stop_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(3 * LINE_BYTES_MAX as usize);
        std::fs::write(file.path(), format!("{{}}\n\n{long}\n  \n[]")).unwrap();
        let lines: Vec<Line> = Lines::open(file.path()).unwrap().map(Result::unwrap).collect();
        let seen: Vec<(u64, bool)> = lines.iter().map(|line| (line.number, line.too_long)).collect();
        assert_eq!(seen, [(1, false), (3, true), (5, false)]);
        assert!(lines.iter().all(|line| line.bytes.len() as u64 <= LINE_BYTES_MAX + 1));
    }

    #[test]
    fn the_first_read_error_is_the_last_line() {
        // Nobody can read a process' memory at address 0.
        let mut lines = Lines::open(Path::new("/proc/self/mem")).unwrap();
        let error = lines.next().unwrap().err().unwrap();
        assert!(format!("{error:#}").starts_with("/proc/self/mem cannot be read after line 0"), "{error:#}");
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_bad_lines_result_names_file_line_and_field() {
        let problems = vec![Problem { field: Some("TradeAmount".into()), text: "must be a whole number".into() }];
        let result = result_line("requests.jsonl", 7, &Outcome::Bad(problems));
        let error = &result["Error"];
        assert_eq!((error["File"].as_str(), error["Line"].as_u64()), (Some("requests.jsonl"), Some(7)));
        assert_eq!(error["Fields"][0]["Field"], "TradeAmount");
    }
}
