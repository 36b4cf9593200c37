//! The read model: what `order-states` says, kept so that a restart goes on where it was.

mod memory;
mod queries;
mod sqlite;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use twqr_journal::Offset;
use twqr_order::{Payment, Phase};
use twqr_types::{OrderKey, UnixMs};

pub use memory::MemoryModel;
pub(crate) use queries::{ListFilter, SettlementFilter};
pub use sqlite::SqliteModel;

/// A state that was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The order.
    pub payment: Payment,
    /// Records of its shard below this are reflected.
    pub position: u64,
    /// The first that was seen of the order is its end: the order itself is its whole timeline.
    pub is_whole: bool,
}

/// What the model knows of a shard.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The offset in `order-states` to go on at.
    pub next: Offset,
    /// Orders that have not ended.
    pub in_progress: Vec<Seen>,
}

/// The model cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("read model{}: {reason}", place.as_deref().map(|place| format!(" {place}")).unwrap_or_default())]
pub struct ModelError {
    /// Its file, where it has one.
    pub place: Option<String>,
    /// What happened, and what to do.
    pub reason: String,
}

/// Keeps the newest state of each order, and how far `order-states` was read, in one step.
#[async_trait]
pub trait ReadModel: Send + Sync + 'static {
    /// What is known of a shard.
    async fn begin(&self, shard: u32) -> Result<Known, ModelError>;

    /// Keeps states, and that `order-states` is applied up to `next`. A state that is older than the one kept changes nothing.
    /// Returns the orders whose state was taken; some of other shards may be among them.
    async fn apply(&self, shard: u32, next: Offset, seen: Arc<Vec<Seen>>)
    -> Result<Arc<HashSet<OrderKey>>, ModelError>;
}

/// The phase's name in the read model and the operators' API.
fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Paying { .. } => "paying",
        Phase::Unresolved { .. } => "unresolved",
        Phase::Asking { .. } => "asking",
        Phase::Paid(_) => "paid",
        Phase::Failed(_) => "failed",
    }
}

/// The StatusCode of a failure; empty otherwise.
fn status_code(phase: &Phase) -> &str {
    match phase {
        Phase::Failed(failure) => &failure.status_code,
        Phase::Paying { .. } | Phase::Unresolved { .. } | Phase::Asking { .. } | Phase::Paid(_) => "",
    }
}

/// When the order moved money for good; none while it has not.
fn settled_at(payment: &Payment) -> Option<UnixMs> {
    match &payment.phase {
        Phase::Paid(_) => Some(payment.changed_at),
        Phase::Paying { .. } | Phase::Unresolved { .. } | Phase::Asking { .. } | Phase::Failed(_) => None,
    }
}
