//! Policies, their changes, and the versions that a shard has had.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use twqr_order::{
    Alphabet, IssuerRules, Limits, Merchant, Policy, PolicyChange, PolicyFault, PolicyReader, PolicyVersions,
    RefundRule, RefundScope, Resolution, Route, RouteTarget, StatusCodes, Store, Window,
};
use twqr_types::{CutOff, Issuer, KeyName, MerchantId, StatusCode, StoreId, UnixMs};

use super::{
    fault::{RecordFault, need},
    ids::issuer_from,
};
use crate::bus;

/// Encodes a change of the policy.
pub fn policy_change_out(change: &PolicyChange) -> bus::PolicyChange {
    bus::PolicyChange {
        policy: Some(policy_out(&change.policy)),
        who: change.who.to_string(),
        why: change.why.to_string(),
        version: change.version,
        at_ms: change.at.0,
    }
}

/// Decodes a change of the policy; an invalid policy is a fault.
pub fn policy_change_from(change: bus::PolicyChange) -> Result<PolicyChange, RecordFault> {
    Ok(PolicyChange {
        policy: policy_from(need(change.policy, "policy")?)?,
        who: change.who.into(),
        why: change.why.into(),
        version: change.version,
        at: UnixMs(change.at_ms),
    })
}

/// Encodes a policy.
pub fn policy_out(policy: &Policy) -> bus::Policy {
    bus::Policy {
        name: policy.name.clone(),
        routes: policy.routes.iter().map(route_out).collect(),
        status_codes: Some(bus::StatusCodes {
            card_not_supported: policy.status_codes.card_not_supported.into(),
            fisc_abnormal: policy.status_codes.fisc_abnormal.into(),
            issuer_declined: policy.status_codes.issuer_declined.into(),
            refund_refused: policy.status_codes.refund_refused.into(),
        }),
        send_within_ms: policy.send_within_ms,
        day_begins_min: policy.cut_off.minutes(),
        issuers: policy.issuers.iter().map(issuer_out).collect(),
        merchants: policy.merchants.iter().map(merchant_out).collect(),
    }
}

/// Decodes a policy; the fault names the first thing that is wrong with it.
pub fn policy_from(policy: bus::Policy) -> Result<Policy, RecordFault> {
    policy_checked(policy).map_err(|faults| {
        let problem = faults.first().map_or_else(String::new, ToString::to_string);
        RecordFault::Invalid { field: "policy", problem }
    })
}

/// Decodes a policy like [`policy_from`]; the error lists everything that is wrong with it.
pub fn policy_checked(policy: bus::Policy) -> Result<Policy, Vec<PolicyFault>> {
    // If a policy is too large, nothing else is checked, because that would take long.
    if let Some(fault) = size_fault(policy.encoded_len()) {
        return Err(vec![fault]);
    }
    let mut reading = PolicyReader::default();
    let status_codes = status_codes_from(policy.status_codes, &mut reading);
    let cut_off = CutOff::from_minutes(policy.day_begins_min);
    if cut_off.is_err() {
        let problem = format!("is {}, must be 0 to 1439", policy.day_begins_min);
        reading.fault("day_begins_min".to_owned(), problem);
    }
    let policy = Policy {
        name: policy.name,
        routes: reading.list("routes", policy.routes, route_from),
        status_codes,
        send_within_ms: policy.send_within_ms,
        cut_off: cut_off.unwrap_or_default(),
        issuers: reading.issuers(&policy.issuers, |rules| &rules.status_codes, rules_from),
        merchants: reading.list("merchants", policy.merchants, merchant_from),
    };
    reading.finish(policy)
}

/// The largest policy, in bytes as protobuf: room for some 6,000 stores.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;

/// How many bytes a shard's versions may have together: they are one record of `order-states`, and
/// a journal takes 1 MiB. Three of the largest fit.
const VERSIONS_BYTES_MAX: usize = 3 * (POLICY_BYTES_MAX + 1024);

/// Returns the fault of a policy that would be too large as protobuf. This is for policies from
/// other sources; [`policy_checked`] checks the size itself. If a policy is too large, nothing else
/// needs to be checked.
pub fn policy_size_fault(policy: &Policy) -> Option<PolicyFault> {
    size_fault(policy_out(policy).encoded_len())
}

fn size_fault(bytes: usize) -> Option<PolicyFault> {
    (bytes > POLICY_BYTES_MAX).then(|| PolicyFault {
        place: "merchants".to_owned(),
        problem: format!("has {bytes} bytes, at most {POLICY_BYTES_MAX} are allowed: take out merchants or stores"),
    })
}

