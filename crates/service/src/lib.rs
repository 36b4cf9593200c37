//! What every service gets from whoever runs it: a clock, the word to stop, and a place to say how it is.

mod clock;
mod health;
mod listen;
mod progress;

use std::sync::Arc;

pub use tokio_util::sync::CancellationToken;

pub use clock::{Clock, SystemClock};
pub use health::{Health, Part, PartState};
pub use listen::connections;
pub use progress::Progress;

/// Given to each service at its start.
#[derive(Clone)]
pub struct Context {
    /// The only clock that the service reads.
    pub clock: Arc<dyn Clock>,
    /// When it fires, the service drains, leaves in good order and returns.
    pub shutdown: CancellationToken,
    /// Where it says what is ready.
    pub health: Health,
}
