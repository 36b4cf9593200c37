//! The order machine: `(state, record) → (state, effects)`, a pure function over one log. No clock,
//! no random, no I/O.
//!
//! Time comes in on the record, and an effect's identity is its cause's position. So two routers at
//! the same position make the same decision, whoever runs them, and an effect that is emitted again
//! is recognised. The protocol around it is checked exhaustively in the design's model; a change
//! here that is visible there changes both.

mod apply;
mod cancel;
mod effect;
mod movement;
mod order;
mod payment;
mod policy;
mod record;
mod refund;
mod schedule;
mod versions;

pub use apply::{AppliedStep, Step, apply, refuse_unknown_payment};
pub use cancel::{Cancel, CancelStage, EarlyCancel};
pub use effect::{
    ChargeCall, Effect, EffectId, Forward, RefundCall, Reply, ReplyBody, ReversalCall, Subject, Task, TaskKind,
};
pub use movement::{Evidence, Failure, INQUIRY_MS_MAX, Movement, Phase, RefundApproval, ReversalApproval};
pub use order::Order;
pub use payment::{
    Approval, CALLS_MAX, Payment, PaymentType, REFUNDS_MAX, RefundEntry, Subscriber, SubscriptionKind, Terms,
    WATCHES_MAX,
};
pub use policy::{
    Alphabet, IssuerRules, Limits, Merchant, Policy, PolicyFault, PolicyReader, RefundRule, RefundScope, Replay,
    ReplayedPayment, Resolution, Route, RouteTarget, Routing, StatusCodes, Store, Window,
};
pub use record::{
    CancelRequest, Command, Decline, DeclineKind, MovementOutcome, Outcome, Pay, PolicyChange, Position, Query, Record,
    RefundRequest, RefundResult, ReplyTo, Reserve, Target, TaskResult,
};
pub use refund::{Refund, RefundPhase, RefundSuccess, RefundTerms};
pub use versions::{POLICY_SHARD, PolicyVersions};
