//! The read model: the newest state of each order and the versions of the policy, as read from
//! `order-states`. It is stored, so a restarted tracker continues where it stopped.

mod late;
mod memory;
mod queries;
mod sqlite;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use twqr_consumer::KnownBeginnings;
use twqr_journal::Offset;
use twqr_order::{
    CancelStage, ListingChange, Movement, Order, Payment, Phase, PolicyVersions, RefundPhase, ReversalApproval,
};
use twqr_types::{OrderKey, StatusCode, UnixMs};

pub(crate) use late::LateModel;
pub use memory::MemoryModel;
pub(crate) use queries::{ListFilter, OrderHistory, SettledBy, SettlementFilter, TimelineEntry, UnreadableOrder};
pub use sqlite::SqliteModel;

/// The state of an order at a position of its shard.
#[derive(Clone, Debug)]
pub struct StoredOrder {
    /// The order in this state.
    pub order: Order,
    /// The state reflects all records of the order's shard below this offset.
    pub position: u64,
    /// This is the first state that was read of the order, and it is final: the order itself is its
    /// whole timeline, so no timeline rows are stored for it.
    pub is_only_state: bool,
}

/// The newest state of each order. This need not be the last one in the log: a router that lost its
/// shard while it was stalled may still write older states.
pub(crate) fn newest_states(states: &[StoredOrder]) -> impl Iterator<Item = &StoredOrder> {
    let mut newest: HashMap<&OrderKey, &StoredOrder> = HashMap::new();
    for state in states {
        let known = newest.entry(state.order.key()).or_insert(state);
        if known.position <= state.position {
            *known = state;
        }
    }
    newest.into_values()
}

/// How much of a shard the read model reflects.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    /// All records of `order-states` below this offset are applied.
    pub next: Offset,
    /// All states that come from records of `orders` below this offset are applied. This is the
    /// highest marker that was read since the last start. If the stored one is higher, the model
    /// keeps it.
    pub marker: u64,
    /// The beginnings in `order-states` that were read, by which the topic is recognised.
    pub beginnings: KnownBeginnings,
}

/// The data of a shard in the read model with which a follower continues.
#[derive(Clone, Debug, Default)]
pub struct ShardSnapshot {
    /// The offset in `order-states` to continue at.
    pub next: Offset,
    /// The beginnings that were read below that offset.
    pub beginnings: KnownBeginnings,
    /// The orders that are not final.
    pub in_progress: Vec<StoredOrder>,
    /// The versions of the policy, and the position that they reflect.
    pub policies: Option<(u64, PolicyVersions)>,
    /// The stored states that cannot be read, and what to do; they are missing above.
    pub unreadable: Vec<String>,
}

/// The read model cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("read model{}: {reason}", place.as_deref().map(|place| format!(" {place}")).unwrap_or_default())]
pub struct ModelError {
    /// The path of the file; `None` for a model in memory.
    pub place: Option<String>,
    /// The failure, and what to do about it.
    pub reason: String,
    /// Only a new file helps, or another build; trying again does not.
    pub is_damaged: bool,
}

/// Stores the newest state of each order together with how far `order-states` was read, in one
/// transaction.
#[async_trait]
pub trait ReadModel: Send + Sync + 'static {
    /// Reads what is stored of a shard; empty before the first write.
    async fn snapshot(&self, shard: u32) -> Result<ShardSnapshot, ModelError>;

    /// Returns those of these orders whose stored state is newer than the given position.
    async fn superseded(&self, shard: u32, states: Vec<(OrderKey, u64)>) -> Result<HashSet<OrderKey>, ModelError>;

    /// Stores states and the watermark. A state older than the stored one changes nothing.
    async fn apply(&self, shard: u32, watermark: Watermark, states: Arc<Vec<StoredOrder>>) -> Result<(), ModelError>;

    /// Stores a shard's versions of the policy as of `position`. Versions older than the stored
    /// ones change nothing.
    async fn store_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError>;

    /// Reads the newest version of each entry of a shard's directory of merchants. Of shards that
    /// only follow, the content may be missing.
    async fn listings(&self, shard: u32) -> Result<Vec<Arc<ListingChange>>, ModelError>;

    /// Stores newest versions of entries of a shard's directory. A version older than the stored
    /// one changes nothing.
    async fn store_listings(&self, shard: u32, changes: Arc<Vec<Arc<ListingChange>>>) -> Result<(), ModelError>;
}

/// When a paid payment or a successful refund counts in the books; `None` for other orders.
fn booked_at(order: &Order) -> Option<UnixMs> {
    match order {
        Order::Payment(payment) => payment.is_paid().then(|| payment.charge.booked_at()),
        Order::Refund(refund) => matches!(refund.phase, RefundPhase::Succeeded(_)).then(|| refund.booked_at()),
        Order::EarlyCancel(_) => None,
    }
}

/// The reversal of a payment's charge, if it took effect.
pub(crate) fn completed_reversal(order: &Order) -> Option<&Movement<ReversalApproval>> {
    let cancel = order.as_payment()?.cancel.as_ref()?;
    match &cancel.stage {
        CancelStage::Reversing(reversal) => reversal.done().map(|_| reversal),
        CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => None,
    }
}

/// The name of the order's phase in the read model and the operators' API.
fn phase_name(order: &Order) -> &'static str {
    match order {
        Order::Payment(payment) => payment_phase_name(payment),
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Requested { .. } => "requested",
            RefundPhase::Succeeded(_) => "succeeded",
            RefundPhase::Failed(_) => "failed",
        },
        Order::EarlyCancel(_) => "cancelled_before",
    }
}

fn payment_phase_name(payment: &Payment) -> &'static str {
    match &payment.charge.phase {
        Phase::Sent { .. } => return "paying",
        Phase::Unresolved { .. } => return "unresolved",
        Phase::Inquiring { .. } => return "asking",
        Phase::Failed(_) => return "failed",
        Phase::Done(_) => {}
    }
    match &payment.cancel {
        Some(cancel) if cancel.is_complete() => return "cancelled",
        Some(cancel) if cancel.is_in_progress() => return "cancelling",
        Some(_) | None => {}
    }
    match payment.refunded() {
        _ if !payment.is_at_rest() => "refunding",
        0 => "paid",
        all if all >= payment.terms.trade_amount.twd() => "refunded",
        _ => "partly_refunded",
    }
}

/// The StatusCode of a failed order; `None` for all others.
fn status_code(order: &Order) -> Option<StatusCode> {
    let failure = match order {
        Order::Payment(payment) => payment.charge.failure(),
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Failed(failure) => Some(failure),
            RefundPhase::Requested { .. } | RefundPhase::Succeeded(_) => None,
        },
        Order::EarlyCancel(_) => None,
    };
    failure.map(|failure| failure.status_code)
}

/// The issuer's institution code (empty for the wallet, and while it is unknown) and the amount in
/// whole TWD.
fn institution_and_amount(order: &Order) -> (&str, i64) {
    match order {
        Order::Payment(payment) => {
            (payment.issuer.as_ref().map_or("", |issuer| issuer.as_wire()), payment.terms.trade_amount.twd())
        }
        Order::Refund(refund) => {
            let institution = match &refund.phase {
                RefundPhase::Succeeded(success) => success.issuer.as_wire(),
                RefundPhase::Requested { .. } | RefundPhase::Failed(_) => "",
            };
            (institution, refund.terms.trade_amount.twd())
        }
        Order::EarlyCancel(cancelled) => ("", cancelled.trade_amount),
    }
}