/// Drops the oldest versions until the others fit into one record.
pub fn fit_into_record(versions: &mut PolicyVersions) {
    while policy_versions_out(versions).encoded_len() > VERSIONS_BYTES_MAX && versions.drop_oldest() {}
}

fn status_codes_from(codes: Option<bus::StatusCodes>, reading: &mut PolicyReader) -> StatusCodes {
    let default = StatusCodes::default();
    let Some(codes) = codes else {
        reading.fault("status_codes".to_owned(), "is missing".to_owned());
        return default;
    };
    let mut read = |name: &str, raw: &str, default: StatusCode| reading.status_code(name, raw, default);
    StatusCodes {
        card_not_supported: read("card_not_supported", &codes.card_not_supported, default.card_not_supported),
        fisc_abnormal: read("fisc_abnormal", &codes.fisc_abnormal, default.fisc_abnormal),
        issuer_declined: read("issuer_declined", &codes.issuer_declined, default.issuer_declined),
        refund_refused: read("refund_refused", &codes.refund_refused, default.refund_refused),
    }
}

/// Encodes all versions of the policy that a shard has had.
pub(crate) fn policy_versions_out(versions: &PolicyVersions) -> bus::PolicyVersions {
    let version = |(from_offset, change): (u64, &Arc<PolicyChange>)| bus::PolicyVersion {
        from_offset,
        change: Some(policy_change_out(change)),
    };
    bus::PolicyVersions { versions: versions.iter().map(version).collect() }
}

/// Decodes all versions of the policy that a shard has had.
pub(crate) fn policy_versions_from(policies: bus::PolicyVersions) -> Result<PolicyVersions, RecordFault> {
    let mut versions = PolicyVersions::default();
    for version in policies.versions {
        let change = policy_change_from(need(version.change, "change")?)?;
        versions.insert(version.from_offset, Arc::new(change));
    }
    Ok(versions)
}

