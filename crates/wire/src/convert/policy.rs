//! Policies.

use twqr_order::{Policy, Resolution, Route, StatusCodes};
use twqr_types::Issuer;

use super::fault::{RecordFault, need};
use crate::bus;

/// A policy on its way out.
pub fn policy_out(policy: &Policy) -> bus::Policy {
    let route = |route: &Route| bus::Route {
        prefix: route.prefix.clone(),
        institution: route.issuer.institution().to_owned(),
        code_lengths: route.code_lengths.clone(),
        resolution: Some(bus::Resolution {
            window_ms: route.resolution.window_ms,
            first_delay_ms: route.resolution.first_delay_ms,
            delay_max_ms: route.resolution.delay_max_ms,
        }),
    };
    bus::Policy {
        name: policy.name.clone(),
        routes: policy.routes.iter().map(route).collect(),
        status_codes: Some(bus::StatusCodes {
            card_not_supported: policy.status_codes.card_not_supported.clone(),
            fisc_abnormal: policy.status_codes.fisc_abnormal.clone(),
            issuer_declined: policy.status_codes.issuer_declined.clone(),
        }),
        send_within_ms: policy.send_within_ms,
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
        },
        send_within_ms: policy.send_within_ms,
    };
    match policy.faults().into_iter().next() {
        None => Ok(policy),
        Some(fault) => Err(RecordFault::Invalid { field: "policy", problem: fault.to_string() }),
    }
}

fn route_from(route: bus::Route) -> Result<Route, RecordFault> {
    let resolution = need(route.resolution, "resolution")?;
    Ok(Route {
        prefix: route.prefix,
        issuer: Issuer::parse(&route.institution)
            .map_err(|e| RecordFault::Invalid { field: "institution", problem: e.to_string() })?,
        code_lengths: route.code_lengths,
        resolution: Resolution {
            window_ms: resolution.window_ms,
            first_delay_ms: resolution.first_delay_ms,
            delay_max_ms: resolution.delay_max_ms,
        },
    })
}
