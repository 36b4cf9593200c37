//! A policy is limited in size, and every fault of it is listed with its place.

use std::collections::BTreeMap;

use twqr_order::{Merchant, Store};
use twqr_types::{MerchantId, StoreId};

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
        idempotent_charges: true,
        idempotent_refunds: true,
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
        protocol_version: 0,
        accepted_merchants: 0,
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
    for (starts, expected) in [(vec![], [7, 8, 9]), (vec![4], [3, 8, 9]), (vec![4, 6], [3, 5, 9])] {
        let mut versions = PolicyVersions::default();
        for version in 1..=9 {
            let (who, why) = ("w".repeat(200).into(), "y".repeat(200).into());
            let change = PolicyChange { version, policy: large.clone(), who, why, at: UnixMs(0) };
            versions.insert(version, Arc::new(change));
            fit_into_record(&mut versions, &starts);
        }
        let kept: Vec<u64> = versions.iter().map(|(_, change)| change.version).collect();
        assert_eq!(kept, expected, "the newest stay, and what replays from {starts:?} need");
    }
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

#[test]
fn which_merchants_are_accepted_is_read_as_it_was_written() {
    let routes = vec![bus::Route { prefix: "22".into(), code_lengths: vec![18], alphabet: 1, ..bus::Route::default() }];
    for accepted in [AcceptedMerchants::InPolicy, AcceptedMerchants::Any, AcceptedMerchants::Listed] {
        let written = policy_out(&Policy { accepted_merchants: accepted, ..Policy::default() });
        let read = policy_from(bus::Policy { routes: routes.clone(), ..written }).unwrap();
        assert_eq!(read.accepted_merchants, accepted);
    }
    let newer = bus::Policy { routes, accepted_merchants: 3, ..policy_out(&Policy::default()) };
    assert_eq!(policy_checked(newer).unwrap_err()[0].to_string(), "accepted_merchants: is 3, must be 0 to 2");
}
