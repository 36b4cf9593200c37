//! The tracker reads the topic `order-states` into a read model, and serves the operators' API from
//! it. When an order in progress is due for its next check, the tracker writes a due record for it.
//!
//! The tracker decides nothing about an order. The router ignores a due record that is early or no
//! longer needed, and takes a change of the policy only if its version is the next one.

mod alarms;
mod follow;
mod metrics;
mod model;
mod operators;
mod policies;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::task::JoinSet;
use twqr_consumer::DeadLetters;
use twqr_journal::{Journal, Topic};
use twqr_service::Context;

use follow::Follower;
pub use model::{MemoryModel, ModelError, ReadModel, ShardSnapshot, SqliteModel, StoredOrder, Watermark};
use policies::Policies;

/// The settings of the tracker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which the operators' API listens.
    pub listen: SocketAddr,
    /// The file of the read model; it is created if it does not exist.
    pub database: PathBuf,
    /// How long `ApplyPolicy` waits for the decision on a change, in ms: 100 to 60,000.
    pub policy_wait_ms: u64,
}

/// Why the tracker stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The read model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The operators' API cannot listen on its address.
    #[error("the operators' API cannot listen on {address}: {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
    /// gRPC reflection cannot be set up.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Follows every shard and serves the operators' API until `context.shutdown` fires.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let model = Arc::new(SqliteModel::open(&settings.database).await?);
    let policies = Arc::new(Policies::default());
    let following = follow_all(model.clone(), policies.clone(), journal.clone(), context.clone());
    let serving = operators::serve(&settings, model, policies, journal, context);
    tokio::pin!(following, serving);
    tokio::select! {
        () = &mut following => serving.await,
        served = &mut serving => {
            served?;
            following.await;
            Ok(())
        }
    }
}

/// Follows every shard into a read model until `context.shutdown` fires.
pub async fn follow(model: Arc<dyn ReadModel>, journal: Arc<dyn Journal>, context: Context) {
    follow_all(model, Arc::default(), journal, context).await;
}

async fn follow_all(model: Arc<dyn ReadModel>, policies: Arc<Policies>, journal: Arc<dyn Journal>, context: Context) {
    metrics::describe();
    let mut followers = JoinSet::new();
    for shard in 0..journal.partitions(Topic::OrderStates) {
        let (model, policies) = (model.clone(), policies.clone());
        let (journal, context) = (journal.clone(), context.clone());
        let dead_letters = DeadLetters::new(journal.clone(), context.clock.clone(), metrics::DEAD_LETTERS);
        let follower = Follower { shard, model, policies, journal, dead_letters, context };
        followers.spawn(follower.run());
    }
    while followers.join_next().await.is_some() {}
}
