//! A task as a worker takes it.

use twqr_order::EffectId;
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardId};
use twqr_wire::bus;

/// A task with its identity checked.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: EffectId,
    pub(crate) key: OrderKey,
    pub(crate) charge: Option<bus::ChargeTask>,
    pub(crate) record: bus::Task,
}

impl Task {
    pub(super) fn parse(mut task: bus::Task) -> Result<Self, &'static str> {
        let id = task.id.ok_or("the task has no identity")?;
        let shard = u16::try_from(id.shard).map_err(|_| "the shard is out of range")?;
        let key = task.key.clone().ok_or("the task has no order key")?;
        let merchant_id = MerchantId::parse(key.merchant_id).map_err(|_| "merchant_id is out of its limits")?;
        let merchant_trade_no =
            MerchantTradeNo::parse(key.merchant_trade_no).map_err(|_| "merchant_trade_no is out of its limits")?;
        let charge = match task.kind.take() {
            Some(bus::task::Kind::Charge(charge)) => Some(charge),
            Some(bus::task::Kind::Inquire(_)) => None,
            None => return Err("the task does not say what to do"),
        };
        let id = EffectId { shard: ShardId(shard), offset: id.offset, n: id.n };
        Ok(Self { id, key: OrderKey { merchant_id, merchant_trade_no }, charge, record: task })
    }
}
