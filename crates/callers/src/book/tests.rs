//! Which changes count, and whom a credential identifies.

use std::collections::BTreeSet;

use twqr_types::MerchantId;

use super::*;
use crate::{ApiKey, CallerLimits, MerchantScope, NewKey, Operation};

fn name(name: &str) -> CallerName {
    CallerName::parse(name.to_owned()).unwrap()
}

fn key(key_name: &str, seed: u8) -> ApiKey {
    let name = KeyName::parse(key_name.to_owned()).unwrap();
    ApiKey { name, hash: NewKey::of_random([seed; 32]).hash(), from: None, until: None }
}

fn caller(of: &str, keys: Vec<ApiKey>, certificates: &[&str]) -> Caller {
    Caller {
        name: name(of),
        certificates: certificates.iter().map(|name| (*name).into()).collect(),
        keys,
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M1".to_owned()).unwrap()])),
        operations: BTreeSet::from([Operation::Pay]),
        roles: BTreeSet::new(),
        limits: CallerLimits::default(),
    }
}

fn change(version: u64, of: &str, caller: Option<Caller>) -> CallerChange {
    let caller = caller.map(Arc::new);
    CallerChange { name: name(of), version, caller, is_whole: true, who: "w".into(), why: "y".into(), at: UnixMs(1) }
}

fn identified(book: &Book, seed: u8) -> Result<String, Denial> {
    let credential = Credential::Key(Some(NewKey::of_random([seed; 32]).hash()));
    let found = book.identify(&credential, UnixMs(5))?;
    Ok(format!("{}/{}", found.caller.name, found.key.unwrap()))
}

#[test]
fn a_change_counts_if_its_version_is_above_the_newest() {
    let mut book = Book::configured(vec![caller("a", vec![key("k1", 1)], &[])]);
    assert_eq!(identified(&book, 1), Ok("a/k1".to_owned()));
    let rotated = caller("a", vec![key("k1", 1), key("k2", 2)], &[]);
    let taken = book.take([
        change(0, "a", None),
        change(1, "a", Some(rotated)),
        change(1, "a", None),
        change(1, "b", Some(caller("b", vec![key("k", 3)], &[]))),
    ]);
    assert_eq!(taken, [false, true, false, true]);
    assert_eq!(identified(&book, 1), Ok("a/k1".to_owned()), "both keys are valid during a rotation");
    assert_eq!(identified(&book, 2), Ok("a/k2".to_owned()));
    assert_eq!(identified(&book, 3), Ok("b/k".to_owned()));
    book.take([change(2, "a", Some(caller("a", vec![key("k2", 2)], &[])))]);
    assert_eq!(identified(&book, 1), Err(Denial::UnknownKey), "a revoked key");
    assert_eq!(identified(&book, 2), Ok("a/k2".to_owned()));
    assert_eq!(
        book.take([change(4, "a", None), change(3, "a", None)]),
        [true, false],
        "version 3 was not read in time"
    );
    assert_eq!(identified(&book, 2), Err(Denial::UnknownKey), "a caller that was taken out");
    assert_eq!((book.version(&name("a")), book.version(&name("b")), book.iter().count()), (4, 1, 2));
}

