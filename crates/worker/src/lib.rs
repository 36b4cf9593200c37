//! The workers: they read tasks from the task partitions that they hold, call the wallet or FISC,
//! and write the outcomes to `orders`. A task that moves money is sent at most once, by the worker
//! that held the partition when the task was written; otherwise the worker inquires about its
//! outcome, or sends the task again if the policy calls its issuer idempotent (protocol rule P6).
//!
//! There are two configurations of one engine: [`Settings::wallet`] and [`Settings::fisc`].

mod answer;
mod backend;
mod call;
mod connection;
mod engine;
mod error;
mod holding;
mod lanes;
mod link;
mod metrics;
mod obstacle;
mod partition;
mod read_position;
mod sealed_tokens;
mod settings;

pub use crate::metrics::METRICS;
pub use backend::{Answers, Backend, Calls, GrpcBackend};
pub use connection::Resolver;
pub use engine::run;
pub use error::Error;
pub use lanes::Lanes;
pub use settings::Settings;
