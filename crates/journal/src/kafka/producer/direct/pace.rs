//! How long to wait between two requests to a broker. On a busy machine an answer takes longer than
//! on an idle one. Fewer and larger requests then help all processes, because the cost depends more
//! on the number of requests than on their size. So the pause grows with the time by which an
//! answer was slower than the fastest of the recent ones. A distant broker therefore does not count
//! as busy, and an append after a quiet time is sent at once.

use std::time::{Duration, Instant};

/// How much slower than the quickest an answer may be without a pause after it.
const PROMPT: Duration = Duration::from_millis(2);
/// The pause as a multiple of what an answer took beyond that, and the longest pause.
const SHARE: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// For how long, at least, the quickest answer counts; at most twice as long.
const RECENT: Duration = Duration::from_secs(10);

/// The pace of the requests to one broker.
pub(super) struct RequestPace {
    /// The quickest answer of the present period and of the one before.
    quickest: [Option<Duration>; 2],
    /// When the present period began.
    began: Instant,
    not_before: Instant,
}

impl RequestPace {
    pub(super) fn new(now: Instant) -> Self {
        Self { quickest: [None; 2], began: now, not_before: now }
    }

    /// When the next request may be sent.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Notes that a request was answered at `now` after `took`.
    pub(super) fn answered(&mut self, now: Instant, took: Duration) {
        if now.saturating_duration_since(self.began) > RECENT {
            self.quickest = [None, self.quickest[0]];
            self.began = now;
        }
        self.quickest[0] = Some(self.quickest[0].map_or(took, |quickest| quickest.min(took)));
        let quickest = self.quickest.into_iter().flatten().min().unwrap_or(took);
        let excess = took.saturating_sub(quickest + PROMPT);
        self.not_before = now + (excess * SHARE).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The pause after the last of these answers, which take so many ms and are a second apart.
    fn pause_after(answers: &[u64]) -> Duration {
        let mut now = Instant::now();
        let mut pace = RequestPace::new(now);
        for took in answers {
            now += Duration::from_secs(1);
            pace.answered(now, ms(*took));
        }
        pace.not_before() - now
    }

    #[test]
    fn only_answers_that_are_slower_than_others_are_followed_by_a_pause() {
        let slow_for_long = [vec![1], vec![8; 40]].concat();
        let cases: [(&str, &[u64], u64); 6] = [
            ("the first", &[8], 0),
            ("as quick as ever", &[1, 1], 0),
            ("a little slower", &[1, 3], 0),
            ("slower", &[1, 5], 4),
            ("much slower", &[1, 500], 5),
            ("slow for a long time, as from a broker that moved far away", &slow_for_long, 0),
        ];
        for (name, answers, pause) in cases {
            assert_eq!(pause_after(answers), ms(pause), "{name}");
        }
    }
}
