//! The settings by which the wallet's and FISC's workers differ: topic, backend and lanes.

use std::{sync::Arc, time::Duration};

use twqr_card_keys::CardKeys;
use twqr_journal::Topic;
use twqr_order::{HELD_BACK_MS_MAX, Policy};
use twqr_types::Issuer;

use crate::{backend::Backend, lanes::Lanes, metrics};

/// A stream counts as dead when the backend answers no call for as long as so many calls may take,
/// one after the other.
const SILENT_CALLS: u64 = 2;

/// The configuration of a worker.
#[derive(Clone)]
pub struct Settings {
    /// The topic whose tasks it takes.
    pub topic: Topic,
    /// The name of this process among the workers of the topic: unique, and stable over restarts.
    pub member: String,
    /// The wallet or FISC.
    pub backend: Arc<dyn Backend>,
    /// How long a call may take before its outcome counts as unknown, in ms: 10 to 60,000.
    pub call_timeout_ms: u64,
    /// The limits on the calls to each issuer.
    pub lanes: Arc<Lanes>,
    /// The keys that open the card tokens of charges.
    pub card_keys: CardKeys,
}

impl Settings {
    /// The wallet's worker: it calls one issuer, so it has one lane.
    pub fn wallet(member: String, wallet: Arc<dyn Backend>, call_timeout_ms: u64) -> Self {
        let (topic, lanes) = (Topic::WalletTasks, Arc::new(Lanes::single()));
        Self { topic, member, backend: wallet, call_timeout_ms, lanes, card_keys: CardKeys::default() }
    }

    /// Makes the counters of the issuers that this policy names exist, so that their first increase
    /// is seen. Their limits are shown with the first task, which brings those in force.
    #[must_use]
    pub fn with_series_of(self, policy: &Policy) -> Self {
        let calls_wallet = self.topic == Topic::WalletTasks;
        metrics::touch(policy.named_issuers().filter(|issuer| (*issuer == Issuer::Wallet) == calls_wallet));
        self
    }

    /// How long after `send_by` a call may be unfinished, or held back by a worker's connection, in
    /// ms. The sender's clock may be behind by `skew_max_ms`, and this one ahead by as much.
    pub(crate) fn held_back_ms_max(&self, skew_max_ms: i64) -> i64 {
        HELD_BACK_MS_MAX
            .saturating_add(skew_max_ms.saturating_mul(2))
            .max(i64::try_from(self.call_timeout_ms).unwrap_or(i64::MAX))
    }

    /// How long a backend may answer no call before its stream counts as dead.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms * SILENT_CALLS)
    }

    /// FISC's worker: it has a lane for each institution behind FISC, so that a slow institution
    /// delays no other.
    pub fn fisc(member: String, fisc: Arc<dyn Backend>, call_timeout_ms: u64) -> Self {
        let (topic, lanes) = (Topic::FiscTasks, Arc::new(Lanes::by_institution()));
        Self { topic, member, backend: fisc, call_timeout_ms, lanes, card_keys: CardKeys::default() }
    }
}
