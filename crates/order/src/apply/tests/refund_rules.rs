//! Which refunds each issuer takes, by configuration: POS API, section 4.

use super::{
    check,
    given::{self, DAY, OTHER, WALLET, given_back, refund_rule},
};
use twqr_types::CutOff;

use crate::{RefundRule, RefundScope};

/// Under this rule, a payment of 100 at noon and a refund of `amount` after `later` ms: where the
/// refund stands.
fn refund_under(w: &mut super::World, rule: RefundRule, amount: i64, later: i64) -> String {
    w.set_policy(refund_rule(rule));
    let number = format!("T{}", w.tasks.len());
    let refund = format!("R{number}");
    w.paid(&number, OTHER, 100);
    w.at += later;
    w.refund(&refund, &number, amount);
    let told = w.told_refund(&refund);
    w.at -= later;
    told
}

#[test]
fn rules_by_issuer() {
    check(&[
        ("4 none: this issuer takes no refunds", |w| {
            let rule = RefundRule { scope: RefundScope::None, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, 0), "951");
        }),
        ("4 full only", |w| {
            let rule = RefundRule { scope: RefundScope::Full, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 99, 0), "951");
            assert_eq!(refund_under(w, rule, 100, 0), "open");
        }),
        ("4 partial", |w| assert_eq!(refund_under(w, RefundRule::default(), 1, 900 * DAY), "open")),
        ("4 same day only: noon to midnight in Taipei", |w| {
            let rule = RefundRule { same_business_day: true, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, DAY / 2 - 1), "open");
            assert_eq!(refund_under(w, rule, 100, DAY / 2), "951");
        }),
        ("4 same day only, where days begin later: configuration", |w| {
            let rule = RefundRule { same_business_day: true, ..RefundRule::default() };
            let mut policy = refund_rule(rule);
            policy.cut_off = CutOff::parse("01:00").unwrap();
            w.set_policy(policy);
            w.paid("T", OTHER, 100);
            w.at += DAY / 2 + 3_600_000 - 1;
            w.refund("R", "T", 50);
            w.at += 1;
            w.refund("S", "T", 50);
            assert_eq!((w.told_refund("R").as_str(), w.told_refund("S").as_str()), ("open", "951"));
        }),
        ("4 a window in days", |w| {
            let rule = RefundRule { window_days: Some(2), ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, 2 * DAY + DAY / 2 - 1), "open");
            assert_eq!(refund_under(w, rule, 100, 2 * DAY + DAY / 2), "951");
        }),
        ("4 a minimum, but what is left may be less", |w| {
            let rule = RefundRule { min_amount: 40, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 39, 0), "951");
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 90);
            w.refunded("T", "R", given_back(90));
            w.refund("S", "T", 9);
            w.refund("U", "T", 10);
            assert_eq!((w.told_refund("S").as_str(), w.told_refund("U").as_str()), ("951", "open"));
        }),
        ("4 the rules are the payment's issuer's, not anybody's", |w| {
            w.set_policy(refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() }));
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.told_refund("R"), "open");
        }),
        ("4 what the rules refuse has a code that is configuration", |w| {
            let mut policy = refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() });
            policy.status_codes.refund_refused = twqr_types::StatusCode::parse("975").unwrap();
            w.set_policy(policy);
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.told_refund("R"), "975");
        }),
        ("4 the rules that hold are those of the refund's time, and an answer stays", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.set_policy(refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() }));
            w.refund("S", "T", 30);
            w.refunded("T", "R", given_back(30));
            w.set_policy(given::policy());
            w.refund("S", "T", 30);
            assert_eq!((w.told_refund("R").as_str(), w.told_refund("S").as_str()), ("done", "951"));
        }),
        ("4 an issuer in announced maintenance gets no refunds: refused, nothing sent", |w| {
            w.paid("T", OTHER, 100);
            w.set_policy(given::maintenance(0, 60_000));
            w.refund("R", "T", 30);
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("982", "charge:100"));
        }),
        ("4 an issuer in announced maintenance is not asked about a refund", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.set_policy(given::maintenance(0, 60_000));
            w.due("T", 5_000);
            assert_eq!(w.sent("T"), "charge:100 refund:R:30");
            assert!(w.payment("T").due_at().unwrap().0 >= given::NOON + 60_000);
        }),
    ]);
}
