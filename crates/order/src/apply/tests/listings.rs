//! The directory of merchants: which of its listings decide which requests.

use std::sync::Arc;

use twqr_types::{KeyName, MerchantId, StoreId, UnixMs};

use super::{World, check, fixtures, fixtures::raw_pay};
use crate::{AcceptedMerchants, Listing, ListingChange, ListingKey, MerchantListing, Policy, Step, StoreListing};

const WALLET: &str = "22abcdefghijklmnop";

fn key(store: Option<&str>) -> ListingKey {
    let store_id = store.map(|store| StoreId::parse(store.into()).unwrap());
    ListingKey { merchant_id: MerchantId::parse("M".into()).unwrap(), store_id }
}

fn set(w: &mut World, store: Option<&str>, version: u64, listing: Option<Listing>) {
    let change =
        ListingChange { key: key(store), version, listing, who: "test".into(), why: "".into(), at: UnixMs(w.at) };
    w.set_listing(&Arc::new(change));
}

fn merchant() -> MerchantListing {
    MerchantListing { keys: Vec::new(), payment_max: Some(1_000), is_open: true, takes_any_store: false }
}

fn store(payment_max: Option<i64>, is_open: bool) -> Listing {
    Listing::Store(StoreListing { payment_max, is_open })
}

fn policy(accepted_merchants: AcceptedMerchants) -> Policy {
    fixtures::policy_with(|policy| policy.accepted_merchants = accepted_merchants)
}

/// A world in which only listed merchants may be paid: M, up to 1,000 TWD, with its stores S (up to
/// 500) and SHUT.
fn listed(w: &mut World) {
    w.set_policy(policy(AcceptedMerchants::Listed));
    set(w, None, 1, Some(Listing::Merchant(merchant())));
    set(w, Some("S"), 1, Some(store(Some(500), true)));
    set(w, Some("SHUT"), 1, Some(store(None, false)));
}

/// The StatusCode of a payment at this store; `open` if it was sent.
fn pay_at(w: &mut World, number: &str, store: &str, amount: i64) -> String {
    let mut raw = raw_pay(number, WALLET, amount);
    raw.store_id = store.into();
    w.pay_as(raw);
    w.charge(number)
}

#[test]
fn listings_decide_payments() {
    check(&[
        ("each listing's conditions count as those in a policy do", |w| {
            listed(w);
            for (number, store, amount, code) in [
                ("1", "S", 500, "open"),
                ("2", "S", 501, "932"),
                ("3", "S", 1_001, "931"),
                ("4", "X", 1, "907"),
                ("5", "SHUT", 1, "980"),
            ] {
                assert_eq!(pay_at(w, number, store, amount), code, "{store} {amount}");
            }
        }),
        ("907: a merchant that is not listed, or no longer", |w| {
            w.set_policy(policy(AcceptedMerchants::Listed));
            assert_eq!(pay_at(w, "1", "S", 1), "907");
            listed(w);
            assert_eq!(pay_at(w, "2", "S", 1), "open");
            set(w, None, 2, None);
            assert_eq!(pay_at(w, "3", "S", 1), "907", "its store is still listed, which does not count");
        }),
        ("with `any`, a merchant that is not listed is accepted without conditions, others by theirs", |w| {
            w.set_policy(policy(AcceptedMerchants::Any));
            assert_eq!(pay_at(w, "1", "X", 5_000), "open");
            set(w, None, 1, Some(Listing::Merchant(merchant())));
            assert_eq!(pay_at(w, "2", "X", 5_000), "907");
        }),
        ("a merchant may take every store, and a listed one by its conditions", |w| {
            listed(w);
            set(w, None, 2, Some(Listing::Merchant(MerchantListing { takes_any_store: true, ..merchant() })));
            assert_eq!((pay_at(w, "1", "X", 1_000), pay_at(w, "2", "S", 501)), ("open".into(), "932".into()));
        }),
        ("980: a merchant that is closed takes no refund either, and is cancelled all the same", |w| {
            listed(w);
            w.paid("T", WALLET, 100);
            set(w, None, 2, Some(Listing::Merchant(MerchantListing { is_open: false, ..merchant() })));
            assert_eq!(pay_at(w, "U", "S", 1), "980");
            w.refund("R", "T", 10);
            w.settle_forwards();
            assert_eq!(w.refund_state("R"), "980");
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
        }),
        ("904: a key that the listing does not name", |w| {
            listed(w);
            let keys = vec![KeyName::parse("new".into()).unwrap()];
            set(w, None, 2, Some(Listing::Merchant(MerchantListing { keys, ..merchant() })));
            w.signed_by = KeyName::parse("old".into()).ok();
            assert_eq!((w.pay("T", WALLET, 1), w.query("T", true)), (Step::KeyRefused, Step::KeyRefused));
            w.signed_by = KeyName::parse("new".into()).ok();
            assert_eq!(w.pay("T", WALLET, 1), Step::Accepted);
        }),
        ("listings count only where the policy says so", |w| {
            set(w, None, 1, Some(Listing::Merchant(MerchantListing { is_open: false, ..merchant() })));
            assert_eq!(pay_at(w, "1", "X", 5_000), "open");
        }),
        ("before protocol version 2 the policy's own list decides", |w| {
            w.strict = false;
            let mut early = World::without_policy();
            early.set_policy(Policy { protocol_version: 1, ..policy(AcceptedMerchants::Listed) });
            assert_eq!(pay_at(&mut early, "1", "X", 5_000), "open");
        }),
    ]);
}

#[test]
fn a_policy_has_no_merchants_of_its_own_if_the_directory_decides() {
    for accepted_merchants in [AcceptedMerchants::Any, AcceptedMerchants::Listed] {
        let policy = Policy { accepted_merchants, ..fixtures::merchants() };
        let faults = policy.faults();
        assert!(faults.len() == 1 && faults[0].to_string().contains("twqr merchants import"), "{faults:?}");
    }
}
