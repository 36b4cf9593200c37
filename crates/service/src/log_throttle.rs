//! Limits how often a repeated event is logged. A permitted line also says how many were suppressed
//! since the last one.

use std::time::Duration;

use tokio::time::Instant;

/// Permits one log line in each period.
#[derive(Debug)]
pub struct LogThrottle {
    period: Duration,
    last_permit: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Permits one line in each period of `period_ms` milliseconds.
    pub const fn every_ms(period_ms: u64) -> Self {
        Self { period: Duration::from_millis(period_ms), last_permit: None, suppressed: 0 }
    }

    /// Returns how many lines were suppressed since the last permit, if a line may be logged now;
    /// otherwise counts this one as suppressed.
    pub fn permit(&mut self) -> Option<u64> {
        if self.last_permit.is_some_and(|last| last.elapsed() < self.period) {
            self.suppressed += 1;
            return None;
        }
        self.last_permit = Some(Instant::now());
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_is_permitted_in_each_period_and_the_others_are_counted() {
        let mut throttle = LogThrottle::every_ms(1_000);
        assert_eq!([throttle.permit(), throttle.permit(), throttle.permit()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([throttle.permit(), throttle.permit()], [Some(2), None]);
    }
}
