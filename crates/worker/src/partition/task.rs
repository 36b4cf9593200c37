//! A task as a worker takes it.

use twqr_order::{EffectId, Limits, Subject};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo};
use twqr_wire::{
    bus,
    convert::{limits_from, subject_from},
};

/// A task with its identity checked.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: EffectId,
    pub(crate) key: OrderKey,
    /// Which of the payment's movements it is about.
    pub(crate) subject: Subject,
    /// What it sends; none where it only asks.
    pub(crate) transfer: Option<Transfer>,
    /// How many calls the issuer may get.
    pub(crate) limits: Limits,
    pub(crate) record: bus::Task,
}

/// What moves money: sent once, by the owner of the fresh task.
#[derive(Clone, Debug)]
pub(crate) enum Transfer {
    Charge(bus::ChargeTask),
    Refund(bus::RefundTask),
    Reversal(bus::ReversalTask),
}

impl Task {
    pub(super) fn parse(mut task: bus::Task) -> Result<Self, &'static str> {
        let id = task.id.ok_or("the task has no identity")?;
        let shard = u16::try_from(id.shard).map_err(|_| "the shard is out of range")?;
        let key = task.key.clone().ok_or("the task has no order key")?;
        let merchant_id = MerchantId::parse(key.merchant_id).map_err(|_| "merchant_id is out of its limits")?;
        let merchant_trade_no =
            MerchantTradeNo::parse(key.merchant_trade_no).map_err(|_| "merchant_trade_no is out of its limits")?;
        let limits = task.limits.map_or_else(Limits::default, limits_from);
        let (subject, transfer) = match task.kind.take() {
            Some(bus::task::Kind::Charge(charge)) => (Subject::Charge, Some(Transfer::Charge(charge))),
            Some(bus::task::Kind::Refund(refund)) => (refund_of(&refund)?, Some(Transfer::Refund(refund))),
            Some(bus::task::Kind::Reversal(reversal)) => (Subject::Reversal, Some(Transfer::Reversal(reversal))),
            Some(bus::task::Kind::Inquire(inquire)) => {
                (subject_from(inquire.subject).map_err(|_| "the subject of the inquiry is out of its limits")?, None)
            }
            None => return Err("the task does not say what to do"),
        };
        let id = EffectId { shard: ShardId(shard), offset: id.offset, n: id.n };
        Ok(Self { id, key: OrderKey { merchant_id, merchant_trade_no }, subject, transfer, limits, record: task })
    }
}

fn refund_of(refund: &bus::RefundTask) -> Result<Subject, &'static str> {
    let number = MerchantTradeNo::parse(refund.merchant_trade_no.clone());
    Ok(Subject::Refund {
        number: number.map_err(|_| "the refund's merchant_trade_no is out of its limits")?,
        trade_no: TradeNo::parse(&refund.trade_no).map_err(|_| "the refund's trade_no is none")?,
    })
}
