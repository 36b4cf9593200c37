//! Serves metrics and health to operators.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use twqr_service::{CancellationToken, Health, Limits, Listener, PartState, serve_http};

use crate::metrics::Exposition;

/// How often measured durations are merged into their buckets, in ms.
const UPKEEP_MS: u64 = 5_000;

/// How long answers in progress may take at shutdown, in ms.
const DRAIN_MS: u64 = 1_000;

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop` fires.
pub(crate) async fn serve(
    listener: Listener,
    health: Health,
    metrics: Exposition,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let upkeep = metrics.clone();
    let liveness = health.clone();
    let router = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/healthz", get(move || async move { alive(&liveness) }))
        .route("/readyz", get(move || async move { ready(&health) }));
    tokio::select! {
        _ = serve_http(listener, router, Limits::operators("admin"), stop, Duration::from_millis(DRAIN_MS)) => {}
        () = repeat(Duration::from_millis(UPKEEP_MS), || upkeep.run_upkeep()) => {}
    }
    Ok(())
}

/// Calls `work` after every `period`, forever.
async fn repeat(period: Duration, work: impl Fn()) {
    loop {
        tokio::time::sleep(period).await;
        work();
    }
}

/// Returns 503 with the reason if a part is dead, so that only a restart can help; else 200.
fn alive(health: &Health) -> (StatusCode, String) {
    health.dead().map_or((StatusCode::OK, "alive".to_owned()), |why| (StatusCode::SERVICE_UNAVAILABLE, why))
}

/// Returns 200 if every part is ready or degraded, else 503. Names each part that is not ready or
/// is degraded, and why.
fn ready(health: &Health) -> (StatusCode, String) {
    let code = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let summary = if health.is_ready() { "ready" } else { "not ready" };
    let reason = |(name, state): (String, PartState)| match state {
        PartState::Ready => None,
        PartState::Degraded(why) => Some(format!("\n{name}: degraded: {why}")),
        PartState::NotReady(why) => Some(format!("\n{name}: {why}")),
    };
    let leaving = if health.is_leaving() { "\nthe process is shutting down" } else { "" };
    let reasons: String = health.report().into_iter().filter_map(reason).collect();
    (code, format!("{summary}{leaving}{reasons}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn readiness_names_degraded_parts_without_turning_unready() {
        let health = Health::default();
        let (shard, model) = (health.part("shard"), health.part("model"));
        shard.ready();
        model.ready();
        assert_eq!(ready(&health), (StatusCode::OK, "ready".into()));
        model.degraded("the disk is full");
        assert_eq!(ready(&health), (StatusCode::OK, "ready\nmodel: degraded: the disk is full".into()));
        shard.not_ready("stalled");
        let answer = "not ready\nmodel: degraded: the disk is full\nshard: stalled";
        assert_eq!(ready(&health), (StatusCode::SERVICE_UNAVAILABLE, answer.into()));
        shard.ready();
        health.leave();
        let answer = "not ready\nthe process is shutting down\nmodel: degraded: the disk is full";
        assert_eq!(ready(&health), (StatusCode::SERVICE_UNAVAILABLE, answer.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_continues_without_scrapes() {
        let done = AtomicU32::new(0);
        let upkeep = repeat(Duration::from_millis(UPKEEP_MS), || {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert!(tokio::time::timeout(Duration::from_millis(3 * UPKEEP_MS + 1), upkeep).await.is_err());
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }
}
