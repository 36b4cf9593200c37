//! Callers: the records of the topic `callers`, and the messages of the operators' API, which have
//! the same fields.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use prost::Message;
use twqr_callers::{ApiKey, Caller, CallerChange, CallerLimits, CallerName, KeyHash, MerchantScope, Operation, Role};
use twqr_types::{KeyName, MerchantId, UnixMs};

use super::fault::{RecordFault, check_version};
use crate::{RECORD_VERSION, bus, ops};

/// A field of a caller and what is wrong with it.
pub type CallerFault = (String, String);

/// Writes a change of a caller.
pub fn encode_caller_change(change: &CallerChange) -> Bytes {
    let CallerChange { name, version, caller, who, why, at, .. } = change;
    let record = bus::CallerChange {
        version: RECORD_VERSION,
        name: name.as_str().to_owned(),
        caller_version: *version,
        caller: caller.as_deref().map(to_bus),
        who: who.to_string(),
        why: why.to_string(),
        at_ms: at.0,
    };
    record.encode_to_vec().into()
}

/// Reads a change of a caller. A caller with a fault is read without rights: a change that revokes
/// something must never leave the version before in force. Its keys and certificates stay, since
/// what a version leaves out is revoked for good. Operations and roles that this build does not
/// know are left out. Only a record without a name or version is a fault.
pub fn decode_caller_change(bytes: Bytes) -> Result<CallerChange, RecordFault> {
    let record = bus::CallerChange::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let name = CallerName::parse(record.name).map_err(RecordFault::invalid("name"))?;
    let known = |caller: bus::Caller| bus::Caller {
        operations: caller.operations.into_iter().filter(|name| named(Operation::ALL, name).is_some()).collect(),
        roles: caller.roles.into_iter().filter(|name| named(Role::ALL, name).is_some()).collect(),
        ..caller
    };
    let whole = record.caller.clone().map(|caller| from_bus(name.clone(), caller).ok());
    let is_whole = whole.as_ref().is_none_or(Option::is_some);
    let in_part = |caller: bus::Caller| {
        from_bus(name.clone(), known(caller.clone())).unwrap_or_else(|_| without_rights(name.clone(), caller))
    };
    let caller = whole.flatten().or_else(|| record.caller.map(in_part));
    Ok(CallerChange {
        name,
        version: record.caller_version,
        caller: caller.map(Arc::new),
        is_whole,
        who: record.who.into(),
        why: record.why.into(),
        at: UnixMs(record.at_ms),
    })
}

/// A caller that can be identified by what can be read of its credentials, and may do nothing.
fn without_rights(name: CallerName, caller: bus::Caller) -> Caller {
    let key = |key: bus::ApiKey| {
        let (name, hash) = (KeyName::parse(key.name).ok()?, KeyHash::from_bytes(&key.sha256).ok()?);
        Some(ApiKey { name, hash, from: time(key.from_ms), until: time(key.until_ms) })
    };
    Caller {
        name,
        certificates: caller.certificates.into_iter().map(Into::into).collect(),
        keys: caller.keys.into_iter().filter_map(key).collect(),
        merchants: MerchantScope::Only(BTreeSet::new()),
        operations: BTreeSet::new(),
        roles: BTreeSet::new(),
        limits: CallerLimits::default(),
    }
}

/// A time that is absent if it is 0.
fn time(ms: i64) -> Option<UnixMs> {
    (ms != 0).then_some(UnixMs(ms))
}

/// Encodes a caller for the operators' API.
pub fn caller_out(caller: &Caller) -> ops::Caller {
    to_ops(caller)
}

/// Decodes a caller of the operators' API; the error lists every fault.
pub fn caller_from(name: CallerName, caller: ops::Caller) -> Result<Caller, Vec<CallerFault>> {
    from_ops(name, caller)
}

fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Option<T> {
    all.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
}

fn choices<T: Copy + Ord>(
    field: &str,
    names: &[String],
    all: &[(T, &str)],
    faults: &mut Vec<CallerFault>,
) -> BTreeSet<T> {
    let mut chosen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(value) = named(all, name) {
            chosen.insert(value);
        } else {
            let known: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
            faults.push((format!("{field}[{i}]"), format!("must be one of {}", known.join(", "))));
        }
    }
    chosen
}

