//! The live line of a run: rates, latency, calls in flight and errors of the last second.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use twqr_client::ProgressBar;
use twqr_loadgen::{
    generator::{LoadProgress, ProgressNow},
    scenario::Scenario,
    schedule::Schedule,
};

/// Shows the line until every call has ended.
pub(super) async fn show(scenario: &Scenario, progress: Arc<LoadProgress>) {
    let total_s = Schedule::new(scenario).seconds();
    let mut bar = ProgressBar::start("s", Duration::from_secs_f64(total_s).as_secs());
    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut before = ProgressNow::default();
    loop {
        ticks.tick().await;
        let now = progress.now();
        let mut recent = progress.take_recent_us();
        recent.sort_unstable();
        bar.set(began.elapsed().as_secs(), &line(&before, &now, &recent));
        if now.pacing_ended && now.in_flight == 0 {
            break;
        }
        before = now;
    }
    bar.finish("every call has ended; reconciling");
}

/// The line for one second; `recent` are its latencies in µs, sorted.
fn line(before: &ProgressNow, now: &ProgressNow, recent: &[u64]) -> String {
    let at = |percent: usize| {
        let index = recent.len().saturating_sub(1) * percent / 100;
        recent.get(index).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    format!(
        "started {}/s, ended {}/s, in flight {}, p50 {:.1} ms, p99 {:.1} ms, errors {}, dropped {}",
        now.started - before.started,
        now.ended - before.ended,
        now.in_flight,
        at(50),
        at(99),
        now.errors,
        now.dropped
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_rates_of_the_last_second_and_totals_of_errors() {
        let before = ProgressNow { started: 100, ended: 90, errors: 1, ..ProgressNow::default() };
        let now = ProgressNow { started: 150, ended: 135, errors: 3, in_flight: 15, ..before.clone() };
        let recent: Vec<u64> = (1..=101).map(|n| n * 1_000).collect();
        assert_eq!(
            line(&before, &now, &recent),
            "started 50/s, ended 45/s, in flight 15, p50 51.0 ms, p99 100.0 ms, errors 3, dropped 0"
        );
        assert!(line(&before, &now, &[]).contains("p99 0.0 ms"));
    }
}
