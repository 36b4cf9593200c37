//! Policies and their changes.

use twqr_order::{
    Alphabet, IssuerRules, Limits, Merchant, Policy, PolicyChange, RefundRule, RefundScope, Resolution, Route,
    RouteTarget, StatusCodes, Store, Window,
};
use twqr_types::{Issuer, MerchantId, StoreId, UnixMs};

use super::{
    fault::{RecordFault, need},
    ids::issuer_from,
};
use crate::bus;

/// A change of the rules on its way out.
pub fn policy_change_out(change: &PolicyChange) -> bus::PolicyChange {
    bus::PolicyChange {
        policy: Some(policy_out(&change.policy)),
        who: change.who.to_string(),
        why: change.why.to_string(),
        version: change.version,
        at_ms: change.at.0,
    }
}

/// A change of the rules on its way in; a policy that cannot be used is a fault.
pub fn policy_change_from(change: bus::PolicyChange) -> Result<PolicyChange, RecordFault> {
    Ok(PolicyChange {
        policy: policy_from(need(change.policy, "policy")?)?,
        who: change.who.into(),
        why: change.why.into(),
        version: change.version,
        at: UnixMs(change.at_ms),
    })
}

/// A policy on its way out.
pub fn policy_out(policy: &Policy) -> bus::Policy {
    bus::Policy {
        name: policy.name.clone(),
        routes: policy.routes.iter().map(route_out).collect(),
        status_codes: Some(bus::StatusCodes {
            card_not_supported: policy.status_codes.card_not_supported.clone(),
            fisc_abnormal: policy.status_codes.fisc_abnormal.clone(),
            issuer_declined: policy.status_codes.issuer_declined.clone(),
            refund_refused: policy.status_codes.refund_refused.clone(),
        }),
        send_within_ms: policy.send_within_ms,
        day_begins_min: policy.day_begins_min,
        issuers: policy.issuers.iter().map(issuer_out).collect(),
        merchants: policy.merchants.iter().map(merchant_out).collect(),
    }
}

/// A policy on its way in; one that cannot be used is a fault.
pub fn policy_from(policy: bus::Policy) -> Result<Policy, RecordFault> {
    let codes = need(policy.status_codes, "status_codes")?;
    let policy = Policy {
        name: policy.name,
        routes: policy.routes.into_iter().map(route_from).collect::<Result<_, _>>()?,
        status_codes: StatusCodes {
            card_not_supported: codes.card_not_supported,
            fisc_abnormal: codes.fisc_abnormal,
            issuer_declined: codes.issuer_declined,
            refund_refused: codes.refund_refused,
        },
        send_within_ms: policy.send_within_ms,
        day_begins_min: policy.day_begins_min,
        issuers: policy.issuers.iter().map(rules_from).collect::<Result<_, _>>()?,
        merchants: policy.merchants.into_iter().map(merchant_from).collect::<Result<_, _>>()?,
    };
    match policy.faults().into_iter().next() {
        None => Ok(policy),
        Some(fault) => Err(RecordFault::Invalid { field: "policy", problem: fault.to_string() }),
    }
}

fn route_out(route: &Route) -> bus::Route {
    let (institution, refuse) = match &route.target {
        RouteTarget::Issuer(issuer) => (issuer.institution().to_owned(), false),
        RouteTarget::Refuse => (String::new(), true),
    };
    let alphabet = match route.alphabet {
        Alphabet::Printable => bus::Alphabet::Printable,
        Alphabet::Digits => bus::Alphabet::Digits,
        Alphabet::Alphanumeric => bus::Alphabet::Alphanumeric,
        Alphabet::Base64Url => bus::Alphabet::Base64url,
    };
    bus::Route {
        prefix: route.prefix.clone(),
        institution,
        refuse,
        code_lengths: route.code_lengths.clone(),
        alphabet: alphabet.into(),
    }
}

fn route_from(route: bus::Route) -> Result<Route, RecordFault> {
    let alphabet = match route.alphabet() {
        bus::Alphabet::Printable => Alphabet::Printable,
        bus::Alphabet::Digits => Alphabet::Digits,
        bus::Alphabet::Alphanumeric => Alphabet::Alphanumeric,
        bus::Alphabet::Base64url => Alphabet::Base64Url,
        bus::Alphabet::Unspecified => return Err(RecordFault::Missing("alphabet")),
    };
    let target = if route.refuse { RouteTarget::Refuse } else { RouteTarget::Issuer(issuer_from(&route.institution)?) };
    Ok(Route { prefix: route.prefix, target, code_lengths: route.code_lengths, alphabet })
}

fn issuer_out(rules: &IssuerRules) -> bus::IssuerRules {
    let (r, refund) = (rules.resolution, rules.refund);
    let scope = match refund.scope {
        RefundScope::None => bus::RefundScope::None,
        RefundScope::Full => bus::RefundScope::Full,
        RefundScope::Partial => bus::RefundScope::Partial,
    };
    let window = |window: &Window| bus::Window { from_ms: window.from.0, to_ms: window.to.0 };
    bus::IssuerRules {
        institution: rules.issuer.institution().to_owned(),
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
        status_codes: rules.status_codes.clone().into_iter().collect(),
    }
}

fn rules_from(rules: &bus::IssuerRules) -> Result<IssuerRules, RecordFault> {
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
        status_codes: rules.status_codes.clone().into_iter().collect(),
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

/// The limits of an issuer.
pub fn limits_from(limits: bus::Limits) -> Limits {
    let bus::Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s } = limits;
    Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s }
}

fn merchant_out(merchant: &Merchant) -> bus::Merchant {
    let store = |store: &Store| bus::Store {
        store_id: store.id.as_str().to_owned(),
        payment_max: store.payment_max.unwrap_or_default(),
        closed: !store.is_open,
    };
    bus::Merchant {
        merchant_id: merchant.id.as_str().to_owned(),
        stores: merchant.stores.iter().map(store).collect(),
        payment_max: merchant.payment_max.unwrap_or_default(),
        closed: !merchant.is_open,
    }
}

fn merchant_from(merchant: bus::Merchant) -> Result<Merchant, RecordFault> {
    let limit = |most: i64| (most != 0).then_some(most);
    let store = |store: bus::Store| {
        let id = StoreId::parse(store.store_id).map_err(RecordFault::invalid("store_id"))?;
        Ok(Store { id, payment_max: limit(store.payment_max), is_open: !store.closed })
    };
    Ok(Merchant {
        id: MerchantId::parse(merchant.merchant_id).map_err(RecordFault::invalid("merchant_id"))?,
        stores: merchant.stores.into_iter().map(store).collect::<Result<_, RecordFault>>()?,
        payment_max: limit(merchant.payment_max),
        is_open: !merchant.closed,
    })
}
