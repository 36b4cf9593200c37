//! Authentication: follows the callers in the topic `callers`, and finds the caller of each call by
//! its API key or its certificate. The ingress and the tracker use this crate.
//!
//! A process that has not read the callers yet lets no call in. One that cannot read later changes
//! for a while continues with the callers that it has read.

mod access;
mod access_log;
mod follow;
mod metrics;
mod refusal;

pub use access::{Access, Grant};
pub use access_log::{AccessEvent, AccessLog, Verdict};
pub use follow::{CALLERS, CallersFollower, CallersView};
pub use metrics::METRICS;
pub use refusal::{AccessRefusal, MissingCredential};

/// How a listener authenticates its callers.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Whether only callers are let in over gRPC; otherwise every call is.
    pub required: bool,
    /// Whether a caller must show both an API key and a certificate over gRPC.
    pub key_and_certificate: bool,
    /// Whether the POS HTTP form lets in only callers, too, beside the merchants' signatures.
    pub pos_http_required: bool,
    /// The configured callers, which changes in the log replace.
    pub callers: Vec<twqr_callers::Caller>,
}
