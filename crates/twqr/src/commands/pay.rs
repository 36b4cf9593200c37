//! `twqr pay`: sends the payments of a file and writes the result of each. A malformed line does
//! not stop the others. After a signal no new payment is sent, and those in flight are waited for,
//! because their customers may be charged already.

mod lines;
mod results;
mod summary;

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::Receiver,
    time::{Instant, sleep_until},
};
use tonic::Status;
use twqr_client::{Attempts, Connection, Problem, ProgressBar};
use twqr_files::print_error_line;
use twqr_service::CancellationToken;
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

use crate::cli;
use lines::{LINE_BYTES_MAX, Line, Lines};
use results::{Outcome, Results};
use summary::Summary;

/// How long payments in flight may take after a signal, in s: the server answers a call within 14
/// s.
const FINISH_WITHIN_S: u64 = 15;
/// The exit codes after SIGINT and SIGTERM, as shells report a process that such a signal has
/// ended.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

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
    let signals = Signals::listen()?;
    let mut run = Run {
        results: Results::create(&arguments.out, arguments.file.display().to_string())?,
        summary: Summary::new()?,
        progress: ProgressBar::start("payments", 0),
        failure: None,
        signal: None,
    };
    let sender = Sender { client, attempts, give_up: CancellationToken::new() };
    run.send(lines.in_background(), &sender, usize::from(arguments.concurrency), signals).await;
    run.end()
}

/// Sends the payments of the file.
struct Sender {
    client: PosServiceClient<Connection>,
    attempts: Attempts,
    /// When it fires, payments in flight are not waited for any longer.
    give_up: CancellationToken,
}

impl Sender {
    async fn outcome(&self, line: Line) -> (u64, Outcome) {
        let request = if line.too_long {
            let text = format!("is longer than {LINE_BYTES_MAX} bytes");
            Err(vec![Problem { field: None, text }])
        } else {
            twqr_client::parse(&line.bytes)
        };
        let outcome = match request {
            Err(problems) => Outcome::Bad(problems),
            Ok(request) => self.pay(request).await,
        };
        (line.number, outcome)
    }

    async fn pay(&self, request: PayRequest) -> Outcome {
        tokio::select! {
            answer = twqr_client::pay(&self.client, &request, self.attempts) => Outcome::Sent(Box::new((request, answer))),
            () = self.give_up.cancelled() => {
                let text = "interrupted before the answer; the customer may be charged: send the line again, or `twqr query`";
                Outcome::Interrupted(Box::new((request, Status::cancelled(text))))
            }
        }
    }
}

/// The run of one file.
struct Run {
    results: Results,
    summary: Summary,
    progress: ProgressBar,
    /// The reason why sending ended before the end of the file.
    failure: Option<anyhow::Error>,
    /// The exit code after a signal.
    signal: Option<u8>,
}

impl Run {
    /// Sends lines until their end, a failure or a signal, and writes the outcome of each.
    async fn send(
        &mut self,
        mut lines: Receiver<anyhow::Result<Line>>,
        sender: &Sender,
        concurrency: usize,
        mut signals: Signals,
    ) {
        let mut in_flight = FuturesUnordered::new();
        let mut at_end = false;
        let mut finish_by = None;
        loop {
            let is_sending = !at_end && self.failure.is_none() && self.signal.is_none();
            if !is_sending && in_flight.is_empty() {
                return;
            }
            if self.signal.is_some() || self.results.unwritten() > 0 {
                finish_by = finish_by.or(Some(Instant::now() + Duration::from_secs(FINISH_WITHIN_S)));
            }
            tokio::select! {
                biased;
                code = signals.next() => {
                    if self.signal.is_some() {
                        sender.give_up.cancel();
                    }
                    self.signal = self.signal.or(Some(code));
                }
                () = at(finish_by), if !sender.give_up.is_cancelled() => sender.give_up.cancel(),
                Some((number, outcome)) = in_flight.next() => self.write(number, &outcome),
                line = lines.recv(), if is_sending && in_flight.len() < concurrency => match line {
                    Some(Ok(line)) => in_flight.push(sender.outcome(line)),
                    Some(Err(error)) => self.failure = Some(error),
                    None => at_end = true,
                },
            }
        }
    }

    fn write(&mut self, number: u64, outcome: &Outcome) {
        self.summary.count(outcome);
        match self.results.write(number, outcome) {
            Ok(()) => self.progress.step(&self.summary.short()),
            Err(error) => self.failure = self.failure.take().or(Some(error)),
        }
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        let Self { results, summary, progress, failure, signal } = self;
        progress.finish(&summary.short());
        print_error_line(summary.long());
        if let Some(error) = failure {
            let unwritten = results.unwritten();
            return Err(if unwritten > 0 {
                error.context(format!("stopped before the end of --file; {unwritten} results are not in --out"))
            } else {
                error.context("stopped before the end of --file; the results of the sent payments are in --out")
            });
        }
        Ok(match signal {
            Some(code) => ExitCode::from(code),
            None if summary.unanswered() == 0 => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        })
    }
}

/// Waits until this time; for ever if it is absent.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The signals that end a run.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal; returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}
