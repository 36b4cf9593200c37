//! The order machine: a pure function `(state, record) → (state, effects)` over the log of one
//! shard. It has no clock, no randomness and no I/O.
//!
//! The time comes from the record, and an effect is identified by the position of the record that
//! caused it. So two routers at the same position decide the same, and an effect that is emitted
//! again is recognised as a repeat. The protocol around the machine is defined in
//! `crates/ARCHITECTURE.md`.
//!
//! Start with [`Order`] (the states), [`Command`] (what the log says) and [`apply`] (one record
//! applied to one order). Each command is decided in its own file under `apply/`.

mod apply;
mod attention;
mod cancel;
mod closings;
mod effect;
mod hold;
mod listing;
mod movement;
mod nonce;
mod order;
mod payment;
mod policy;
mod position;
mod record;
mod refund;
mod remembering;
mod replay_starts;
mod reply_to;
mod schedule;
mod versions;

pub use apply::{AppliedStep, Step, apply, refuse_unknown_payment};
pub use attention::Attention;
pub use cancel::{Cancel, CancelStage, EarlyCancel};
pub use closings::{CLOSINGS_SINCE, Closings};
pub use effect::{ChargeCall, Effect, Forward, RefundCall, Reply, ReplyBody, ReversalCall, Subject, Task, TaskKind};
pub use hold::{Alive, HoldRecord, Process, claim_counts};
pub use listing::{
    Directory, Listing, ListingChange, ListingKey, ListingVersions, Listings, MerchantListing, StoreListing,
};
pub use movement::{
    Evidence, Failure, HELD_BACK_MS_MAX, INQUIRY_MS_MAX, Movement, Phase, RefundApproval, ReversalApproval,
};
pub use nonce::{NONCES_MAX, NONCES_SINCE, Nonce, Nonces};
pub use order::Order;
pub use payment::{
    Approval, CALLS_MAX, Payment, PaymentType, REFUND_NUMBERS_MAX, REFUNDS_MAX, RefundEntry, Subscriber,
    SubscriptionKind, Terms, WATCHES_MAX,
};
pub use policy::{
    AcceptedMerchants, Alphabet, IssuerRules, Limits, Merchant, PROTECTED_TOKENS_SINCE, PROTOCOL_VERSION_NEWEST,
    Policy, PolicyFault, PolicyReader, RefundRule, RefundScope, Replay, ReplayedPayment, Resolution, Route,
    RouteTarget, Routing, StatusCodes, Store, Window,
};
pub use position::{EffectId, Position};
pub use record::{
    CancelRequest, Command, Decline, DeclineKind, MovementOutcome, Outcome, Pay, PolicyChange, Query, Record,
    RefundRequest, RefundResult, Reserve, Target, TaskResult,
};
pub use refund::{Refund, RefundPhase, RefundSuccess, RefundTerms};
pub use remembering::Remembering;
pub use reply_to::ReplyTo;
pub use versions::{POLICY_SHARD, PolicyVersions, Rules};
