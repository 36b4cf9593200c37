//! Callers that have one key and one role, and their requests.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tonic::Request;
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Role};
use twqr_types::KeyName;

/// A caller of this name with only this role; its key is made of `seed`.
pub fn caller(name: &str, seed: u8, role: Role) -> Caller {
    let key = ApiKey {
        name: KeyName::parse("k".to_owned()).unwrap(),
        hash: NewKey::of_random([seed; 32]).hash(),
        from: None,
        until: None,
    };
    Caller {
        name: CallerName::parse(name.to_owned()).unwrap(),
        certificates: Vec::new(),
        keys: vec![key],
        merchants: MerchantScope::All,
        operations: BTreeSet::new(),
        roles: BTreeSet::from([role]),
        limits: CallerLimits::default(),
    }
}

/// The request of the caller whose key is made of `seed`.
pub fn by<T>(seed: u8, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = format!("Bearer {}", NewKey::of_random([seed; 32]).reveal());
    request.metadata_mut().insert("authorization", key.parse().unwrap());
    request
}
