//! Metrics and health for operators.

use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use twqr_service::{CancellationToken, Health, PartState};

/// The buckets of durations, in seconds: from a millisecond to what a POS waits.
const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0];

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
    let living = health.clone();
    let router = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/healthz", get(move || async move { alive(&living) }))
        .route("/readyz", get(move || async move { ready(&health) }));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
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
