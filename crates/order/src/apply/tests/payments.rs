//! Which issuer a payment goes to, which merchants may be paid, and what a repeat is
//! (`proto/README.md`, sections Fields and Repeats).

use super::{
    check,
    fixtures::{self, OTHER, WALLET, raw_pay},
    world::World,
};
use crate::{Alphabet, Evidence, Step, TaskKind};
use twqr_types::{Issuer, KeyName};

#[test]
fn routes_by_payment_code() {
    check(&[
        ("a code that begins with 22 is the wallet's", |w| {
            assert_eq!(w.pay("T", WALLET, 100), Step::Accepted);
            assert_eq!((w.tasks[0].issuer, w.sent("T").as_str()), (Issuer::Wallet, "charge:100"));
        }),
        ("another configured prefix is its issuer's", |w| {
            assert_eq!(w.pay("T", OTHER, 100), Step::Accepted);
            assert_eq!((w.tasks[0].issuer, w.payment("T").issuer), (fixtures::other(), Some(fixtures::other())));
        }),
        ("the longest prefix decides, also where it refuses", |w| {
            assert_eq!(w.pay("T", "IPNOefghijklmnopqr", 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("927", ""));
        }),
        ("codes are compared as they are: no case is changed", |w| {
            assert_eq!(w.pay("T", "ipabcdefghijklmnop", 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("927", ""));
        }),
        ("927: a prefix without a route", |w| {
            assert_eq!(w.pay("T", "99abcdefghijklmnop", 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.received().as_str()), ("927", "order"));
            assert_eq!(w.payment("T").charge.failure().unwrap().evidence, Evidence::Refused);
        }),
        ("927: a length that the route's codes do not have", |w| {
            for code in ["22abcdefghijklmno", "22abcdefghijklmnopq"] {
                assert_eq!(w.pay(code, code, 100), Step::Refused);
                assert_eq!(w.charge(code), "927");
            }
        }),
        ("927: a character that the route's codes do not have", |w| {
            assert_eq!(w.pay("T", "22abcdefghijklmn-_", 100), Step::Refused);
            assert_eq!(w.pay("U", "IPabcdefghijklmn-_", 100), Step::Accepted);
            w.set_policy(fixtures::policy_with(|policy| policy.routes[0].alphabet = Alphabet::Base64Url));
            assert_eq!(w.pay("V", "22abcdefghijklmn-_", 100), Step::Accepted);
        }),
        ("UnRedeem goes to the wallet unchanged", |w| {
            w.pay("T", WALLET, 100);
            let TaskKind::Charge(charge) = &w.tasks[0].kind else { panic!("no charge") };
            assert_eq!((charge.un_redeem.twd(), w.payment("T").terms.un_redeem.twd()), (7, 7));
        }),
        ("UnRedeem is forced to 0 for other issuers, in the call and in the stored order", |w| {
            w.pay("T", OTHER, 100);
            let TaskKind::Charge(charge) = &w.tasks[0].kind else { panic!("no charge") };
            assert_eq!((charge.un_redeem.twd(), w.payment("T").terms.un_redeem.twd()), (0, 0));
        }),
        ("the Debug output of orders, tasks and replies does not contain the token", |w| {
            w.pay("T", WALLET, 100);
            let printed = format!("{:?}{:?}{:?}", w.tasks, w.replies, w.order("T"));
            assert!(!printed.contains("abcdefghijklmnop"), "{printed}");
        }),
    ]);
}

#[test]
fn merchants_and_stores() {
    check(&[
        ("907: an unknown merchant", |w| {
            w.set_policy(fixtures::policy_with(|policy| policy.merchants = fixtures::merchants().merchants));
            let mut raw = raw_pay("T", WALLET, 100);
            raw.merchant_id = "N".into();
            assert_eq!(w.pay_as(raw), Step::Refused);
            assert_eq!((w.tasks.len(), w.received().as_str()), (0, "order"));
        }),
        ("907: a store that is not the merchant's", |w| {
            w.set_policy(fixtures::merchants());
            let mut raw = raw_pay("T", WALLET, 100);
            raw.store_id = "X".into();
            assert_eq!(w.pay_as(raw), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("907", ""));
        }),
        ("931: over the merchant's limit, to the dollar", |w| {
            w.set_policy(fixtures::merchants());
            for (number, amount, code) in [("T", 1_000, "open"), ("U", 1_001, "931")] {
                let mut raw = raw_pay(number, WALLET, amount);
                raw.store_id = "BIG".into();
                w.pay_as(raw);
                assert_eq!(w.charge(number), code, "{amount}");
            }
        }),
        ("932: over the store's limit, to the dollar", |w| {
            w.set_policy(fixtures::merchants());
            for (number, amount, code) in [("T", 500, "open"), ("U", 501, "932")] {
                w.pay(number, WALLET, amount);
                assert_eq!(w.charge(number), code, "{amount}");
            }
        }),
        ("980: the store is closed", |w| {
            w.set_policy(fixtures::merchants());
            let mut raw = raw_pay("T", WALLET, 100);
            raw.store_id = "SHUT".into();
            assert_eq!(w.pay_as(raw), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("980", ""));
        }),
        ("980: the merchant is closed", |w| {
            let mut policy = fixtures::merchants();
            policy.merchants[0].is_open = false;
            w.set_policy(policy);
            assert_eq!(w.pay("T", WALLET, 100), Step::Refused);
            assert_eq!(w.charge("T"), "980");
        }),
        ("an empty list of merchants allows every merchant", |w| {
            let mut raw = raw_pay("T", WALLET, 2_147_483_647);
            raw.store_id = "anywhere".into();
            assert_eq!(w.pay_as(raw), Step::Accepted);
        }),
    ]);
}

#[test]
fn repeats_and_conflicts() {
    check(&[
        ("a repeat while the first runs waits for the same result, and pays once", |w| {
            w.pay("T", WALLET, 100);
            let first = w.caller;
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.replies_to(first).as_str(), w.received().as_str()), ("", "order rep"));
            w.charged("T", fixtures::approved(100));
            assert_eq!((w.replies_to(first).as_str(), w.received().as_str()), ("order", "order rep, order rep"));
            assert_eq!(w.sent("T"), "charge:100");
        }),
        ("a repeat afterwards gets the first result at once, IsRep 1", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.received().as_str(), w.sent("T").as_str()), ("order rep", "charge:100"));
        }),
        ("a repeat of a refused payment is refused again, and charges nothing", |w| {
            w.pay("T", "99abcdefghijklmnop", 100);
            assert_eq!(w.pay("T", "99abcdefghijklmnop", 100), Step::Repeated);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("927", ""));
        }),
        ("the same number with another amount, token, store or UnRedeem is refused with the fields that differ", |w| {
            w.paid("T", WALLET, 100);
            let before = w.order("T").cloned();
            for (field, change) in [
                ("TradeAmount", (|raw| raw.trade_amount = 101) as fn(&mut twqr_types::RawPay)),
                ("CardToken", |raw| raw.card_token = "22zzcdefghijklmnop".into()),
                ("StoreID", |raw| raw.store_id = "S2".into()),
                ("UnRedeem", |raw| raw.un_redeem = 8),
            ] {
                let mut raw = raw_pay("T", WALLET, 100);
                change(&mut raw);
                assert_eq!(w.pay_as(raw), Step::Conflicted, "{field}");
                assert_eq!(w.received(), format!("{field} rep"));
            }
            assert_eq!((w.order("T"), w.sent("T").as_str()), (before.as_ref(), "charge:100"));
        }),
        ("all fields that differ are named at once", |w| {
            w.pay("T", WALLET, 100);
            let mut raw = raw_pay("T", OTHER, 101);
            raw.store_id = "S2".into();
            w.pay_as(raw);
            assert_eq!(w.received(), "StoreID+CardToken+TradeAmount rep");
        }),
        ("a repeat to another issuer is compared with what was requested, not with what was rewritten", |w| {
            w.pay("T", OTHER, 100);
            assert_eq!(w.pay("T", OTHER, 100), Step::Repeated);
            let mut raw = raw_pay("T", OTHER, 100);
            raw.un_redeem = 0;
            assert_eq!(w.pay_as(raw), Step::Conflicted);
        }),
        ("the same code under another number is another payment", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.pay("U", WALLET, 100), Step::Accepted);
            assert_ne!(w.payment("T").trade_no, w.payment("U").trade_no);
        }),
        ("a number used for a refund cannot be a payment's", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 10);
            assert_eq!(w.pay("R", WALLET, 100), Step::Conflicted);
            assert_eq!((w.received().as_str(), w.sent("R").as_str()), ("MerchantTradeNo rep", ""));
        }),
    ]);
}

