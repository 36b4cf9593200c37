//! What stands in the log of a shard: everything that can change an order.

use twqr_types::{
    Amount, KeyName, MerchantTradeNo, OrderKey, PayForm, PosId, RefundForm, Remark, ShardId, StatusCode, StoreId,
    StoreName, TradeNo, UnixMs,
};

use crate::{Approval, EffectId, Failure, Policy, RefundApproval, RefundSuccess, ReversalApproval};

/// The place of a record: the shard, and its offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The shard.
    pub shard: ShardId,
    /// The record's offset.
    pub offset: u64,
}

/// A record of a shard.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was written, by its writer's clock: the machine's only clock.
    pub at: UnixMs,
    /// The merchant's key with which the request was signed; none where there was no signature to
    /// check.
    pub signed_by: Option<KeyName>,
    /// What it says.
    pub command: Command,
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum Command {
    /// A router takes the shard. Changes no order.
    Claim {
        /// Who, for people.
        owner: Box<str>,
        /// Tells the owner its own claim among others.
        nonce: u64,
    },
    /// A payment is asked for.
    Pay(Box<Pay>),
    /// A refund is asked for, under its own number.
    Refund(Box<RefundRequest>),
    /// A payment is to be taken back.
    Cancel(Box<CancelRequest>),
    /// From a refund's shard to its payment's: may it be given back?
    Reserve(Box<Reserve>),
    /// From a payment's shard to its refund's: what came of it.
    RefundResult(Box<RefundResult>),
    /// Somebody asks for the order as it is.
    Query(Query),
    /// A worker tells what came of a task.
    Outcome(Box<Outcome>),
    /// The next check time of an order in progress has come.
    Due(OrderKey),
    /// From here on, other rules hold.
    Policy(Box<PolicyChange>),
}

impl Command {
    /// The order that the record is about; none for claims and policies.
    pub fn target(&self) -> Option<Target<'_>> {
        match self {
            Self::Pay(pay) => Some(Target::Key(&pay.form.key)),
            Self::Refund(refund) => Some(Target::Key(&refund.form.key)),
            Self::Cancel(cancel) => Some(Target::Key(&cancel.form.key)),
            Self::Reserve(reserve) => Some(Target::Number(reserve.payment)),
            Self::RefundResult(result) => Some(Target::Key(&result.key)),
            Self::Query(query) => Some(Target::Key(&query.key)),
            Self::Outcome(outcome) => Some(Target::Key(&outcome.key)),
            Self::Due(key) => Some(Target::Key(key)),
            Self::Claim { .. } | Self::Policy(_) => None,
        }
    }
}

/// How a record names its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By its key.
    Key(&'a OrderKey),
    /// By our number of a payment, which carries this shard.
    Number(TradeNo),
}

/// A refund request.
#[derive(Clone, Debug)]
pub struct RefundRequest {
    /// The request.
    pub form: RefundForm,
    /// Who waits for the answer.
    pub reply_to: Option<ReplyTo>,
}

/// A cancel request: the payment's own fields.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// The request.
    pub form: PayForm,
    /// Who waits for the answer.
    pub reply_to: Option<ReplyTo>,
}

/// A refund asks its payment: reserve this, and give it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The payment's number.
    pub payment: TradeNo,
    /// The refund's key: of the same merchant as the payment, or it is refused.
    pub refund: OrderKey,
    /// The refund's number (RefundTradeNo).
    pub trade_no: TradeNo,
    /// What is to be given back.
    pub amount: Amount,
    /// For the issuer, as it was asked.
    pub store_id: StoreId,
    /// For the issuer, as it was asked.
    pub store_name: StoreName,
    /// For the issuer, as it was asked.
    pub pos_id: PosId,
    /// For the issuer, as it was asked.
    pub remark: Remark,
}

/// A payment tells its refund what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundResult {
    /// The refund's key.
    pub key: OrderKey,
    /// What the customer got back, or why nothing.
    pub result: Result<RefundSuccess, Failure>,
}

/// A payment request.
#[derive(Clone, Debug)]
pub struct Pay {
    /// The request.
    pub form: PayForm,
    /// Who waits for the answer.
    pub reply_to: Option<ReplyTo>,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The partition of `replies`.
    pub partition: u32,
    /// The call that waits there.
    pub correlation: u64,
    /// After this nobody waits any more.
    pub until: UnixMs,
}

/// A question for the order as it is at this record.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which order.
    pub key: OrderKey,
    /// Who asks.
    pub reply_to: ReplyTo,
    /// Also tell every change, until `reply_to.until`, or until nothing of the order is in
    /// progress.
    pub watch: bool,
    /// With `watch`: also go on after that.
    pub keep: bool,
}

/// What came of a task.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of which payment.
    pub key: OrderKey,
    /// The task's identity.
    pub task: EffectId,
    /// What came of it.
    pub movement: MovementOutcome,
}

/// What came of a movement, and of which of a payment's movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MovementOutcome {
    /// Of the charge.
    Charge(TaskResult<Approval>),
    /// Of the refund with this number.
    Refund(MerchantTradeNo, TaskResult<RefundApproval>),
    /// Of the reversal. The issuer knows all reversals of a payment by one number, so whoever does
    /// not send a reversal because it may have been sent, but asks about it, reports a refusal as
    /// unknown unless it asked after `absent_after`: it may be an earlier one's.
    Reversal(TaskResult<ReversalApproval>),
}

/// What can come of a task. Done, declined, not sent and absent are evidence; unknown is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult<A> {
    /// It took effect.
    Done(A),
    /// The issuer, or FISC in its name, refused.
    Declined(Decline),
    /// The owner of the fresh task never sent it; why.
    NotSent(Box<str>),
    /// Nobody knows; why.
    Unknown(Box<str>),
    /// Asked after the window, the issuer did not know the number.
    Absent,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// By whom, and of which kind.
    pub kind: DeclineKind,
    /// The wallet's StatusCode, or the issuer's own code.
    pub code: Box<str>,
    /// For StatusDesc.
    pub reason: Box<str>,
}

impl Decline {
    /// Whether it is no evidence of a failure: the wallet's code is no StatusCode, or one that
    /// proves nothing.
    pub fn is_ambiguous(&self) -> bool {
        let proves_refusal = StatusCode::parse(&self.code).is_ok_and(StatusCode::proves_refusal);
        self.kind == DeclineKind::Wallet && !proves_refusal
    }
}

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineKind {
    /// The wallet; its code is a StatusCode.
    Wallet,
    /// Another issuer failed the trade.
    Issuer,
    /// The issuer takes no credit card for this store.
    CardNotSupported,
    /// FISC, before it reached the issuer.
    Fisc,
}

/// New rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The version that this is: 1 for the first. Shard 0 takes it only if its newest is the one
    /// before; the others take what shard 0 took.
    pub version: u64,
    /// The whole policy.
    pub policy: Policy,
    /// Who changed it.
    pub who: Box<str>,
    /// Why.
    pub why: Box<str>,
    /// When, by the clock of whoever changed it.
    pub at: UnixMs,
}