/// The two messages have the same fields, in packages that change apart from each other.
macro_rules! conversions {
    ($to:ident $from:ident $package:ident) => {
        fn $to(caller: &Caller) -> $package::Caller {
            let key = |key: &ApiKey| $package::ApiKey {
                name: key.name.as_str().to_owned(),
                sha256: Bytes::copy_from_slice(key.hash.as_bytes()),
                from_ms: key.from.map_or(0, |at| at.0),
                until_ms: key.until.map_or(0, |at| at.0),
            };
            let merchants = match &caller.merchants {
                MerchantScope::All => Vec::new(),
                MerchantScope::Only(listed) => listed.iter().map(|merchant| merchant.as_str().to_owned()).collect(),
            };
            $package::Caller {
                certificates: caller.certificates.iter().map(ToString::to_string).collect(),
                keys: caller.keys.iter().map(key).collect(),
                merchants,
                all_merchants: caller.merchants == MerchantScope::All,
                operations: caller.operations.iter().map(|operation| operation.name().to_owned()).collect(),
                roles: caller.roles.iter().map(|role| role.name().to_owned()).collect(),
                calls_per_s: caller.limits.calls_per_s.unwrap_or_default(),
                calls_max: caller.limits.calls_max.unwrap_or_default(),
            }
        }

        fn $from(name: CallerName, caller: $package::Caller) -> Result<Caller, Vec<CallerFault>> {
            let mut faults = Vec::new();
            let mut keys = Vec::new();
            for (i, key) in caller.keys.into_iter().enumerate() {
                match (KeyName::parse(key.name), KeyHash::from_bytes(&key.sha256)) {
                    (Ok(name), Ok(hash)) => {
                        keys.push(ApiKey { name, hash, from: time(key.from_ms), until: time(key.until_ms) });
                    }
                    (name, hash) => {
                        faults.extend(name.err().map(|what| (format!("keys[{i}].name"), what)));
                        faults.extend(hash.err().map(|what| (format!("keys[{i}].sha256"), what)));
                    }
                }
            }
            let mut listed = BTreeSet::new();
            for (i, merchant) in caller.merchants.into_iter().enumerate() {
                match MerchantId::parse(merchant) {
                    Ok(merchant) => drop(listed.insert(merchant)),
                    Err(what) => faults.push((format!("merchants[{i}]"), what)),
                }
            }
            if caller.all_merchants && !listed.is_empty() {
                faults.push(("merchants".to_owned(), "must be empty with all_merchants".to_owned()));
            }
            let limit = |limit: u32| (limit != 0).then_some(limit);
            let merchants = if caller.all_merchants { MerchantScope::All } else { MerchantScope::Only(listed) };
            let caller = Caller {
                name,
                certificates: caller.certificates.into_iter().map(Into::into).collect(),
                keys,
                merchants,
                operations: choices("operations", &caller.operations, Operation::ALL, &mut faults),
                roles: choices("roles", &caller.roles, Role::ALL, &mut faults),
                limits: CallerLimits { calls_per_s: limit(caller.calls_per_s), calls_max: limit(caller.calls_max) },
            };
            faults.extend(caller.faults());
            if faults.is_empty() { Ok(caller) } else { Err(faults) }
        }
    };
}

conversions! { to_bus from_bus bus }
conversions! { to_ops from_ops ops }

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            name: CallerName::parse("acquirer".to_owned()).unwrap(),
            certificates: vec!["pos.example".into()],
            keys: vec![ApiKey {
                name: KeyName::parse("2026-11".to_owned()).unwrap(),
                hash: KeyHash::from_bytes(&[7; 32]).unwrap(),
                from: Some(UnixMs(5)),
                until: None,
            }],
            merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M1".to_owned()).unwrap()])),
            operations: BTreeSet::from([Operation::Pay, Operation::Watch]),
            roles: BTreeSet::from([Role::Viewer]),
            limits: CallerLimits { calls_per_s: Some(10), calls_max: None },
        }
    }

    fn change(caller: Option<Caller>) -> CallerChange {
        CallerChange {
            name: CallerName::parse("acquirer".to_owned()).unwrap(),
            version: 3,
            caller: caller.map(Arc::new),
            is_whole: true,
            who: "w".into(),
            why: "y".into(),
            at: UnixMs(9),
        }
    }

    #[test]
    fn a_change_of_a_caller_is_read_as_it_was_written() {
        let everyone = Caller { merchants: MerchantScope::All, keys: Vec::new(), ..caller() };
        for change in [change(Some(caller())), change(Some(everyone)), change(None)] {
            assert_eq!(decode_caller_change(encode_caller_change(&change)), Ok(change.clone()));
            if let Some(caller) = change.caller {
                assert_eq!(caller_from(caller.name.clone(), caller_out(&caller)).as_ref(), Ok(&*caller));
            }
        }
    }

    #[test]
    fn a_change_that_cannot_be_read_in_full_gives_no_rights() {
        let read = |edit: fn(&mut bus::Caller)| {
            let mut record = bus::CallerChange::decode(encode_caller_change(&change(Some(caller())))).unwrap();
            record.caller.iter_mut().for_each(edit);
            decode_caller_change(record.encode_to_vec().into()).unwrap()
        };
        let powerless = |keys: Vec<ApiKey>| {
            let (merchants, limits) = (MerchantScope::Only(BTreeSet::new()), CallerLimits::default());
            Some(Arc::new(Caller {
                keys,
                merchants,
                operations: BTreeSet::new(),
                roles: BTreeSet::new(),
                limits,
                ..caller()
            }))
        };
        let broken = read(|caller| caller.calls_max = u32::MAX);
        assert!(!broken.is_whole);
        assert_eq!((broken.version, broken.caller), (3, powerless(caller().keys)), "its key is not revoked");
        let broken = read(|caller| caller.keys[0].sha256 = Bytes::new());
        assert_eq!(broken.caller, powerless(Vec::new()));
        let newer = read(|caller| caller.operations.push("settle".to_owned()));
        assert!(!newer.is_whole, "written again, it would lose an operation");
        assert_eq!(newer.caller.unwrap().operations, caller().operations);
        assert_eq!(decode_caller_change(Bytes::from_static(b"\xff")), Err(RecordFault::NotProtobuf));
    }

    #[test]
    fn every_fault_of_a_caller_is_listed_with_its_field() {
        let wrong = ops::Caller {
            keys: vec![ops::ApiKey::default()],
            merchants: vec![String::new()],
            all_merchants: true,
            operations: vec!["pay".to_owned(), "charge".to_owned()],
            roles: vec!["admin".to_owned()],
            calls_max: 2_000_000,
            ..ops::Caller::default()
        };
        let faults = caller_from(caller().name, wrong).unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        let expected = ["keys[0].name", "keys[0].sha256", "merchants[0]", "operations[1]", "roles[0]", "calls_max"];
        assert_eq!(fields, expected);
    }
}
