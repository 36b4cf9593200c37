//! What every service gets from whoever runs it: a clock, the word to stop, and a place to say how
//! it is.

mod clock;
mod health;
mod http;
mod listen;
mod open_files;
mod progress;
mod seldom;

use std::sync::Arc;

pub use tokio_util::sync::CancellationToken;

pub use clock::{Clock, SystemClock};
pub use health::{Health, Part, PartState};
pub use http::serve_http;
pub use listen::{Connection, Limits, connections, grpc_server};
pub use open_files::raise_open_files;
pub use progress::Progress;
pub use seldom::Seldom;

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
