//! Requests that fail are retried without a word; those that fail for long are reported once.

use std::{
    io,
    time::{Duration, Instant},
};

use tracing::{debug, info, warn};

/// How long requests may fail before an operator is told.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// What a task knows about its failing requests.
#[derive(Default)]
pub(super) struct Failing {
    since: Option<Instant>,
    is_reported: bool,
}

impl Failing {
    pub(super) fn succeeded(&mut self) {
        if self.is_reported {
            info!("records can be fetched again");
        }
        *self = Self::default();
    }

    /// `what` says what cannot be done.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant, what: &'static str) {
        let since = *self.since.get_or_insert(now);
        if !self.is_reported && now.duration_since(since) >= REPORT_AFTER {
            self.is_reported = true;
            let what_to_do =
                "see whether the brokers run, can be reached at their advertised addresses, and are of 2.4 or later";
            warn!(%error, what, what_to_do, "records cannot be fetched");
        } else {
            debug!(%error, what, "a request to a broker failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_of_failures_that_last_until_one_request_succeeds() {
        let (mut failing, begin) = (Failing::default(), Instant::now());
        let error = io::Error::other("refused");
        for (second, is_reported) in [(0, false), (9, false), (10, true), (11, true)] {
            failing.failed(&error, begin + Duration::from_secs(second), "test");
            assert_eq!(failing.is_reported, is_reported, "second {second}");
        }
        failing.succeeded();
        failing.failed(&error, begin + Duration::from_secs(20), "test");
        assert!(!failing.is_reported);
    }
}
