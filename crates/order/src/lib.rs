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

pub use apply::{Applied, Step, apply, refuse_unknown_payment};
pub use cancel::{Cancel, CancelStage, CancelledBefore};
pub use effect::{
    Charge, Effect, EffectId, Forward, RefundCall, Reply, ReplyBody, ReverseCall, Subject, Task, TaskKind,
};
pub use movement::{ASKING_MS_MAX, Evidence, Failure, Movement, Phase, Refunded, Reversed};
pub use order::Order;
pub use payment::{
    Approval, CALLS_MAX, Payment, PaymentType, REFUNDS_MAX, RefundEntry, Subscriber, Terms, WATCHES_MAX, WaitsFor,
};
pub use policy::{
    Alphabet, IssuerRules, Limits, Merchant, Policy, PolicyFault, PolicyReading, RefundRule, RefundScope, Replay,
    Replayed, Resolution, Route, RouteTarget, Routing, StatusCodes, Store, Window,
};
pub use record::{
    Came, CancelRequest, Command, Decline, DeclineKind, Outcome, Pay, PolicyChange, Position, Query, Record,
    RefundRequest, RefundResult, ReplyTo, Reserve, Target, TaskResult,
};
pub use refund::{Refund, RefundPhase, RefundSuccess, RefundTerms};
pub use versions::{POLICY_SHARD, PolicyVersions};
