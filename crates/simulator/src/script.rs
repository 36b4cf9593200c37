//! The fault script: for the wallet and for each issuer, what goes wrong and how often. Everything is drawn from the seed and the
//! TradeNo, so that a run can be repeated.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole script, as it stands in TOML.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Another seed draws other faults with the same shares.
    pub seed: u64,
    /// The wallet.
    pub wallet: Faults,
    /// Other issuers by institution code; those that are not named have no faults.
    pub issuers: BTreeMap<String, Faults>,
}

/// What goes wrong at one issuer. Shares are 0.0 to 1.0 of the charges.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// From the charge to its answer, in ms: 0 to 60,000, spread over half to double of it.
    pub latency_ms: u32,
    /// What each account has at the beginning, in whole TWD; it is debited, and what it does not have is declined.
    pub balance: i64,
    /// How many accounts the issuer has: 1 to 10,000,000. A code belongs to one of them.
    pub accounts: u32,
    /// Charges that never arrive.
    pub lose_requests: f64,
    /// Charges that take effect while the answer is lost.
    pub lose_answers: f64,
    /// Charges that take effect at once and are answered only after `late_ms`.
    pub answer_late: f64,
    /// See `answer_late`; ms.
    pub late_ms: u32,
    /// Charges that are held back until an inquiry has said that they are unknown, and then take effect.
    pub land_after_inquiry: f64,
    /// Answers that come twice.
    pub answer_twice: f64,
    /// The issuer is in maintenance: FISC refuses everything for it.
    pub maintenance: bool,
    /// How long after `send_by` a held charge may still take effect, in ms.
    pub window_ms: i64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            balance: 1_000_000,
            accounts: 10_000,
            lose_requests: 0.0,
            lose_answers: 0.0,
            answer_late: 0.0,
            late_ms: 0,
            land_after_inquiry: 0.0,
            answer_twice: 0.0,
            maintenance: false,
            window_ms: 3_000,
        }
    }
}

/// The script cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault script: {0}")]
pub struct ScriptError(String);

impl Script {
    /// Reads TOML; the error names the key, what was wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let script: Self = toml::from_str(text).map_err(|error| ScriptError(error.to_string()))?;
        let named = script.issuers.iter().map(|(code, faults)| (format!("issuers.{code}"), faults));
        for (place, faults) in named.chain([("wallet".to_owned(), &script.wallet)]) {
            faults.check(&place)?;
        }
        Ok(script)
    }

    /// The faults of an issuer; the empty code is the wallet.
    pub fn faults(&self, institution: &str) -> Faults {
        if institution.is_empty() {
            self.wallet.clone()
        } else {
            self.issuers.get(institution).cloned().unwrap_or_default()
        }
    }
}

impl Faults {
    fn check(&self, place: &str) -> Result<(), ScriptError> {
        let shares = [
            ("lose_requests", self.lose_requests),
            ("lose_answers", self.lose_answers),
            ("answer_late", self.answer_late),
            ("land_after_inquiry", self.land_after_inquiry),
            ("answer_twice", self.answer_twice),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(ScriptError(format!("{place}.{key} is {share}, must be 0.0 to 1.0")));
            }
        }
        if shares[..4].iter().map(|(_, share)| share).sum::<f64>() > 1.0 {
            return Err(ScriptError(format!(
                "{place}: the shares of lost, late and held charges add up to more than 1.0"
            )));
        }
        if !(1..=10_000_000).contains(&self.accounts) {
            return Err(ScriptError(format!("{place}.accounts is {}, must be 1 to 10000000", self.accounts)));
        }
        if self.latency_ms > 60_000 {
            return Err(ScriptError(format!("{place}.latency_ms is {}, must be 0 to 60000", self.latency_ms)));
        }
        Ok(())
    }
}