/// The policy that accepts only the key `new` of merchant M.
fn only_the_new_key() -> crate::Policy {
    let mut policy = fixtures::merchants();
    policy.merchants[0].keys = vec![KeyName::parse("new".into()).unwrap()];
    policy
}

fn by(name: &str) -> Option<KeyName> {
    KeyName::parse(name.into()).ok()
}

#[test]
fn keys_that_sign_requests() {
    check(&[
        ("904: a key that is not accepted changes nothing, whatever the request is", |w| {
            w.paid("PAID", WALLET, 100);
            w.set_policy(only_the_new_key());
            let (before, tasks) = (w.order("PAID").cloned(), w.tasks.len());
            w.signed_by = by("old");
            for ask in [
                |w: &mut World| w.pay("T", WALLET, 100),
                |w: &mut World| w.pay("PAID", WALLET, 100),
                |w: &mut World| w.refund("R", "PAID", 10),
                |w: &mut World| w.cancel("PAID", WALLET, 100),
                |w: &mut World| w.cancel("T", WALLET, 100),
                |w: &mut World| w.query("PAID", true),
            ] {
                assert_eq!((ask(w), w.received().as_str()), (Step::KeyRefused, "key refused"));
            }
            assert_eq!((w.order("PAID").cloned(), w.order("T"), w.order("R")), (before, None, None));
            assert_eq!((w.tasks.len(), w.forwards.len()), (tasks, 0));
            w.signed_by = by("new");
            assert_eq!(w.pay("T", WALLET, 100), Step::Accepted, "no cancel was noted");
        }),
        ("any key is accepted where the policy names none, and where nothing was signed", |w| {
            w.signed_by = by("old");
            assert_eq!(w.pay("T", WALLET, 100), Step::Accepted);
            w.set_policy(fixtures::merchants());
            assert_eq!(w.pay("U", WALLET, 100), Step::Accepted);
            w.set_policy(only_the_new_key());
            w.signed_by = None;
            assert_eq!(w.pay("V", WALLET, 100), Step::Accepted);
        }),
        ("an accepted order continues when its key is no longer accepted", |w| {
            w.signed_by = by("old");
            w.pay("T", WALLET, 100);
            w.set_policy(only_the_new_key());
            assert_eq!(w.charged("T", fixtures::approved(100)), Step::Paid);
        }),
    ]);
}
