//! The policy as it stands in the configuration.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twqr_order::{Policy, Resolution, Route, StatusCodes};
use twqr_types::Issuer;

/// The rules by which orders are decided.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicyConfig {
    name: String,
    send_within_ms: i64,
    card_not_supported: String,
    fisc_abnormal: String,
    issuer_declined: String,
    routes: Vec<RouteConfig>,
}

/// Whose codes begin so.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct RouteConfig {
    prefix: String,
    institution: String,
    code_lengths: Vec<u32>,
    window_ms: i64,
    first_delay_ms: i64,
    delay_max_ms: i64,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let codes = StatusCodes::default();
        let route = |issuer: &twqr_loadgen::Issuer| RouteConfig {
            prefix: issuer.prefix.to_owned(),
            institution: issuer.institution.to_owned(),
            code_lengths: vec![issuer.code_length as u32],
            window_ms: if issuer.institution.is_empty() { 3_000 } else { 10_000 },
            first_delay_ms: 1_000,
            delay_max_ms: 60_000,
        };
        Self {
            name: "default".to_owned(),
            send_within_ms: 5_000,
            card_not_supported: codes.card_not_supported,
            fisc_abnormal: codes.fisc_abnormal,
            issuer_declined: codes.issuer_declined,
            routes: twqr_loadgen::ISSUERS.iter().map(route).collect(),
        }
    }
}

impl PolicyConfig {
    /// Short times, for tests.
    pub(super) fn quicken(&mut self) {
        self.send_within_ms = 4_000;
        for route in &mut self.routes {
            (route.window_ms, route.first_delay_ms) = (3_000, 300);
        }
    }

    /// The policy of the domain.
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        let route = |(i, route): (usize, &RouteConfig)| {
            let issuer =
                Issuer::parse(&route.institution).with_context(|| format!("policy.routes[{i}].institution"))?;
            let resolution = Resolution {
                window_ms: route.window_ms,
                first_delay_ms: route.first_delay_ms,
                delay_max_ms: route.delay_max_ms,
            };
            Ok(Route { prefix: route.prefix.clone(), issuer, code_lengths: route.code_lengths.clone(), resolution })
        };
        Ok(Policy {
            name: self.name.clone(),
            routes: self.routes.iter().enumerate().map(route).collect::<anyhow::Result<_>>()?,
            status_codes: StatusCodes {
                card_not_supported: self.card_not_supported.clone(),
                fisc_abnormal: self.fisc_abnormal.clone(),
                issuer_declined: self.issuer_declined.clone(),
            },
            send_within_ms: self.send_within_ms,
        })
    }
}
