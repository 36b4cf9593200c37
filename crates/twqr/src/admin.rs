//! The admin listener: metrics and health over HTTP, apart from every other listener.

use std::{future::IntoFuture, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use twqr_service::{CancellationToken, Health, PartState};

/// Buckets of durations, in seconds: dense where payments are, up to the POS's patience.
const SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Buckets of counts, such as the records of a batch.
const COUNTS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0, 16_384.0];
/// How often the recorder tidies its histograms, in seconds.
const UPKEEP_EVERY_S: u64 = 5;

/// Metrics are recorded from now on. Every histogram has explicit buckets.
pub(crate) fn record_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets(&COUNTS)?;
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    builder.install_recorder().context("metrics cannot be recorded")
}

/// Takes the port, so that a port that is taken is told before anything starts.
pub(crate) async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("admin.listen: cannot listen on {listen}"))
}

/// Serves until `stop` fires.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let upkeep = metrics.clone();
    let routes = Router::new()
        .route("/metrics", get(async move || metrics.render()))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(health);
    let mut tick = tokio::time::interval(Duration::from_secs(UPKEEP_EVERY_S));
    let mut served = std::pin::pin!(axum::serve(listener, routes).into_future());
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = &mut served => return ended.context("the admin listener failed"),
            _ = tick.tick() => upkeep.run_upkeep(),
        }
    }
}

/// 200 if every part is ready, else 503; either way, a line for each part.
async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let report = health.report();
    let line = |(name, state): (&String, &PartState)| match state {
        PartState::Ready => format!("{name}: ready\n"),
        PartState::NotReady(why) => format!("{name}: not ready: {why}\n"),
    };
    let text: String = report.iter().map(line).collect();
    if health.is_ready() { (StatusCode::OK, text) } else { (StatusCode::SERVICE_UNAVAILABLE, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn not_ready_names_every_part_and_why() {
        let health = Health::default();
        let (router, ingress) = (health.part("router/shard-0"), health.part("ingress"));
        ingress.ready();
        let (code, text) = ready(State(health.clone())).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "ingress: ready\nrouter/shard-0: not ready: starting\n");
        router.ready();
        assert_eq!(ready(State(health)).await.0, StatusCode::OK);
    }
}
