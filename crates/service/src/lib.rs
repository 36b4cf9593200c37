//! What a process gives to each service that it runs: a clock, the signal to shut down, and a place
//! to report health. Also code that all services share: listeners with limits, pauses between
//! attempts, throttled logging, and the detection of stalled consumers.

mod background;
mod backoff;
mod clock;
mod connection;
mod container;
mod core_dumps;
mod gathered_writes;
mod grpc;
mod grpc_health;
mod health;
mod http;
mod issuer_metrics;
mod listen;
mod log_throttle;
mod measured_clock;
mod metrics;
mod open_files;
mod refusal_details;
mod signals;
mod socket;
mod stall_watch;
mod whole_body;

use std::sync::Arc;

pub use tokio_util::sync::CancellationToken;

pub use crate::metrics::METRICS;
pub use background::join_background;
pub use backoff::Backoff;
pub use clock::{Clock, SystemClock};
pub use connection::CallerConnection;
pub use container::ContainerLimits;
pub use core_dumps::forbid_core_dumps;
pub use gathered_writes::{GatheredWrites, GatheringConnector};
pub use grpc::{
    EndsWithConnection, GrpcSettings, NO_SUCH_METHOD, NO_SUCH_SERVICE, grpc_server, grpc_server_refusing,
    grpc_server_with_windows, serve_grpc,
};
pub use grpc_health::{GrpcHealth, grpc_health};
pub use health::{CARD_KEYS_PART, CLOCK_PART, Health, PROTOCOL_PART, Part, PartState};
pub use http::serve_http;
pub use issuer_metrics::{ISSUERS_MAX, IssuerMetrics, OTHER_ISSUERS};
pub use listen::Limits;
pub use log_throttle::LogThrottle;
pub use measured_clock::{MeasuredClock, SkewBounds};
pub use open_files::raise_open_files;
pub use refusal_details::refusal_details;
pub use signals::stop_on_signal;
pub use socket::{BoundSocket, ListenError, Listener};
pub use stall_watch::{StallWatch, Stalled};
pub use twqr_metric::{CALL_SECONDS, COUNTS, LONG_SECONDS, Metric, MetricKind, PART_SECONDS};
pub use twqr_tls::PeerCertificate;
pub use whole_body::read_whole;

/// The context that a service receives when it starts.
#[derive(Clone)]
pub struct Context {
    /// The only wall clock that the service reads.
    pub clock: Arc<dyn Clock>,
    /// When it fires, the service finishes what it has begun, leaves its consumer groups and
    /// returns.
    pub shutdown: CancellationToken,
    /// Where the service reports which of its parts are ready.
    pub health: Health,
}
