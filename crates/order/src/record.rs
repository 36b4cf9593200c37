//! The records of a shard's log: everything that can change an order (protocol rule P1).

use twqr_types::{
    Amount, KeyName, MerchantId, MerchantTradeNo, OrderKey, PayForm, PosId, RefundForm, Remark, StatusCode, StoreId,
    StoreName, TradeNo, UnixMs,
};

use crate::{
    Approval, EffectId, Failure, HoldRecord, ListingChange, Nonce, Policy, RefundApproval, RefundSuccess, ReplyTo,
    ReversalApproval,
};

/// A record of a shard's log.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was written, by its writer's clock. The machine has no other clock.
    pub at: UnixMs,
    /// The name of the merchant's key that signed the request; `None` if the request was not
    /// signed.
    pub signed_by: Option<KeyName>,
    /// The nonce of the request's signature; `None` if it has none.
    pub nonce: Option<Nonce>,
    /// The content of the record.
    pub command: Command,
}

/// The content of a record: a request, a result, or a change of the policy.
#[derive(Clone, Debug)]
pub enum Command {
    /// A router takes the shard, gives it back, or shows that it works. It changes no order.
    Hold(HoldRecord),
    /// A caller requests a payment.
    Pay(Box<Pay>),
    /// A caller requests a refund, under the refund's own number.
    Refund(Box<RefundRequest>),
    /// A caller requests the cancel of a payment.
    Cancel(Box<CancelRequest>),
    /// A refund order asks its payment to reserve the amount and to refund it.
    Reserve(Box<Reserve>),
    /// A payment sends the result of a refund to the refund order.
    RefundResult(Box<RefundResult>),
    /// A caller inquires about the order.
    Query(Query),
    /// A worker reports the outcome of a task.
    Outcome(Box<Outcome>),
    /// An order in progress is due: see [`crate::Order::due_at`].
    Due(OrderKey),
    /// A version of the policy takes effect.
    Policy(Box<PolicyChange>),
    /// The shard's books are closed up to this time, exclusive: see [`crate::Closings`].
    CloseBooks(UnixMs),
    /// A version of an entry of the directory of merchants takes effect.
    Listing(Box<ListingChange>),
}

impl Command {
    /// The order that the record is about; `None` for holds, policies, listings and closings.
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
            Self::Hold(_) | Self::Policy(_) | Self::Listing(_) | Self::CloseBooks(_) => None,
        }
    }

    /// The merchant whose listing decides the record, and the store if that counts, too.
    pub fn listed(&self) -> Option<(&MerchantId, Option<&StoreId>)> {
        match self {
            Self::Pay(pay) => Some((&pay.form.key.merchant_id, Some(&pay.form.store_id))),
            Self::Reserve(reserve) => Some((&reserve.refund.merchant_id, Some(&reserve.store_id))),
            Self::Refund(refund) => Some((&refund.form.key.merchant_id, None)),
            Self::Cancel(cancel) => Some((&cancel.form.key.merchant_id, None)),
            Self::Query(query) => Some((&query.key.merchant_id, None)),
            Self::RefundResult(_)
            | Self::Outcome(_)
            | Self::Due(_)
            | Self::Hold(_)
            | Self::Policy(_)
            | Self::Listing(_)
            | Self::CloseBooks(_) => None,
        }
    }
}

/// How a record names its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By its key.
    Key(&'a OrderKey),
    /// By the payment's TradeNo, which contains this shard.
    Number(TradeNo),
}

/// A request for a refund.
#[derive(Clone, Debug)]
pub struct RefundRequest {
    /// The request, within all limits.
    pub form: RefundForm,
    /// The address of the answer; `None` if no caller waits.
    pub reply_to: Option<ReplyTo>,
}

/// A request to cancel a payment. It has the payment's own fields.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// The request, within all limits.
    pub form: PayForm,
    /// The address of the answer; `None` if no caller waits.
    pub reply_to: Option<ReplyTo>,
}

