//! What happens over and over is logged once in a while, with how often it was not.

use std::time::Duration;

use tokio::time::Instant;

/// Lets one of many through in each period.
#[derive(Debug)]
pub struct Seldom {
    period: Duration,
    last: Option<Instant>,
    kept_back: u64,
}

impl Seldom {
    /// At most one in each period.
    pub const fn every_ms(period_ms: u64) -> Self {
        Self { period: Duration::from_millis(period_ms), last: None, kept_back: 0 }
    }

    /// Whether it is time to say it; then how many were kept back since it was said last.
    pub fn say(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < self.period) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_in_each_period_and_the_others_are_counted() {
        let mut seldom = Seldom::every_ms(1_000);
        assert_eq!([seldom.say(), seldom.say(), seldom.say()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([seldom.say(), seldom.say()], [Some(2), None]);
    }
}
