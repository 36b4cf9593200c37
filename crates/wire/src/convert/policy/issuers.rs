//! A policy's rules for each issuer. Tasks carry the limits among them, too.

use std::collections::BTreeMap;

use twqr_order::{IssuerRules, Limits, RefundRule, RefundScope, Resolution, Window};
use twqr_types::{Issuer, UnixMs};

use crate::{
    bus,
    convert::{
        fault::{RecordFault, need},
        ids::issuer_from,
    },
};

pub(super) fn issuer_out(rules: &IssuerRules) -> bus::IssuerRules {
    let (r, refund) = (rules.resolution, rules.refund);
    let scope = match refund.scope {
        RefundScope::None => bus::RefundScope::None,
        RefundScope::Full => bus::RefundScope::Full,
        RefundScope::Partial => bus::RefundScope::Partial,
    };
    let window = |window: &Window| bus::Window { from_ms: window.from.0, to_ms: window.to.0 };
    bus::IssuerRules {
        institution: rules.issuer.as_wire().to_owned(),
        resolution: Some(bus::Resolution {
            window_ms: r.window_ms,
            first_delay_ms: r.first_delay_ms,
            delay_max_ms: r.delay_max_ms,
        }),
        refund: Some(bus::RefundRule {
            scope: scope.into(),
            same_business_day: refund.same_business_day,
            window_days: refund.window_days.unwrap_or_default(),
            min_amount: refund.min_amount,
        }),
        limits: Some(limits_out(rules.limits)),
        maintenance: rules.maintenance.iter().map(window).collect(),
        status_codes: rules.status_codes.iter().map(|(theirs, code)| (theirs.clone(), (*code).into())).collect(),
        idempotent_charges: rules.idempotent_charges,
        idempotent_refunds: rules.idempotent_refunds,
    }
}

pub(super) fn rules_from(rules: &bus::IssuerRules) -> Result<IssuerRules, RecordFault> {
    let issuer: Issuer = issuer_from(&rules.institution)?;
    let resolution = need(rules.resolution, "resolution")?;
    let window = |window: &bus::Window| Window { from: UnixMs(window.from_ms), to: UnixMs(window.to_ms) };
    Ok(IssuerRules {
        issuer,
        resolution: Resolution {
            window_ms: resolution.window_ms,
            first_delay_ms: resolution.first_delay_ms,
            delay_max_ms: resolution.delay_max_ms,
        },
        refund: refund_rule_from(&need(rules.refund, "refund")?)?,
        limits: limits_from(need(rules.limits, "limits")?),
        maintenance: rules.maintenance.iter().map(window).collect(),
        status_codes: BTreeMap::new(),
        idempotent_charges: rules.idempotent_charges,
        idempotent_refunds: rules.idempotent_refunds,
    })
}

fn refund_rule_from(rule: &bus::RefundRule) -> Result<RefundRule, RecordFault> {
    let scope = match rule.scope() {
        bus::RefundScope::None => RefundScope::None,
        bus::RefundScope::Full => RefundScope::Full,
        bus::RefundScope::Partial => RefundScope::Partial,
        bus::RefundScope::Unspecified => return Err(RecordFault::Missing("scope")),
    };
    Ok(RefundRule {
        scope,
        same_business_day: rule.same_business_day,
        window_days: (rule.window_days > 0).then_some(rule.window_days),
        min_amount: rule.min_amount,
    })
}

pub(crate) fn limits_out(limits: Limits) -> bus::Limits {
    let Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s } = limits;
    bus::Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s }
}

/// Decodes the limits of an issuer.
pub(crate) fn limits_from(limits: bus::Limits) -> Limits {
    let bus::Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s } = limits;
    Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s }
}
