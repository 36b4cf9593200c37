//! Keys, numbers and identities, and the addresses of pending calls.

use twqr_order::{EffectId, ReplyTo, Subscriber, SubscriptionKind};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo, UnixMs};

use super::fault::{RecordFault, need};
use crate::bus;

/// Encodes an order's key.
pub(crate) fn key_out(key: &OrderKey) -> bus::OrderKey {
    bus::OrderKey {
        merchant_id: key.merchant_id.as_str().to_owned(),
        merchant_trade_no: key.merchant_trade_no.as_str().to_owned(),
    }
}

pub(crate) fn key_from(key: Option<bus::OrderKey>) -> Result<OrderKey, RecordFault> {
    let key = need(key, "key")?;
    Ok(OrderKey {
        merchant_id: MerchantId::parse(key.merchant_id).map_err(RecordFault::invalid("merchant_id"))?,
        merchant_trade_no: merchant_trade_no_from(key.merchant_trade_no)?,
    })
}

pub(crate) fn merchant_trade_no_from(number: String) -> Result<MerchantTradeNo, RecordFault> {
    MerchantTradeNo::parse(number).map_err(RecordFault::invalid("merchant_trade_no"))
}

/// Encodes an effect's identity.
pub(crate) fn effect_id_out(id: EffectId) -> bus::EffectId {
    bus::EffectId { shard: u32::from(id.shard.0), offset: id.offset, n: id.n }
}

pub(crate) fn effect_id_from(id: Option<bus::EffectId>) -> Result<EffectId, RecordFault> {
    let id = need(id, "effect id")?;
    let shard = u16::try_from(id.shard)
        .map_err(|_| RecordFault::Invalid { field: "shard", problem: "must be at most 65535".to_owned() })?;
    Ok(EffectId { shard: ShardId(shard), offset: id.offset, n: id.n })
}

pub(crate) fn trade_no_from(number: &str) -> Result<TradeNo, RecordFault> {
    TradeNo::parse(number).map_err(|e| RecordFault::Invalid { field: "trade_no", problem: e.to_string() })
}

pub(crate) fn issuer_from(institution: &str) -> Result<Issuer, RecordFault> {
    Issuer::from_wire(institution).map_err(|e| RecordFault::Invalid { field: "institution", problem: e.to_string() })
}

pub(crate) fn reply_to_out(to: ReplyTo) -> bus::ReplyTo {
    bus::ReplyTo { partition: to.partition, correlation: to.correlation, until_ms: to.until.0 }
}

pub(crate) fn reply_to_from(to: bus::ReplyTo) -> ReplyTo {
    ReplyTo { partition: to.partition, correlation: to.correlation, until: UnixMs(to.until_ms) }
}

pub(crate) fn subscribers_out(subscribers: &[Subscriber]) -> Vec<bus::Subscriber> {
    let subscriber = |s: &Subscriber| bus::Subscriber {
        reply_to: Some(reply_to_out(s.to)),
        repeat: s.repeat,
        until_rest: matches!(s.kind, SubscriptionKind::UntilAtRest | SubscriptionKind::CancelResult),
        is_cancel: s.kind == SubscriptionKind::CancelResult,
        always: s.kind == SubscriptionKind::AllChanges,
    };
    subscribers.iter().map(subscriber).collect()
}

pub(crate) fn subscribers_from(subscribers: Vec<bus::Subscriber>) -> Result<Vec<Subscriber>, RecordFault> {
    let subscriber = |s: bus::Subscriber| {
        let kind = match (s.always, s.until_rest, s.is_cancel) {
            (true, _, _) => SubscriptionKind::AllChanges,
            (false, true, false) => SubscriptionKind::UntilAtRest,
            (false, _, true) => SubscriptionKind::CancelResult,
            (false, false, false) => SubscriptionKind::Result,
        };
        need(s.reply_to, "reply_to").map(|to| Subscriber { to: reply_to_from(to), repeat: s.repeat, kind })
    };
    subscribers.into_iter().map(subscriber).collect()
}
