//! FISC's worker: a lane for each institution, so that a slow one stops nobody else.

use std::sync::Arc;

use twqr_journal::{Journal, Topic};
use twqr_service::Context;
use twqr_worker::{Error, GrpcBackend, Lanes};

/// What the worker needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process among the FISC workers: unique, and stable over restarts.
    pub member: String,
    /// FISC, as a URI such as `http://127.0.0.1:50062`.
    pub fisc: String,
    /// How long a call may take before its outcome is unknown, in ms: 10 to 60,000.
    pub call_timeout_ms: u64,
}

/// Runs until `context.shutdown` fires; then finishes the calls in flight and releases its
/// partitions.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let engine = twqr_worker::Settings {
        topic: Topic::FiscTasks,
        member: settings.member,
        backend: Arc::new(GrpcBackend::new("FISC", settings.fisc)?),
        call_timeout_ms: settings.call_timeout_ms,
        lanes: Arc::new(Lanes::default()),
    };
    twqr_worker::run(engine, journal, context).await
}
