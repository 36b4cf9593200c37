//! The rules of one issuer in the policy document.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twqr_order::{IssuerRules, Limits, RefundRule, RefundScope, Resolution, Window};
use twqr_types::{Issuer, UnixMs};

use super::choice::{choice, name_of};

/// An issuer's rules; an empty institution means the JKOPAY wallet.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerDocument {
    institution: String,
    #[serde(default = "window_ms")]
    window_ms: i64,
    #[serde(default = "first_delay_ms")]
    first_delay_ms: i64,
    #[serde(default = "delay_max_ms")]
    delay_max_ms: i64,
    #[serde(default)]
    refund: RefundDocument,
    #[serde(default)]
    limits: Limits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    maintenance: Vec<WindowDocument>,
    /// Maps the issuer's decline codes to StatusCodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    status_codes: BTreeMap<String, String>,
    #[serde(default)]
    idempotent_charges: bool,
    #[serde(default)]
    idempotent_refunds: bool,
}

fn window_ms() -> i64 {
    Resolution::DEFAULT.window_ms
}

fn first_delay_ms() -> i64 {
    Resolution::DEFAULT.first_delay_ms
}

fn delay_max_ms() -> i64 {
    Resolution::DEFAULT.delay_max_ms
}

/// Which refunds the issuer allows. `scope` is `none`, `full` or `partial`; `window_days` 0 means
/// no limit.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct RefundDocument {
    scope: String,
    same_business_day: bool,
    window_days: u32,
    min_amount: i64,
}

impl Default for RefundDocument {
    fn default() -> Self {
        Self::from_rule(RefundRule::default())
    }
}

/// An announced maintenance window without charges and inquiries.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct WindowDocument {
    from: jiff::Timestamp,
    to: jiff::Timestamp,
}

impl IssuerDocument {
    /// The StatusCode for each of the issuer's decline codes, not parsed yet.
    pub(crate) fn status_codes(&self) -> &BTreeMap<String, String> {
        &self.status_codes
    }

    /// Converts the rules except the StatusCodes, which the caller parses one by one so that each
    /// fault names its key.
    pub(crate) fn rules(&self) -> anyhow::Result<IssuerRules> {
        let scope = choice(&self.refund.scope, &RefundScope::ALL).context("refund.scope")?;
        let window = |window: &WindowDocument| Window {
            from: UnixMs(window.from.as_millisecond()),
            to: UnixMs(window.to.as_millisecond()),
        };
        Ok(IssuerRules {
            issuer: Issuer::from_wire(&self.institution).context("institution")?,
            resolution: Resolution {
                window_ms: self.window_ms,
                first_delay_ms: self.first_delay_ms,
                delay_max_ms: self.delay_max_ms,
            },
            refund: RefundRule {
                scope,
                same_business_day: self.refund.same_business_day,
                window_days: (self.refund.window_days > 0).then_some(self.refund.window_days),
                min_amount: self.refund.min_amount,
            },
            limits: self.limits,
            maintenance: self.maintenance.iter().map(window).collect(),
            status_codes: BTreeMap::new(),
            idempotent_charges: self.idempotent_charges,
            idempotent_refunds: self.idempotent_refunds,
        })
    }

    pub(crate) fn from_rules(rules: &IssuerRules) -> Self {
        let time = |at: UnixMs| jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX);
        let window = |window: &Window| WindowDocument { from: time(window.from), to: time(window.to) };
        Self {
            institution: rules.issuer.as_wire().to_owned(),
            window_ms: rules.resolution.window_ms,
            first_delay_ms: rules.resolution.first_delay_ms,
            delay_max_ms: rules.resolution.delay_max_ms,
            refund: RefundDocument::from_rule(rules.refund),
            limits: rules.limits,
            maintenance: rules.maintenance.iter().map(window).collect(),
            status_codes: rules.status_codes.iter().map(|(theirs, code)| (theirs.clone(), (*code).into())).collect(),
            idempotent_charges: rules.idempotent_charges,
            idempotent_refunds: rules.idempotent_refunds,
        }
    }
}

impl RefundDocument {
    fn from_rule(rule: RefundRule) -> Self {
        Self {
            scope: name_of(rule.scope, &RefundScope::ALL),
            same_business_day: rule.same_business_day,
            window_days: rule.window_days.unwrap_or_default(),
            min_amount: rule.min_amount,
        }
    }
}
