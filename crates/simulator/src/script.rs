//! The fault script: what goes wrong at the wallet and at each issuer, and how often. Each fault is
//! drawn from the script's seed and the number of the charge, refund or reversal, so a run can be
//! repeated.

use std::collections::BTreeMap;

use serde::Deserialize;
use twqr_types::{InstitutionCode, Issuer};

use crate::{IssuerKind, KindChoice};

/// A fault script, as it is written in TOML.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The seed of all draws. Another seed gives the same shares of faults, but to other calls.
    pub seed: u64,
    /// The kind of the issuers that name none. Without it the wallet is idempotent and other
    /// issuers are plain.
    pub kind: Option<IssuerKind>,
    /// The wallet's faults.
    pub wallet: Faults,
    /// The faults of other issuers by institution code; an issuer without an entry has none.
    pub issuers: BTreeMap<String, Faults>,
}

/// The faults at one issuer. Shares, from 0.0 to 1.0, are shares of its charges, refunds and
/// reversals; each call has its own draw.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// What the issuer does with late and repeated calls; see [`IssuerKind`]. Without it
    /// the script's `kind` applies.
    pub kind: Option<IssuerKind>,
    /// Typical time from a call to its answer, in ms: 0 to 60,000. Each answer takes half to twice
    /// this time.
    pub latency_ms: u32,
    /// The opening balance of each account, in whole TWD. Charges above the balance are refused;
    /// refunds return to it.
    pub balance: i64,
    /// The number of the issuer's accounts: 1 to 10,000,000. Each code belongs to one of them.
    pub accounts: u32,
    /// Share of the calls that never arrive.
    pub lose_requests: f64,
    /// Share of the calls that take effect but whose answer is lost.
    pub lose_answers: f64,
    /// Share of the calls that take effect at once but are answered only after `late_ms`.
    pub answer_late: f64,
    /// Delay of the answers that are late, in ms; see `answer_late`.
    pub late_ms: u32,
    /// Share of the calls that are held back. They take effect 200 ms after an inquiry has answered
    /// that they are unknown, or when `window_ms` is over; they are not answered.
    pub land_after_inquiry: f64,
    /// Share of the answers that are sent twice.
    pub answer_twice: f64,
    /// The issuer is in maintenance: FISC refuses every call to it.
    pub maintenance: bool,
    /// Time after `send_by` when a held call takes effect at the latest, in ms. The policy's window
    /// for the issuer must be longer.
    pub window_ms: i64,
    /// Share of the charges that are answered Approved, and Declined 50 ms later. If the answer is
    /// late (`answer_late`), only the second one is sent.
    pub contradict: f64,
    /// Share of the charges and refunds that are refused when they arrive for the first time. An
    /// issuer that remembers refusals refuses them permanently; others decide a repeat by its
    /// merits.
    pub refuse_first: f64,
    /// Share of the refunds that are refused at every attempt. Must be 0.0 for the wallet: there a
    /// refund's Remark provokes a refusal.
    pub refuse_refunds: f64,
    /// Share of the charges whose reversal is refused at every attempt. Must be 0.0 for the wallet,
    /// which always reverses.
    pub refuse_reversals: f64,
    /// Share of the charges whose first reversal is refused. Must be 0.0 for the wallet.
    pub refuse_reversals_once: f64,
    /// The issuer returns its customers' carriers with approvals. The wallet always does.
    pub carrier: bool,
    /// Share of the charges that are approved with an invalid carrier, which the router must drop.
    pub bad_carrier: f64,
    /// Share of the charges by credit card that are approved with the full card number, which the
    /// router must mask.
    pub unmasked_card: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            kind: None,
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
            refuse_first: 0.0,
            refuse_refunds: 0.0,
            refuse_reversals: 0.0,
            refuse_reversals_once: 0.0,
            carrier: false,
            bad_carrier: 0.0,
            unmasked_card: 0.0,
        }
    }
}

/// The script is not valid TOML, or a value is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault script: {0}")]
pub struct ScriptError(String);

impl Script {
    /// Parses TOML. The error names the key, its value and the allowed range.
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

    /// Sets the kinds of issuers, in order: a later choice replaces an earlier one.
    #[must_use]
    pub fn with_kinds(mut self, choices: &[KindChoice]) -> Self {
        for KindChoice { issuer, kind } in choices {
            let kind = Some(*kind);
            match issuer {
                None => {
                    self.kind = kind;
                    self.wallet.kind = None;
                    self.issuers.values_mut().for_each(|faults| faults.kind = None);
                }
                Some(Issuer::Wallet) => self.wallet.kind = kind,
                Some(Issuer::Institution(code)) => {
                    self.issuers.entry(code.as_str().to_owned()).or_default().kind = kind;
                }
            }
        }
        self
    }

    /// The kind of an issuer.
    pub fn kind(&self, issuer: Issuer) -> IssuerKind {
        let named = match issuer {
            Issuer::Wallet => self.wallet.kind,
            Issuer::Institution(code) => self.issuers.get(code.as_str()).and_then(|faults| faults.kind),
        };
        named.or(self.kind).unwrap_or_else(|| IssuerKind::default_of(issuer))
    }

    /// The faults of an issuer.
    pub fn faults(&self, issuer: Issuer) -> Faults {
        match issuer {
            Issuer::Wallet => self.wallet.clone(),
            Issuer::Institution(code) => self.issuers.get(code.as_str()).cloned().unwrap_or_default(),
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
                    "wallet.{key} is {share}, must be 0.0: only other issuers refuse a share of calls"
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
            ("refuse_first", self.refuse_first),
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
                "{place}: lose_requests, lose_answers, answer_late and land_after_inquiry add up to more than 1.0"
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
    use super::*;

    #[test]
    fn an_invalid_script_is_refused_with_the_key_at_fault() {
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
            ("[issuers.004]\nkind = \"odd\"", "unknown variant `odd`"),
            ("[issuers.004]\nrefuse_first = 1.5", "issuers.004.refuse_first is 1.5"),
            ("[issuers.004]\nrefuse_refunds = 1.5", "issuers.004.refuse_refunds is 1.5"),
            ("[wallet]\nrefuse_reversals = 0.5", "wallet.refuse_reversals is 0.5, must be 0.0"),
            ("[wallet]\nlose_requests = 0.6\nlose_answers = 0.6", "more than 1.0"),
        ] {
            let error = Script::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn kinds_come_from_the_script_the_command_line_or_the_issuer() {
        use IssuerKind::{ForgetsRefusals, Idempotent, Plain, RefusesLate};

        let script = Script::parse("[wallet]\nlatency_ms = 1\n[issuers.391]\nkind = \"refuses-late\"").unwrap();
        let kinds = |choices: &[&str]| {
            let choices: Vec<KindChoice> = choices.iter().map(|text| text.parse().unwrap()).collect();
            let script = script.clone().with_kinds(&choices);
            ["", "391", "392"].map(|code| script.kind(Issuer::from_wire(code).unwrap()))
        };
        assert_eq!(kinds(&[]), [Idempotent, RefusesLate, Plain]);
        assert_eq!(kinds(&["plain"]), [Plain; 3]);
        assert_eq!(
            kinds(&["idempotent", "392=plain", "wallet=forgets-refusals"]),
            [ForgetsRefusals, Idempotent, Plain]
        );
    }
}
