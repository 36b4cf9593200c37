//! The order machine: `(state, record) → (state, effects)`, a pure function over one log. No clock, no random, no I/O.
//!
//! Time comes in on the record, and an effect's identity is its cause's position. So two routers at the same position make the
//! same decision, whoever runs them, and an effect that is emitted again is recognised. The protocol around it is checked
//! exhaustively in the design's model; a change here that is visible there changes both.

mod apply;
mod effect;
mod payment;
mod policy;
mod record;
mod schedule;
mod versions;

pub use apply::{Applied, Step, apply};
pub use effect::{Charge, Effect, EffectId, Reply, ReplyBody, Task, TaskKind};
pub use payment::{
    ASKING_MS_MAX, Approval, Evidence, Failure, Payment, PaymentType, Phase, SUBSCRIBERS_MAX, Subscriber, Terms,
};
pub use policy::{Policy, PolicyFault, Resolution, Route, StatusCodes};
pub use record::{
    Command, Decline, DeclineKind, Outcome, Pay, PolicyChange, Position, Query, Record, ReplyTo, TaskResult,
};
pub use versions::PolicyVersions;