#[test]
fn a_revoked_key_stays_revoked() {
    let both = || caller("a", vec![key("k1", 1), key("k2", 2)], &["pos.example"]);
    let revoked = |book: &Book, caller: &Caller| {
        book.revoked_keys(caller).map(|key| key.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    let mut book = Book::configured(vec![both()]);
    book.take([change(1, "a", Some(caller("a", vec![key("k2", 2)], &[])))]);
    assert_eq!(revoked(&book, &both()), ["k1"]);
    // A document from before the revocation, also under other names.
    let renamed = caller("a", vec![key("other", 1), key("k2", 2)], &[]);
    book.take([change(2, "a", Some(renamed)), change(1, "b", Some(caller("b", vec![key("k", 1)], &[])))]);
    assert_eq!(identified(&book, 1), Err(Denial::UnknownKey));
    assert_eq!(identified(&book, 2), Ok("a/k2".to_owned()), "a key that was never left out");
    book.take([change(3, "a", None), change(4, "a", Some(both()))]);
    assert_eq!(identified(&book, 2), Err(Denial::UnknownKey), "its caller was taken out");
    let with_new = caller("a", vec![key("k2", 2), key("k3", 3)], &[]);
    assert_eq!(revoked(&book, &with_new), ["k2"]);
    book.take([change(5, "a", Some(with_new))]);
    assert_eq!(identified(&book, 3), Ok("a/k3".to_owned()), "a new key brings the caller back");
}

#[test]
fn a_revoked_certificate_stays_revoked() {
    let both = || caller("a", Vec::new(), &["old.example", "new.example"]);
    let owner = |book: &Book, name: &str| {
        let credential = Credential::Certificate([name.into()].into());
        book.identify(&credential, UnixMs(0)).map(|found| found.caller.name.to_string())
    };
    let mut book = Book::configured(vec![both()]);
    assert_eq!(owner(&book, "old.example"), Ok("a".to_owned()));
    book.take([change(1, "a", Some(caller("a", Vec::new(), &["new.example"])))]);
    assert_eq!(book.revoked_certificates(&both()).collect::<Vec<_>>(), ["old.example"]);
    // A document from before the revocation, also of another caller.
    book.take([change(2, "a", Some(both())), change(1, "b", Some(caller("b", Vec::new(), &["old.example"])))]);
    assert_eq!(owner(&book, "old.example"), Err(Denial::UnknownCertificate));
    assert_eq!(owner(&book, "new.example"), Ok("a".to_owned()), "a name that was never left out");
    book.take([change(3, "a", None), change(4, "a", Some(both()))]);
    assert_eq!(owner(&book, "new.example"), Err(Denial::UnknownCertificate), "its caller was taken out");
    book.take([change(5, "a", Some(caller("a", Vec::new(), &["newest.example"])))]);
    assert_eq!(owner(&book, "newest.example"), Ok("a".to_owned()), "a new name brings the caller back");
}

#[test]
fn a_key_counts_in_its_time_only() {
    let timed = ApiKey { until: Some(UnixMs(5)), ..key("k", 1) };
    let book = Book::configured(vec![caller("a", vec![timed], &[])]);
    assert_eq!(identified(&book, 1), Err(Denial::KeyOutOfTime));
    assert_eq!(book.identify(&Credential::Key(None), UnixMs(0)), Err(Denial::UnknownKey));
}

#[test]
fn a_certificate_is_found_by_one_of_its_names() {
    let book = Book::configured(vec![caller("a", Vec::new(), &["pos.example", "spiffe://x/a"])]);
    let of = |names: &[&str]| Credential::Certificate(names.iter().map(|name| (*name).into()).collect());
    let found = book.identify(&of(&["other.example", "spiffe://x/a"]), UnixMs(0)).unwrap();
    assert_eq!((found.caller.name.as_str(), found.key), ("a", None));
    assert_eq!(book.identify(&of(&["other.example"]), UnixMs(0)), Err(Denial::UnknownCertificate));
    assert_eq!(book.identify(&of(&[]), UnixMs(0)), Err(Denial::UnknownCertificate));
}

#[test]
fn a_credential_of_two_callers_identifies_neither() {
    let a = caller("a", vec![key("k", 1)], &["x.example"]);
    let b = caller("b", vec![key("k", 1)], &["x.example"]);
    let book = Book::configured(vec![a, b.clone()]);
    assert_eq!(identified(&book, 1), Err(Denial::UnknownKey));
    let names = Credential::Certificate(["x.example".into()].into());
    assert_eq!(book.identify(&names, UnixMs(0)), Err(Denial::UnknownCertificate));
    assert_eq!(book.sharing(&b), [&name("a")]);
}

#[test]
fn a_caller_acts_for_its_merchants_only() {
    let listed = caller("a", Vec::new(), &[]);
    assert_eq!(["M1", "M2", "", "M1 "].map(|merchant| listed.acts_for(merchant)), [true, false, false, false]);
    let all = Caller { merchants: MerchantScope::All, ..listed };
    assert!(all.acts_for("M2"));
}

#[test]
fn every_fault_of_a_caller_is_named() {
    let wrong = Caller {
        certificates: vec!["".into(), "a b".into(), "c".into(), "c".into()],
        keys: vec![key("k", 1), key("k", 2), ApiKey { from: Some(UnixMs(2)), until: Some(UnixMs(1)), ..key("l", 3) }],
        limits: CallerLimits { calls_per_s: Some(0), calls_max: Some(1_000_001) },
        ..caller("a", Vec::new(), &[])
    };
    let fields: Vec<String> = wrong.faults().into_iter().map(|(field, _)| field).collect();
    let expected = [
        "certificates[0]",
        "certificates[1]",
        "certificates[3]",
        "keys[1]",
        "keys[2].until",
        "calls_per_s",
        "calls_max",
    ];
    assert_eq!(fields, expected);
    assert!(caller("a", vec![key("k", 1)], &["c"]).faults().is_empty());
    for wrong in ["", "a b", "é", &"a".repeat(61)] {
        assert!(CallerName::parse(wrong.to_owned()).is_err(), "{wrong}");
    }
}