fn route_out(route: &Route) -> bus::Route {
    let (institution, refuse) = match &route.target {
        RouteTarget::Issuer(issuer) => (issuer.as_wire().to_owned(), false),
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
        status_codes: BTreeMap::new(),
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

fn merchant_out(merchant: &Merchant) -> bus::Merchant {
    let store = |store: &Store| bus::Store {
        store_id: store.id.as_str().to_owned(),
        payment_max: store.payment_max.unwrap_or_default(),
        closed: !store.is_open,
    };
    bus::Merchant {
        merchant_id: merchant.id.as_str().to_owned(),
        stores: merchant.stores.iter().map(store).collect(),
        keys: merchant.keys.iter().map(|key| key.as_str().to_owned()).collect(),
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
    let key = |name: String| KeyName::parse(name).map_err(RecordFault::invalid("keys"));
    Ok(Merchant {
        id: MerchantId::parse(merchant.merchant_id).map_err(RecordFault::invalid("merchant_id"))?,
        stores: merchant.stores.into_iter().map(store).collect::<Result<_, RecordFault>>()?,
        keys: merchant.keys.into_iter().map(key).collect::<Result<_, RecordFault>>()?,
        payment_max: limit(merchant.payment_max),
        is_open: !merchant.closed,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// A policy in which every number takes as many bytes as possible; `lists` is the length of
    /// each list.
    fn largest_policy(lists: usize) -> bus::Policy {
        let code = || "999".to_owned();
        let route = bus::Route {
            prefix: "p".repeat(16),
            institution: "391".into(),
            refuse: true,
            code_lengths: vec![u32::MAX; 5],
            alphabet: bus::Alphabet::Base64url.into(),
        };
        let window = bus::Window { from_ms: -1, to_ms: -1 };
        let (r, f) = (-1, u32::MAX);
        let issuer = bus::IssuerRules {
            institution: "391".into(),
            resolution: Some(bus::Resolution { window_ms: r, first_delay_ms: r, delay_max_ms: r }),
            refund: Some(bus::RefundRule { scope: 3, same_business_day: true, window_days: f, min_amount: r }),
            limits: Some(bus::Limits {
                in_flight_max: f,
                queue_max: f,
                failures_to_open: f,
                open_ms: f,
                inquiries_per_s: f,
            }),
            maintenance: vec![window; lists],
            status_codes: BTreeMap::new(),
        };
        let store = bus::Store { store_id: "店".repeat(20), payment_max: r, closed: true };
        let merchant = bus::Merchant {
            merchant_id: "商".repeat(10),
            stores: vec![store; lists],
            keys: vec!["鑰".repeat(16); lists],
            payment_max: r,
            closed: true,
        };
        bus::Policy {
            name: "n".repeat(500),
            routes: vec![route; lists],
            status_codes: Some(bus::StatusCodes {
                card_not_supported: code(),
                fisc_abnormal: code(),
                issuer_declined: code(),
                refund_refused: code(),
            }),
            send_within_ms: r,
            day_begins_min: f,
            issuers: vec![issuer; lists],
            merchants: vec![merchant; lists],
        }
    }

    #[test]
    fn the_only_fault_of_a_policy_that_is_too_large_is_its_size() {
        for (lists, size_only) in [(1, false), (40, false), (400, true)] {
            let large = largest_policy(lists);
            assert_eq!(large.encoded_len() > POLICY_BYTES_MAX, size_only, "lists of {lists}");
            let faults = policy_checked(large).unwrap_err();
            let is_size = |fault: &PolicyFault| fault.to_string().starts_with("merchants: has ");
            let found = (faults.iter().any(is_size), faults.len() == 1);
            assert_eq!(found, (size_only, size_only), "lists of {lists}: {faults:?}");
        }
    }

    /// A policy with one merchant that has this many stores.
    fn with_stores(stores: usize) -> Policy {
        let store = |i: usize| Store {
            id: StoreId::parse(format!("{i:020}")).unwrap(),
            payment_max: Some(i64::from(i32::MAX)),
            is_open: false,
        };
        let merchant = Merchant {
            id: MerchantId::parse("M".into()).unwrap(),
            stores: (0..stores).map(store).collect(),
            keys: Vec::new(),
            payment_max: None,
            is_open: true,
        };
        Policy { merchants: vec![merchant], ..Policy::default() }
    }

    #[test]
    fn the_newest_of_the_largest_versions_fit_into_one_record() {
        let large = with_stores(8_100);
        assert_eq!(policy_size_fault(&large), None);
        assert!(policy_out(&large).encoded_len() > POLICY_BYTES_MAX * 9 / 10);
        let mut versions = PolicyVersions::default();
        for version in 1..=9 {
            let (who, why) = ("w".repeat(200).into(), "y".repeat(200).into());
            let change = PolicyChange { version, policy: large.clone(), who, why, at: UnixMs(0) };
            versions.insert(version, Arc::new(change));
            fit_into_record(&mut versions);
        }
        let kept: Vec<u64> = versions.iter().map(|(_, change)| change.version).collect();
        assert_eq!(kept, [7, 8, 9], "the newest stay");
        let fault = policy_size_fault(&with_stores(8_500)).unwrap();
        assert!(fault.to_string().starts_with("merchants: has "), "{fault}");
    }

    #[test]
    fn the_cut_off_is_written_as_in_earlier_records() {
        for (day_begins_min, cut_off) in [(0, "00:00"), (120, "02:00"), (720, "12:00"), (1_380, "23:00")] {
            let mut record = policy_out(&Policy::default());
            record.routes =
                vec![bus::Route { prefix: "22".into(), code_lengths: vec![18], alphabet: 1, ..bus::Route::default() }];
            record.day_begins_min = day_begins_min;
            let policy = policy_from(record.clone()).unwrap();
            assert_eq!(policy.cut_off.to_string(), cut_off);
            assert_eq!(policy_out(&policy).encode_to_vec(), record.encode_to_vec());
            record.day_begins_min = 1_440;
            let faults = policy_checked(record).unwrap_err();
            assert_eq!(faults[0].to_string(), "day_begins_min: is 1440, must be 0 to 1439");
        }
    }

    #[test]
    fn every_fault_of_a_policy_is_listed_with_its_place() {
        let mut policy = policy_out(&Policy::default());
        let good = bus::Route { prefix: "22".into(), code_lengths: vec![18], alphabet: 1, ..bus::Route::default() };
        let route = |prefix: &str, institution: &str| bus::Route {
            prefix: prefix.into(),
            institution: institution.into(),
            ..good.clone()
        };
        policy.routes = vec![route("22", "x"), route("22", ""), route("", ""), route("22", "")];
        policy.issuers = vec![bus::IssuerRules::default()];
        policy.status_codes = None;
        policy.send_within_ms = 0;
        let faults = policy_checked(policy.clone()).unwrap_err();
        let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let expected =
            ["status_codes", "routes[0]", "issuers[0]", "send_within_ms", "routes[2].prefix", "routes[3].prefix"];
        assert_eq!(places, expected, "{faults:?}");
        policy.routes = vec![route("22", "x")];
        let places = policy_checked(policy).unwrap_err();
        assert!(places.iter().all(|fault| fault.place != "routes"), "an unreadable route must not count as no route");
    }
}
