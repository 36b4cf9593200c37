//! Policies, their changes, and the versions that a shard has had.

mod issuers;
mod merchants;

use std::sync::Arc;

use prost::Message as _;
use twqr_order::{
    AcceptedMerchants, Alphabet, Policy, PolicyChange, PolicyFault, PolicyReader, PolicyVersions, Route, RouteTarget,
    StatusCodes,
};
use twqr_types::{CutOff, StatusCode, UnixMs};

use super::{
    fault::{RecordFault, need},
    ids::issuer_from,
};
use crate::bus;

use issuers::{issuer_out, rules_from};
pub(crate) use issuers::{limits_from, limits_out};
use merchants::{merchant_from, merchant_out};

/// Encodes a change of the policy.
pub(crate) fn policy_change_out(change: &PolicyChange) -> bus::PolicyChange {
    bus::PolicyChange {
        policy: Some(policy_out(&change.policy)),
        who: change.who.to_string(),
        why: change.why.to_string(),
        version: change.version,
        at_ms: change.at.0,
    }
}

/// Decodes a change of the policy; an invalid policy is a fault.
pub(crate) fn policy_change_from(change: bus::PolicyChange) -> Result<PolicyChange, RecordFault> {
    Ok(PolicyChange {
        policy: policy_from(need(change.policy, "policy")?)?,
        who: change.who.into(),
        why: change.why.into(),
        version: change.version,
        at: UnixMs(change.at_ms),
    })
}

/// Encodes a policy.
pub(crate) fn policy_out(policy: &Policy) -> bus::Policy {
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
        protocol_version: policy.protocol_version,
        accepted_merchants: accepted_merchants_out(policy.accepted_merchants).into(),
    }
}

/// Decodes a policy; the fault names the first thing that is wrong with it.
pub(crate) fn policy_from(policy: bus::Policy) -> Result<Policy, RecordFault> {
    policy_checked(policy).map_err(|faults| {
        let problem = faults.first().map_or_else(String::new, ToString::to_string);
        RecordFault::Invalid { field: "policy", problem }
    })
}

/// Decodes a policy like [`policy_from`]; the error lists everything that is wrong with it.
pub(crate) fn policy_checked(policy: bus::Policy) -> Result<Policy, Vec<PolicyFault>> {
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
        accepted_merchants: accepted_merchants_from(policy.accepted_merchants, &mut reading),
        merchants: reading.list("merchants", policy.merchants, merchant_from),
        protocol_version: policy.protocol_version,
    };
    reading.finish(policy)
}

/// The largest policy, in bytes as protobuf: room for some 6,000 stores.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;

/// How many bytes a shard's versions may have together: they are one record of `order-states`, and
/// a journal takes 1 MiB. Three of the largest fit.
const VERSIONS_BYTES_MAX: usize = 3 * (POLICY_BYTES_MAX + 1024);

/// Returns the fault of a policy that would be too large as protobuf. This is for policies from
/// other sources; `policy_checked` checks the size itself. If a policy is too large, nothing else
/// needs to be checked.
pub fn policy_size_fault(policy: &Policy) -> Option<PolicyFault> {
    size_fault(policy_out(policy).encoded_len())
}

fn size_fault(bytes: usize) -> Option<PolicyFault> {
    (bytes > POLICY_BYTES_MAX).then(|| PolicyFault {
        place: "merchants".to_owned(),
        problem: format!(
            "has {bytes} bytes, at most {POLICY_BYTES_MAX} are allowed: put the merchants into the directory with \
             `twqr merchants import` and set accepted_merchants"
        ),
    })
}

/// Drops the oldest versions until the others fit into one record, but none that a replay from one
/// of these positions needs. With at most two positions, what is needed fits.
pub fn fit_into_record(versions: &mut PolicyVersions, replay_starts: &[u64]) {
    let fit = |versions: &PolicyVersions| policy_versions_out(versions).encoded_len() <= VERSIONS_BYTES_MAX;
    versions.drop_surplus(replay_starts, fit);
}

