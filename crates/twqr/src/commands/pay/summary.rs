//! Counts the outcomes of all lines so far.

use std::time::Duration;

use hdrhistogram::Histogram;
use twqr_types::StatusCode;

use super::results::Outcome;

/// The highest latency that the histogram can hold, in µs.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// The outcomes of all lines so far.
pub(super) struct Summary {
    approved: u64,
    others: u64,
    refused: u64,
    bad: u64,
    interrupted: u64,
    attempts: u64,
    latencies: Histogram<u32>,
}

impl Summary {
    pub(super) fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Self { approved: 0, others: 0, refused: 0, bad: 0, interrupted: 0, attempts: 0, latencies })
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        let sent = match outcome {
            Outcome::Bad(_) => return self.bad += 1,
            Outcome::Interrupted(_) => return self.interrupted += 1,
            Outcome::Sent(sent) => sent,
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

    pub(super) fn unanswered(&self) -> u64 {
        self.refused + self.bad + self.interrupted
    }

    pub(super) fn short(&self) -> String {
        format!(
            "{} approved, {} with another StatusCode, {} without an answer",
            self.approved,
            self.others,
            self.unanswered()
        )
    }

    pub(super) fn long(&self) -> String {
        let at = |quantile| Duration::from_micros(self.latencies.value_at_quantile(quantile));
        format!(
            "approved {}, other StatusCodes {}, gRPC errors {}, bad lines {}, interrupted {}; attempts {}; p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            self.approved,
            self.others,
            self.refused,
            self.bad,
            self.interrupted,
            self.attempts,
            at(0.5),
            at(0.99),
            Duration::from_micros(self.latencies.max()),
        )
    }
}
