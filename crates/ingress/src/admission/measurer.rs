//! Measures how long a shard takes to decide a record, while calls of it are undecided: a probe is
//! appended behind them and answered by the router as it reads it. So the delay contains the
//! append, the router's queue and the way back, but no time of an issuer.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Instant};
use twqr_types::ShardId;

use super::Admission;
use crate::{metrics, probe::Probe, router_client::RouterClient};

/// The shortest time between two probes of a shard, in ms.
const PROBES_MS: u64 = 25;

/// Measures the shards that the admission names.
pub(crate) struct Measurer {
    pub(crate) router: RouterClient,
    pub(crate) shards: mpsc::Receiver<ShardId>,
}

impl Measurer {
    /// Measures until the task is dropped.
    pub(crate) async fn run(mut self) {
        let mut measured = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(shard) = self.shards.recv() => measured.push(measure(self.router.clone(), shard)),
                Some(()) = measured.next() => {}
                else => return,
            }
        }
    }
}

/// Measures a shard until it needs no measurement any more.
async fn measure(router: RouterClient, shard: ShardId) {
    let admission: Arc<Admission> = router.admission.clone();
    let Some(probe) = Probe::on(shard, router.shards) else { return };
    while let Some(measurement) = admission.change(shard, |lane| lane.measure(Instant::now())) {
        let began = Instant::now();
        let is_answered = probe.is_answered(&router).await;
        let delay = admission.change(shard, |lane| {
            let now = Instant::now();
            if is_answered { lane.answered(measurement, now) } else { lane.unanswered(measurement, now) }
        });
        metrics::decision_delay(delay);
        tokio::time::sleep_until(began + Duration::from_millis(PROBES_MS)).await;
    }
}
