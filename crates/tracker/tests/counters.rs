//! The counters of a tracker exist with 0 from its start: the first increase of one that does not
//! exist yet is not seen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/served.rs"]
mod served;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use metrics_exporter_prometheus::PrometheusBuilder;
use served::{context, open_journal};
use twqr_access::AccessSettings;
use twqr_service::{BoundSocket, CancellationToken, MetricKind};
use twqr_tracker::{METRICS, Settings};

#[tokio::test]
async fn counters_exist_before_the_read_model_is_open() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _measuring = metrics::set_default_local_recorder(&recorder);
    let (folder, shutdown) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let database = folder.path().join("read-model.sqlite");
    let settings = Settings { database, policy_wait_ms: 10_000, access: AccessSettings::default() };
    let (journal, socket) = (open_journal(folder.path()), BoundSocket::on_loopback("operators").unwrap());
    let mut running = pin!(twqr_tracker::run(socket, settings, journal, context(&shutdown)));
    // Polled once, it waits for the read model, which a thread opens.
    assert!(poll_fn(|context| Poll::Ready(running.as_mut().poll(context).is_pending())).await);

    let shown = rendered.render();
    let is_zero = |start: &str| shown.lines().any(|line| line.starts_with(start) && line.ends_with(" 0"));
    for metric in METRICS.iter().filter(|metric| matches!(metric.kind, MetricKind::Counter)) {
        let start = if metric.labels.is_empty() { format!("{} ", metric.name) } else { format!("{}{{", metric.name) };
        assert!(is_zero(&start), "{} is not 0 at the start:\n{shown}", metric.name);
    }
}
