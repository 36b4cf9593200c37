//! The fault script: for the wallet and for each issuer, what goes wrong and how often. Everything
//! is drawn from the seed and the number of the charge, refund or reversal, so that a run can be
//! repeated.

use std::collections::BTreeMap;

use serde::Deserialize;
use twqr_types::InstitutionCode;

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

/// What goes wrong at one issuer. Shares are 0.0 to 1.0 of the calls: charges, refunds and
/// reversals, each by its own draw.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// From the call to its answer, in ms: 0 to 60,000, spread over half to double of it.
    pub latency_ms: u32,
    /// What each account has at the beginning, in whole TWD; it is debited, what it does not have
    /// is declined, and refunds go back to it.
    pub balance: i64,
    /// How many accounts the issuer has: 1 to 10,000,000. A code belongs to one of them.
    pub accounts: u32,
    /// Calls that never arrive.
    pub lose_requests: f64,
    /// Calls that take effect while the answer is lost.
    pub lose_answers: f64,
    /// Calls that take effect at once and are answered only after `late_ms`.
    pub answer_late: f64,
    /// See `answer_late`; ms.
    pub late_ms: u32,
    /// Calls that are held back until an inquiry has said that they are unknown, and then take
    /// effect.
    pub land_after_inquiry: f64,
    /// Answers that come twice.
    pub answer_twice: f64,
    /// The issuer is in maintenance: FISC refuses everything for it.
    pub maintenance: bool,
    /// How long after `send_by` a held call may still take effect, in ms.
    pub window_ms: i64,
    /// Charges that are answered Approved, and 50 ms later Declined. Where the answer is late
    /// (`answer_late`), only the second one comes.
    pub contradict: f64,
    /// Refunds that are refused whenever they come. 0.0 at the wallet: there a refund's Remark
    /// provokes a refusal.
    pub refuse_refunds: f64,
    /// Charges whose reversals are refused whenever they come. 0.0 at the wallet, which always
    /// reverses.
    pub refuse_reversals: f64,
    /// Charges whose first reversal is refused. 0.0 at the wallet.
    pub refuse_reversals_once: f64,
    /// The issuer gives its customers' carriers. The wallet always does.
    pub carrier: bool,
    /// Charges with a carrier that is none, to be dropped.
    pub bad_carrier: f64,
    /// Charges by credit card with the whole card number, to be masked.
    pub unmasked_card: f64,
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
            contradict: 0.0,
            refuse_refunds: 0.0,
            refuse_reversals: 0.0,
            refuse_reversals_once: 0.0,
            carrier: false,
            bad_carrier: 0.0,
            unmasked_card: 0.0,
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
        for code in script.issuers.keys() {
            InstitutionCode::parse(code).map_err(|error| ScriptError(format!("issuers.{code:?}: {error}")))?;
        }
        let named = script.issuers.iter().map(|(code, faults)| (format!("issuers.{code}"), faults));
        for (place, faults) in named.chain([("wallet".to_owned(), &script.wallet)]) {
            faults.check(&place)?;
        }
        script.wallet.check_wallet()?;
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
    fn check_wallet(&self) -> Result<(), ScriptError> {
        for (key, share) in [
            ("refuse_refunds", self.refuse_refunds),
            ("refuse_reversals", self.refuse_reversals),
            ("refuse_reversals_once", self.refuse_reversals_once),
        ] {
            if share > 0.0 {
                return Err(ScriptError(format!(
                    "wallet.{key} is {share}, must be 0.0: only other issuers refuse by share"
                )));
            }
        }
        Ok(())
    }

    fn check(&self, place: &str) -> Result<(), ScriptError> {
        let shares = [
            ("lose_requests", self.lose_requests),
            ("lose_answers", self.lose_answers),
            ("answer_late", self.answer_late),
            ("land_after_inquiry", self.land_after_inquiry),
            ("answer_twice", self.answer_twice),
            ("contradict", self.contradict),
            ("refuse_refunds", self.refuse_refunds),
            ("refuse_reversals", self.refuse_reversals),
            ("refuse_reversals_once", self.refuse_reversals_once),
            ("bad_carrier", self.bad_carrier),
            ("unmasked_card", self.unmasked_card),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(ScriptError(format!("{place}.{key} is {share}, must be 0.0 to 1.0")));
            }
        }
        if shares[..4].iter().map(|(_, share)| share).sum::<f64>() > 1.0 {
            return Err(ScriptError(format!(
                "{place}: the shares of lost, late and held calls add up to more than 1.0"
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

#[cfg(test)]
mod tests {
    //! Scripts that cannot be.

    use super::*;

    #[test]
    fn scripts_that_cannot_be_are_refused_by_key() {
        for (text, expected) in [
            ("[wallet]\nlatency = 3", "unknown field `latency`"),
            ("[issuers.391]\nlose_answers = 2.0", "issuers.391.lose_answers is 2, must be 0.0 to 1.0"),
            (
                "[issuers.391]\nrefuse_reversals_once = -0.1",
                "issuers.391.refuse_reversals_once is -0.1, must be 0.0 to 1.0",
            ),
            ("[issuers.3911]\nlatency_ms = 1", "issuers.\"3911\": "),
            ("[wallet]\nunmasked_card = 7", "wallet.unmasked_card is 7, must be 0.0 to 1.0"),
            ("[issuers.004]\nbad_carrier = nan", "issuers.004.bad_carrier is NaN"),
            ("[issuers.004]\ncontradict = 1.5", "issuers.004.contradict is 1.5"),
            ("[issuers.004]\nrefuse_refunds = 1.5", "issuers.004.refuse_refunds is 1.5"),
            ("[wallet]\nrefuse_reversals = 0.5", "wallet.refuse_reversals is 0.5, must be 0.0"),
            ("[wallet]\nlose_requests = 0.6\nlose_answers = 0.6", "more than 1.0"),
        ] {
            let error = Script::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