/// The request of a refund order to its payment to reserve the amount and to refund it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The payment's TradeNo.
    pub payment: TradeNo,
    /// The refund's key. Its merchant must be the payment's, or the refund is refused.
    pub refund: OrderKey,
    /// The refund's number (RefundTradeNo).
    pub trade_no: TradeNo,
    /// The amount to refund.
    pub amount: Amount,
    /// As requested, for the issuer.
    pub store_id: StoreId,
    /// As requested, for the issuer.
    pub store_name: StoreName,
    /// As requested, for the issuer.
    pub pos_id: PosId,
    /// As requested, for the issuer.
    pub remark: Remark,
}

/// The answer of a payment to its refund order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundResult {
    /// The refund's key.
    pub key: OrderKey,
    /// The success, or why the refund failed.
    pub result: Result<RefundSuccess, Failure>,
}

/// A request for a payment.
#[derive(Clone, Debug)]
pub struct Pay {
    /// The request, within all limits.
    pub form: PayForm,
    /// The address of the answer; `None` if no caller waits.
    pub reply_to: Option<ReplyTo>,
}

/// An inquiry about the order as it is at this record.
#[derive(Clone, Debug)]
pub struct Query {
    /// The order's key.
    pub key: OrderKey,
    /// The address of the answer.
    pub reply_to: ReplyTo,
    /// Also send every change, until `reply_to.until`, or until the order is at rest.
    pub watch: bool,
    /// With `watch`: continue after the order is at rest.
    pub keep: bool,
}

/// The outcome of a task, as a worker reports it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The payment's key.
    pub key: OrderKey,
    /// The task's identity.
    pub task: EffectId,
    /// The movement, and its result.
    pub movement: MovementOutcome,
}

/// The result of one of a payment's movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MovementOutcome {
    /// The result of the charge.
    Charge(TaskResult<Approval>),
    /// The result of the refund with this number.
    Refund(MerchantTradeNo, TaskResult<RefundApproval>),
    /// The result of the reversal. An issuer knows every reversal of a payment by the payment's
    /// number, so an inquiry may find the refusal of an earlier reversal. A worker that inquires
    /// instead of sending therefore reports a refusal as unknown, unless it inquired after
    /// `absent_after`.
    Reversal(TaskResult<ReversalApproval>),
}

/// The result of a task. All but `Unknown` are evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult<A> {
    /// The movement took effect.
    Done(A),
    /// The issuer refused, or FISC refused on its behalf.
    Declined(Decline),
    /// The worker that owned the fresh task did not send it; the text says why.
    NotSent(Box<str>),
    /// The result is unknown; the text says why.
    Unknown(Box<str>),
    /// An inquiry after the window found that the issuer does not know the number.
    Absent,
}

/// A refusal by the issuer, or by FISC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The refuser, and the kind of refusal.
    pub kind: DeclineKind,
    /// The wallet's StatusCode, or the issuer's own code.
    pub code: Box<str>,
    /// The reason, for StatusDesc.
    pub reason: Box<str>,
}

impl Decline {
    /// Whether it is not evidence of a failure: the wallet's code is not a StatusCode, or is one
    /// that proves nothing.
    pub fn is_ambiguous(&self) -> bool {
        let proves_refusal = StatusCode::parse(&self.code).is_ok_and(StatusCode::proves_refusal);
        self.kind == DeclineKind::Wallet && !proves_refusal
    }
}

/// The refuser, and the kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineKind {
    /// The wallet; its code is a StatusCode.
    Wallet,
    /// Another issuer failed the trade.
    Issuer,
    /// Another issuer takes no credit card for this store.
    CardNotSupported,
    /// FISC refused before it reached the issuer.
    Fisc,
}

/// A new version of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The version's number, from 1. Shard 0 takes a version only if its number is the next one;
    /// the other shards follow shard 0.
    pub version: u64,
    /// The whole policy, not a difference.
    pub policy: Policy,
    /// Who changed it, for people.
    pub who: Box<str>,
    /// The reason, for people.
    pub why: Box<str>,
    /// When it was changed, by the clock of the process that made the change.
    pub at: UnixMs,
}
