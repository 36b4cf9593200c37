//! What the machine wants done. Emitted at least once, taking effect once: whoever receives one
//! drops what it already has.

use std::fmt;

use twqr_types::{
    Amount, CardToken, Field, Issuer, MerchantTradeNo, OrderKey, PosId, Remark, ShardId, StoreId, StoreName, TradeNo,
    UnRedeem, UnixMs,
};

use crate::{Command, Limits, Position, Record, ReplyTo};

/// The identity of an effect: the position of its cause, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId {
    /// The shard of the cause.
    pub shard: ShardId,
    /// The offset of the cause.
    pub offset: u64,
    /// The effect's number, from 0.
    pub n: u32,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.shard.0, self.offset, self.n)
    }
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A call for a worker to make.
    Task(Task),
    /// An answer for who waits.
    Reply(Reply),
    /// A record for another shard, or this one.
    Forward(Forward),
}

/// A record between orders. Its time is that of its cause, so that it is the same record whenever
/// it is emitted.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Its identity.
    pub id: EffectId,
    /// To which shard.
    pub to: ShardId,
    /// The record.
    pub record: Record,
}

/// A call for a worker to make.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its identity.
    pub id: EffectId,
    /// Of which order.
    pub key: OrderKey,
    /// The payment's number, by which the issuer knows it.
    pub trade_no: TradeNo,
    /// Whom to call.
    pub issuer: Issuer,
    /// After this nobody starts to send it.
    pub send_by: UnixMs,
    /// Asked after this, "not known" proves absence.
    pub absent_after: UnixMs,
    /// How many calls the issuer may get.
    pub limits: Limits,
    /// What to do.
    pub kind: TaskKind,
}

impl Task {
    /// The movement of the payment that this is about.
    pub fn subject(&self) -> Subject {
        match &self.kind {
            TaskKind::Charge(_) => Subject::Charge,
            TaskKind::Refund(call) => Subject::Refund { number: call.number.clone(), trade_no: call.trade_no },
            TaskKind::Reverse(_) => Subject::Reversal,
            TaskKind::Inquire(subject) => subject.clone(),
        }
    }
}

/// What a task asks for.
#[derive(Clone, Debug)]
pub enum TaskKind {
    /// Charge the customer.
    Charge(Box<ChargeCall>),
    /// Give back a part of the payment, or all of it.
    Refund(Box<RefundCall>),
    /// Take back what is left of the payment.
    Reverse(Box<ReversalCall>),
    /// Ask what became of a movement.
    Inquire(Subject),
}

/// Which of a payment's movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The charge.
    Charge,
    /// A refund.
    Refund {
        /// Its own MerchantTradeNo.
        number: MerchantTradeNo,
        /// Our number for it, by which the issuer knows it.
        trade_no: TradeNo,
    },
    /// The reversal, which the issuer knows by the payment's number.
    Reversal,
}

/// What a refund needs beyond the payment's number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RefundCall {
    /// The refund's own MerchantTradeNo.
    pub number: MerchantTradeNo,
    /// Our number for the refund.
    pub trade_no: TradeNo,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub pos_id: PosId,
    pub trade_amount: Amount,
    pub remark: Remark,
}

/// What a reversal needs beyond the payment's number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct ReversalCall {
    pub store_id: StoreId,
    /// What refunds have left, in whole TWD.
    pub amount: i64,
    pub remark: Remark,
}

/// What a charge needs beyond the order's number.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct ChargeCall {
    pub card_token: CardToken,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub pos_id: PosId,
    pub trade_amount: Amount,
    pub un_redeem: UnRedeem,
    pub remark: Remark,
}

/// An answer for who waits.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its identity.
    pub id: EffectId,
    /// For whom.
    pub to: ReplyTo,
    /// The order was there before the request that waits.
    pub repeat: bool,
    /// What it says.
    pub body: ReplyBody,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The order, as it is right after the record that caused this.
    Order,
    /// There is no such order.
    NotFound,
    /// There is one under this key, for another request; these fields differ.
    Conflict(Vec<Field>),
    /// Too many watch this order already.
    TooManyWatchers,
    /// The merchant's key with which the request was signed does not count.
    KeyRefused,
}

/// Numbers the effects of one record.
pub(crate) struct Emitter<'a> {
    cause: Position,
    effects: &'a mut Vec<Effect>,
    next: u32,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(cause: Position, effects: &'a mut Vec<Effect>) -> Self {
        Self { cause, effects, next: 0 }
    }

    /// The identity that the next effect will have.
    pub(crate) fn next_id(&self) -> EffectId {
        EffectId { shard: self.cause.shard, offset: self.cause.offset, n: self.next }
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
        self.next += 1;
    }

    pub(crate) fn reply(&mut self, to: ReplyTo, repeat: bool, body: ReplyBody) {
        let id = self.next_id();
        self.emit(Effect::Reply(Reply { id, to, repeat, body }));
    }

    pub(crate) fn forward(&mut self, to: ShardId, at: UnixMs, command: Command) {
        let id = self.next_id();
        self.emit(Effect::Forward(Forward { id, to, record: Record { at, signed_by: None, command } }));
    }
}
