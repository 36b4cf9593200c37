//! Shorter times than the defaults, so that many failures and their resolution fit in a minute.

use twqr_config::{Config, PolicyDocument, list_faults};

/// How long a call to the wallet or FISC may take, in ms.
const CALL_TIMEOUT_MS: u64 = 3_600;
/// After this a Kafka group gives the partitions of a silent member to others, in ms.
const SESSION_TIMEOUT_MS: u32 = 2_000;
/// The window of every issuer, and the delay before the first inquiry, in ms. The window is longer
/// than a call may take, and hardly longer than it must be, as that of the wallet by default.
const WINDOW_MS: i64 = 5_000;
const FIRST_DELAY_MS: i64 = 300;

/// Returns the configuration with short times; a movement of money is sent within `send_within_ms`
/// or not at all.
pub fn with_short_times(config: Config, send_within_ms: i64) -> anyhow::Result<Config> {
    with_call_times(config, &CallTimes { call_timeout_ms: CALL_TIMEOUT_MS, send_within_ms, window_ms: WINDOW_MS })
}

/// The times of calls to issuers, in ms.
#[allow(clippy::struct_field_names, reason = "each name says its unit")]
pub(crate) struct CallTimes {
    /// How long a call may take before its outcome counts as unknown.
    pub(crate) call_timeout_ms: u64,
    /// A movement of money is sent within this time or not at all.
    pub(crate) send_within_ms: i64,
    /// The window of every issuer; longer than a call may take.
    pub(crate) window_ms: i64,
}

/// Returns the configuration with these times, and otherwise with short ones.
pub(crate) fn with_call_times(mut config: Config, times: &CallTimes) -> anyhow::Result<Config> {
    config.call_timeout_ms = times.call_timeout_ms;
    config.kafka.session_timeout_ms = SESSION_TIMEOUT_MS;
    let mut policy = config.policy.policy().map_err(|faults| anyhow::anyhow!("policy: {}", list_faults(&faults)))?;
    policy.send_within_ms = times.send_within_ms;
    for issuer in &mut policy.issuers {
        (issuer.resolution.window_ms, issuer.resolution.first_delay_ms) = (times.window_ms, FIRST_DELAY_MS);
    }
    config.policy = PolicyDocument::from_policy(&policy);
    Ok(config)
}
