//! Finds another living process with this process's member name. Names must be unique: brokers and
//! operators identify a process by it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::error;
use twqr_order::Process;
use twqr_service::CancellationToken;

/// How long signs of another process must be seen: those of a predecessor that has just ended may
/// arrive late.
const SEEN_FOR: Duration = Duration::from_secs(1);
/// A process that meets its double within this time after its start refuses to run. Later it is the
/// older one, and continues.
const NEW_FOR: Duration = Duration::from_secs(10);

/// The processes with our name whose signs of life were read.
#[derive(Clone)]
pub(crate) struct Doubles {
    me: Process,
    started: Instant,
    /// By nonce: when the process was seen first.
    seen: Arc<Mutex<BTreeMap<u64, Instant>>>,
    /// Fires when this process must not run.
    pub(crate) refused: CancellationToken,
}

impl Doubles {
    pub(crate) fn new(me: Process) -> Self {
        Self { me, started: Instant::now(), seen: Arc::default(), refused: CancellationToken::new() }
    }

    /// Notes the writer of a sign of life.
    pub(crate) fn note(&self, now: Instant, by: &Process) {
        if by.name != self.me.name || by.nonce == self.me.nonce {
            return;
        }
        let first = *self.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(by.nonce).or_insert(now);
        if now < first + SEEN_FOR || self.refused.is_cancelled() {
            return;
        }
        if first < self.started + NEW_FOR {
            self.refused.cancel();
        } else if now < first + SEEN_FOR * 2 {
            error!(member = %self.me.name, "another process with the same member name is alive; set a different member for each process");
        }
    }
}
