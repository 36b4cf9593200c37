//! Metrics and health for operators.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use twqr_service::{CancellationToken, Health, Limits, PartState, serve_http};

/// The buckets of durations, in seconds: from a millisecond to what a POS waits.
const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0];

/// How often measured durations are taken into their buckets, in ms. Until then each is kept by
/// itself: without it, and where nobody asks for `/metrics`, memory grows with every call.
const UPKEEP_MS: u64 = 5_000;

/// How long answers may take to end at shutdown, in ms.
const DRAIN_MS: u64 = 1_000;

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop` fires.
pub(crate) async fn serve(
    address: std::net::SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new()
        .set_buckets(&[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0])?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|error| anyhow::anyhow!("admin cannot listen on {address}: {error}"))?;
    let kept_up = metrics.clone();
    let living = health.clone();
    let router = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/healthz", get(move || async move { alive(&living) }))
        .route("/readyz", get(move || async move { ready(&health) }));
    tokio::select! {
        _ = serve_http(listener, router, Limits::operators("admin"), stop, Duration::from_millis(DRAIN_MS)) => {}
        () = for_good(Duration::from_millis(UPKEEP_MS), || kept_up.run_upkeep()) => {}
    }
    Ok(())
}

/// Does `work` after every `period`.
async fn for_good(period: Duration, work: impl Fn()) {
    loop {
        tokio::time::sleep(period).await;
        work();
    }
}

/// 200 unless only a new process can help; then 503 and why.
fn alive(health: &Health) -> (StatusCode, String) {
    health.dead().map_or((StatusCode::OK, "alive".to_owned()), |why| (StatusCode::SERVICE_UNAVAILABLE, why))
}

/// 200 when every part is ready, else 503 with what is not, and why.
fn ready(health: &Health) -> (StatusCode, String) {
    if health.is_ready() {
        return (StatusCode::OK, "ready".to_owned());
    }
    let reason = |(name, state): (String, PartState)| match state {
        PartState::Ready => None,
        PartState::NotReady(why) => Some(format!("{name}: {why}\n")),
    };
    (StatusCode::SERVICE_UNAVAILABLE, health.report().into_iter().filter_map(reason).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn upkeep_goes_on_where_nobody_asks_for_metrics() {
        let done = AtomicU32::new(0);
        let upkeep = for_good(Duration::from_millis(UPKEEP_MS), || {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert!(tokio::time::timeout(Duration::from_millis(3 * UPKEEP_MS + 1), upkeep).await.is_err());
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }
}