fn accepted_merchants_out(accepted: AcceptedMerchants) -> bus::AcceptedMerchants {
    match accepted {
        AcceptedMerchants::InPolicy => bus::AcceptedMerchants::Unspecified,
        AcceptedMerchants::Any => bus::AcceptedMerchants::Any,
        AcceptedMerchants::Listed => bus::AcceptedMerchants::Listed,
    }
}

fn accepted_merchants_from(raw: i32, reading: &mut PolicyReader) -> AcceptedMerchants {
    match bus::AcceptedMerchants::try_from(raw) {
        Ok(bus::AcceptedMerchants::Unspecified) => AcceptedMerchants::InPolicy,
        Ok(bus::AcceptedMerchants::Any) => AcceptedMerchants::Any,
        Ok(bus::AcceptedMerchants::Listed) => AcceptedMerchants::Listed,
        Err(_) => {
            reading.fault("accepted_merchants".to_owned(), format!("is {raw}, must be 0 to 2"));
            AcceptedMerchants::InPolicy
        }
    }
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

/// Encodes the versions of the policy and the closings that a shard has had.
pub(crate) fn policy_versions_out(versions: &PolicyVersions) -> bus::PolicyVersions {
    let version = |(from_offset, change): (u64, &Arc<PolicyChange>)| bus::PolicyVersion {
        from_offset,
        change: Some(policy_change_out(change)),
    };
    let closing = |(from_offset, until): (u64, UnixMs)| bus::Closing { from_offset, until_ms: until.0 };
    bus::PolicyVersions {
        versions: versions.iter().map(version).collect(),
        closings: versions.closings.iter().map(closing).collect(),
    }
}

/// Decodes the versions of the policy and the closings that a shard has had.
pub(crate) fn policy_versions_from(policies: bus::PolicyVersions) -> Result<PolicyVersions, RecordFault> {
    let mut versions = PolicyVersions::default();
    for version in policies.versions {
        let change = policy_change_from(need(version.change, "change")?)?;
        versions.insert(version.from_offset, Arc::new(change));
    }
    for closing in policies.closings {
        versions.closings.insert(closing.from_offset, UnixMs(closing.until_ms));
    }
    Ok(versions)
}

fn route_out(route: &Route) -> bus::Route {
    let (institution, refuse) = match &route.target {
        RouteTarget::Issuer(issuer) => (issuer.as_wire().to_owned(), false),
        RouteTarget::Refuse => (String::new(), true),
    };
    bus::Route {
        prefix: route.prefix.clone(),
        institution,
        refuse,
        code_lengths: route.code_lengths.clone(),
        alphabet: alphabet_out(route.alphabet).into(),
    }
}

pub(super) fn alphabet_out(alphabet: Alphabet) -> bus::Alphabet {
    match alphabet {
        Alphabet::Printable => bus::Alphabet::Printable,
        Alphabet::Digits => bus::Alphabet::Digits,
        Alphabet::Alphanumeric => bus::Alphabet::Alphanumeric,
        Alphabet::Base64Url => bus::Alphabet::Base64url,
    }
}

pub(super) fn alphabet_from(alphabet: bus::Alphabet) -> Result<Alphabet, RecordFault> {
    Ok(match alphabet {
        bus::Alphabet::Printable => Alphabet::Printable,
        bus::Alphabet::Digits => Alphabet::Digits,
        bus::Alphabet::Alphanumeric => Alphabet::Alphanumeric,
        bus::Alphabet::Base64url => Alphabet::Base64Url,
        bus::Alphabet::Unspecified => return Err(RecordFault::Missing("alphabet")),
    })
}

fn route_from(route: bus::Route) -> Result<Route, RecordFault> {
    let alphabet = alphabet_from(route.alphabet())?;
    let target = if route.refuse { RouteTarget::Refuse } else { RouteTarget::Issuer(issuer_from(&route.institution)?) };
    Ok(Route { prefix: route.prefix, target, code_lengths: route.code_lengths, alphabet })
}

#[cfg(test)]
mod tests;
