//! The read model: what `order-states` says, kept so that a restart goes on where it was.

mod memory;
mod queries;
mod sqlite;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use twqr_journal::Offset;
use twqr_order::{Order, Payment, Phase, PolicyVersions, RefundPhase};
use twqr_types::{OrderKey, StatusCode};

pub use memory::MemoryModel;
pub(crate) use queries::{ListFilter, SettledBy, SettlementFilter};
pub use sqlite::SqliteModel;

/// A state that was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The order.
    pub order: Order,
    /// Records of its shard below this are reflected.
    pub position: u64,
    /// The first that was seen of the order is its end: the order itself is its whole timeline.
    pub is_whole: bool,
}

/// How far a shard is applied.
#[derive(Clone, Copy, Debug)]
pub struct Upto {
    /// Records of `order-states` below this are reflected.
    pub next: Offset,
    /// So are all states that come from records of `orders` below this, as its router said: the
    /// highest marker since the last start; one that is lower than the one kept changes nothing.
    pub marker: u64,
}

/// What the model knows of a shard.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The offset in `order-states` to go on at.
    pub next: Offset,
    /// Orders that have not ended.
    pub in_progress: Vec<Seen>,
    /// The versions of the rules, and the position that they reflect.
    pub policies: Option<(u64, PolicyVersions)>,
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

    /// Keeps states, and that the shard is applied up to there. A state that is older than the one
    /// kept changes nothing. Returns the orders whose state was taken; some of other shards may be
    /// among them.
    async fn apply(&self, shard: u32, upto: Upto, seen: Arc<Vec<Seen>>) -> Result<Arc<HashSet<OrderKey>>, ModelError>;

    /// Keeps a shard's versions of the rules as of `position`. Older ones than are kept change
    /// nothing.
    async fn keep_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError>;
}

/// The phase's name in the read model and the operators' API.
fn phase_name(order: &Order) -> &'static str {
    match order {
        Order::Payment(payment) => payment_phase_name(payment),
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Requested { .. } => "requested",
            RefundPhase::Succeeded(_) => "succeeded",
            RefundPhase::Failed(_) => "failed",
        },
        Order::Cancelled(_) => "cancelled_before",
    }
}

fn payment_phase_name(payment: &Payment) -> &'static str {
    match &payment.charge.phase {
        Phase::Sent { .. } => return "paying",
        Phase::Unresolved { .. } => return "unresolved",
        Phase::Asking { .. } => return "asking",
        Phase::Failed(_) => return "failed",
        Phase::Done(_) => {}
    }
    match &payment.cancel {
        Some(cancel) if cancel.is_done() => return "cancelled",
        Some(cancel) if cancel.is_open() => return "cancelling",
        Some(_) | None => {}
    }
    match payment.refunded() {
        _ if !payment.is_at_rest() => "refunding",
        0 => "paid",
        all if all >= payment.terms.trade_amount.twd() => "refunded",
        _ => "partly_refunded",
    }
}

/// The StatusCode of a failure.
fn status_code(order: &Order) -> Option<StatusCode> {
    let failure = match order {
        Order::Payment(payment) => payment.charge.failure(),
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Failed(failure) => Some(failure),
            RefundPhase::Requested { .. } | RefundPhase::Succeeded(_) => None,
        },
        Order::Cancelled(_) => None,
    };
    failure.map(|failure| failure.status_code)
}

/// The issuer's institution code, and the amount in whole TWD.
fn institution_and_amount(order: &Order) -> (&str, i64) {
    match order {
        Order::Payment(payment) => {
            (payment.issuer.as_ref().map_or("", |issuer| issuer.institution()), payment.terms.trade_amount.twd())
        }
        Order::Refund(refund) => {
            let institution = match &refund.phase {
                RefundPhase::Succeeded(success) => success.issuer.institution(),
                RefundPhase::Requested { .. } | RefundPhase::Failed(_) => "",
            };
            (institution, refund.terms.trade_amount.twd())
        }
        Order::Cancelled(cancelled) => ("", cancelled.trade_amount),
    }
}
