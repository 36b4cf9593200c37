//! The router: for each shard that it claims, it applies the records of `orders` in batches, emits
//! the effects, and writes checkpoints in the background. The order machine (`twqr-order`) makes
//! every decision; the router only reads, appends and stores states (protocol rule P2).

mod batch;
mod checkpoint;
mod directory;
mod early_records;
#[cfg(test)]
mod golden_replay;
mod loading;
mod metrics;
mod newest_claim;
mod outgoing;
mod owner;
mod reply_appends;
mod restore;
mod shard;
mod shard_keeper;
mod spans;
mod standby;
mod states_end;
mod store;
mod superseded;

use std::sync::Arc;

use twqr_consumer::{TopicMember, hold_partitions};
use twqr_journal::{Journal, JournalError, Topic};
use twqr_order::{Policy, PolicyFault};
use twqr_service::{Context, Stalled};
use twqr_wire::convert::RecordFault;

pub use crate::metrics::METRICS;
use reply_appends::ReplyAppends;
use standby::OwnedShards;
pub use store::{DiskStore, MemoryStore, ReferenceStore, StateStore, StoreError, StoreMark, StoredState};

/// The configuration of a router.
#[derive(Clone)]
pub struct Settings {
    /// The name of this process among the routers: unique, and stable over restarts.
    pub member: String,
    /// The first policy, used only if the log has none yet. Later policies are records in the log
    /// (protocol rule P7).
    pub policy: Policy,
    /// How long changed states may wait before they are written to `order-states`, in ms: 10 to
    /// 10,000.
    pub checkpoint_interval_ms: u64,
    /// Whether this process follows the states of shards that other routers own, so that it can
    /// take them over quickly.
    pub standby: bool,
    /// The local store of the orders' states.
    pub store: Arc<dyn StateStore>,
}

/// The reason why the router, or the owner of one shard, had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed; the shard is claimed again.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The local store failed; the process ends.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The reader of the shard stalled; the shard is claimed again.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// The shard's policy cannot be read, so nothing can be decided.
    #[error("the shard's policy in order-states cannot be read by this build ({0}); run a build that reads it")]
    UnreadablePolicy(RecordFault),
    /// An entry of the shard's directory of merchants cannot be read, so no payment can be decided.
    #[error(
        "the shard's directory of merchants in order-states cannot be read by this build ({0}); run a build that reads it"
    )]
    UnreadableListing(RecordFault),
    /// The shard's policy has a protocol version that this build does not know.
    #[error("the shard's policy: {0}")]
    UnknownProtocol(PolicyFault),
}

/// The state that the owners of all shards share.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) context: Context,
    pub(crate) replies: Arc<ReplyAppends>,
    pub(crate) owned: Arc<OwnedShards>,
    pub(crate) refused: Arc<shard_keeper::RefusedLogs>,
}

/// Runs until `context.shutdown` fires: owns each shard that the group assigns to this process, and
/// each whose router shows no more life. At the end it leaves the group, and keeps working until
/// other routers have claimed its shards, so that no payment waits in the meantime. Fails if
/// another living router has the same member name.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    metrics::register(journal.partitions(Topic::Orders));
    // A process that owns no shard may not know the policy in force.
    metrics::register_issuers(Some(&settings.policy));
    let replies = ReplyAppends::new(journal.clone(), &context.health);
    let owned = Arc::<OwnedShards>::default();
    let standby = {
        let (is_on, journal) = (settings.standby && journal.is_shared(), journal.clone());
        let (store, owned, health) = (settings.store.clone(), owned.clone(), context.health.clone());
        async move {
            if !is_on {
                std::future::pending::<()>().await;
            }
            standby::follow_others(journal, store, owned, health).await
        }
    };
    let (shared, refused) = (journal.clone(), Arc::default());
    let links = Links { journal: shared, context: context.clone(), replies: replies.clone(), owned, refused };
    let check = {
        let (settings, links) = (settings.clone(), links.clone());
        move |index| shard_keeper::check_log(index, settings.clone(), links.clone())
    };
    let member = TopicMember::new(journal, Topic::Orders, settings.member.clone());
    let part = |index: u32| format!("router/shard-{index}");
    let keep = move |held| shard_keeper::keep(held, settings.clone(), links.clone());
    tokio::select! {
        held = hold_partitions(member, &context, part, check, keep) => Ok(held?),
        never = replies.clone().reset_ingresses() => match never {},
        never = standby => match never {},
    }
}
