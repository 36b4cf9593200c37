//! The tracker reads the topic `order-states` into a read model, and serves the operators' API from
//! it. When an order in progress is due for its next check, the tracker writes a due record for it.
//!
//! The tracker decides nothing about an order. The router ignores a due record that is early or no
//! longer needed, and applies a change of the policy only if its version is the next one.

mod alarms;
mod budgets;
mod directory;
mod feed;
mod follow;
mod metrics;
mod model;
mod model_writer;
mod operators;
mod policies;
mod states;

#[cfg(test)]
#[path = "../tests/support/payments.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]
mod payments;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::error;
use twqr_access::{AccessSettings, CallersFollower, CallersView};
use twqr_consumer::DeadLetters;
use twqr_journal::{Journal, Topic};
use twqr_service::{Backoff, BoundSocket, Context, ListenError, Part, join_background};

pub use crate::metrics::METRICS;
use budgets::Budgets;
use directory::TrackedDirectory;
use feed::Feed;
use follow::Follower;
use model::LateModel;
pub use model::{MemoryModel, ModelError, ReadModel, ShardSnapshot, SqliteModel, StoredOrder, Watermark};
use model_writer::ModelWriter;
use policies::Policies;

/// The settings of the tracker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file of the read model; it is created if it does not exist.
    pub database: PathBuf,
    /// How long `ApplyPolicy` waits for the decision on a change, in ms: 100 to 60,000.
    pub policy_wait_ms: u64,
    /// Which callers the operators' API lets in.
    pub access: AccessSettings,
}

/// The reason why the tracker stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The read model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The operators' API cannot listen on its address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// gRPC reflection cannot be set up.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The part of the operators' API in the health report.
pub const HEALTH_PART: &str = "tracker/api";

/// How long the start waits for the read model, in ms.
const OPEN_WAIT_MS: u64 = 5_000;
/// The shortest and the longest pause between attempts to open the read model, in ms.
const OPEN_PAUSE_MS_MIN: u64 = 100;
const OPEN_PAUSE_MS_MAX: u64 = 5_000;

/// Follows every shard and serves the operators' API on the socket until `context.shutdown` fires.
/// A damaged read model is an error. While it cannot be opened for another reason, such as a full
/// disk, alarms work without it, and the operators' API is served later.
pub async fn run(
    socket: BoundSocket,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
) -> Result<(), Error> {
    // The ingress of the same process may be ready long before the read model is open.
    metrics::register();
    operators::register_metrics();
    let api = context.health.part(HEALTH_PART);
    let model = Arc::new(LateModel::new(settings.database.clone()));
    match tokio::time::timeout(Duration::from_millis(OPEN_WAIT_MS), model.open()).await {
        Ok(Err(error)) if error.is_damaged => return Err(error.into()),
        Ok(Err(error)) => {
            error!(%error, "due records are written without the read model until it can be opened");
            api.degraded("the read model cannot be opened");
        }
        Ok(Ok(_)) => {}
        Err(_) => {
            error!("due records are written without the read model, because opening it takes long");
            api.degraded("the read model is being opened");
        }
    }
    let policies = Arc::new(Policies::default());
    let directory = Arc::new(TrackedDirectory::new(journal.partitions(Topic::Orders)));
    let rules = (policies.clone(), directory.clone());
    let (follower, callers) = CallersFollower::new(journal.clone(), &context.health, settings.access.callers.clone());
    let mut background = JoinSet::new();
    background.spawn(follower.run());
    let following = follow_all(model.clone(), rules, journal.clone(), context.clone());
    let serving = async {
        match until_open(&model, &context).await {
            Some(model) => {
                let listener = socket.listen()?;
                let ready = report_ready(&api, settings.access.required, callers.clone());
                let tracked = ((policies, directory), callers);
                let serving = operators::serve(listener, &settings, model, tracked, journal, context);
                tokio::pin!(serving);
                tokio::select! {
                    served = &mut serving => served,
                    () = ready => serving.await,
                }
            }
            None => Ok(()),
        }
    };
    tokio::pin!(following, serving);
    tokio::select! {
        // First it adds the parts of all shards, before that of the operators' API is ready.
        biased;
        () = &mut following => serving.await,
        served = &mut serving => {
            served?;
            following.await;
            Ok(())
        }
    }
}

/// Reports that the operators' API is ready: where only callers are let in, once it has read them,
/// since it refuses every call before that.
async fn report_ready(api: &Part, only_callers: bool, mut callers: CallersView) {
    if only_callers {
        api.not_ready("the callers are being read");
        callers.read().await;
    }
    api.ready();
}

/// Waits until the read model is open; `None` at shutdown.
async fn until_open(model: &LateModel, context: &Context) -> Option<Arc<SqliteModel>> {
    let mut backoff = Backoff::new(OPEN_PAUSE_MS_MIN, OPEN_PAUSE_MS_MAX);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return None,
            // The writers of the shards log and report why it cannot be opened.
            opened = model.open() => if let Ok(model) = opened { return Some(model.clone()) },
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
}

/// Follows every shard into a read model until `context.shutdown` fires.
pub async fn follow(model: Arc<dyn ReadModel>, journal: Arc<dyn Journal>, context: Context) {
    metrics::register();
    let directory = Arc::new(TrackedDirectory::new(journal.partitions(Topic::Orders)));
    follow_all(model, (Arc::default(), directory), journal, context).await;
}

/// The policy and the directory of merchants: the followers read them, the operators' API shows
/// them.
type TrackedRules = (Arc<Policies>, Arc<TrackedDirectory>);

async fn follow_all(
    model: Arc<dyn ReadModel>,
    (policies, directory): TrackedRules,
    journal: Arc<dyn Journal>,
    context: Context,
) {
    let (mut running, health) = (JoinSet::new(), context.health.clone());
    let budgets = Arc::new(Budgets::default());
    for shard in 0..journal.partitions(Topic::OrderStates) {
        let (model, journal, context) = (model.clone(), journal.clone(), context.clone());
        let feed = Arc::new(Feed::default());
        let writer = ModelWriter {
            shard,
            model: model.clone(),
            journal: journal.clone(),
            feed: feed.clone(),
            context: context.clone(),
        };
        running.spawn(writer.run());
        let dead_letters = DeadLetters::new(journal.clone(), &context, metrics::DEAD_LETTERS);
        let (policies, directory, budgets) = (policies.clone(), directory.clone(), budgets.clone());
        // Before any follower runs, so that the process is not ready in between.
        let part = context.health.part(format!("tracker/shard-{shard}"));
        let follower =
            Follower { shard, part, model, policies, directory, budgets, journal, dead_letters, feed, context };
        running.spawn(follower.run());
    }
    join_background(&mut running, &health.side_part("tracker/tasks")).await;
}
