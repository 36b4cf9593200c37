//! Effects: the calls, answers and records that a record causes. An effect is emitted at least
//! once. Its receiver drops it if it already has an effect with the same identity, so it takes
//! effect once (protocol rule P3).

use twqr_types::{
    Amount, Field, Issuer, MerchantTradeNo, OrderKey, PosId, Remark, ShardId, SpendableToken, StoreId, StoreName,
    TradeNo, UnRedeem, UnixMs,
};

use crate::{Command, EffectId, Limits, Position, Record, ReplyTo};

/// Something for a service to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A call for a worker to make.
    Task(Task),
    /// An answer for a caller.
    Reply(Reply),
    /// A record for another shard, or for this one.
    Forward(Forward),
}

/// A record from one order to another. Its time is that of its cause, so that it is the same record
/// each time it is emitted.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The identity of the effect.
    pub id: EffectId,
    /// The shard whose log gets the record.
    pub to: ShardId,
    /// The record to append there.
    pub record: Record,
}

/// A call for a worker to make.
#[derive(Clone, Debug)]
pub struct Task {
    /// The identity of the effect.
    pub id: EffectId,
    /// The payment's key.
    pub key: OrderKey,
    /// The payment's number, by which the issuer knows it.
    pub trade_no: TradeNo,
    /// The issuer to call.
    pub issuer: Issuer,
    /// The latest time to start sending it.
    pub send_by: UnixMs,
    /// An inquiry sent after this proves absence if the issuer does not know the number.
    pub absent_after: UnixMs,
    /// The limits on calls to the issuer.
    pub limits: Limits,
    /// Whether the movement is idempotent: see [`crate::Movement::is_idempotent`]. False for an
    /// inquiry.
    pub is_idempotent: bool,
    /// The protocol version of the policy that decided the task; 0 before the first policy.
    pub protocol_version: u32,
    /// The call to make.
    pub kind: TaskKind,
}

impl Task {
    /// The movement of the payment that the task is about.
    pub fn subject(&self) -> Subject {
        match &self.kind {
            TaskKind::Charge(_) => Subject::Charge,
            TaskKind::Refund(call) => Subject::Refund { number: call.number.clone(), trade_no: call.trade_no },
            TaskKind::Reverse(_) => Subject::Reversal,
            TaskKind::Inquire(subject) => subject.clone(),
        }
    }
}

/// The call that a task asks for.
#[derive(Clone, Debug)]
pub enum TaskKind {
    /// Charge the customer.
    Charge(Box<ChargeCall>),
    /// Refund a part of the payment, or all of it.
    Refund(Box<RefundCall>),
    /// Reverse what refunds have left of the payment.
    Reverse(Box<ReversalCall>),
    /// Inquire about a movement.
    Inquire(Subject),
}

/// One of a payment's movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The charge of the payment.
    Charge,
    /// One of its refunds.
    Refund {
        /// The refund's own MerchantTradeNo.
        number: MerchantTradeNo,
        /// The RefundTradeNo, by which the issuer identifies the refund.
        trade_no: TradeNo,
    },
    /// The reversal, which the issuer knows by the payment's number.
    Reversal,
}

/// The fields of a refund beyond the payment's number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RefundCall {
    /// The refund's own MerchantTradeNo.
    pub number: MerchantTradeNo,
    /// The RefundTradeNo of this refund.
    pub trade_no: TradeNo,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub pos_id: PosId,
    pub trade_amount: Amount,
    pub remark: Remark,
}

/// The fields of a reversal beyond the payment's number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct ReversalCall {
    pub store_id: StoreId,
    /// The amount of the payment that refunds have not returned, in whole TWD.
    pub amount: i64,
    pub remark: Remark,
}

/// The fields of a charge beyond the payment's number.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct ChargeCall {
    pub card_token: SpendableToken,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub pos_id: PosId,
    pub trade_amount: Amount,
    pub un_redeem: UnRedeem,
    pub remark: Remark,
}

/// An answer for a caller.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The identity of the effect.
    pub id: EffectId,
    /// The pending call that gets it.
    pub to: ReplyTo,
    /// Whether the order existed before the caller's request.
    pub repeat: bool,
    /// The content of the answer.
    pub body: ReplyBody,
}

/// The content of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The order, as it is right after the record that caused the answer.
    Order,
    /// There is no such order.
    NotFound,
    /// The key is in use for another request; these fields differ.
    Conflict(Vec<Field>),
    /// The order has the most watches that it may have.
    TooManyWatchers,
    /// The policy does not accept the merchant's key that signed the request.
    KeyRefused,
    /// The nonce of the request's signature was used before.
    Replayed,
}

/// Collects the effects of one record, and numbers them.
pub(crate) struct Emitter<'a> {
    cause: Position,
    effects: &'a mut Vec<Effect>,
    next: u32,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(cause: Position, effects: &'a mut Vec<Effect>) -> Self {
        Self { cause, effects, next: 0 }
    }

    /// The identity of the next effect.
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
        self.emit(Effect::Forward(Forward { id, to, record: Record { at, signed_by: None, nonce: None, command } }));
    }
}
