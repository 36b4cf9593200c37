//! Which refunds each issuer takes, by configuration (`proto/README.md`, section Refunds).

use super::{
    check,
    fixtures::{self, DAY, OTHER, WALLET, refund_rule, refunded_result},
};
use twqr_types::CutOff;

use crate::{RefundRule, RefundScope};

/// The refund of `amount`, requested `later` ms after a payment of 100 at noon, under this rule:
/// its state, as [`World::refund_state`] names it.
fn refund_under(w: &mut super::World, rule: RefundRule, amount: i64, later: i64) -> String {
    w.set_policy(refund_rule(rule));
    let number = format!("T{}", w.tasks.len());
    let refund = format!("R{number}");
    w.paid(&number, OTHER, 100);
    w.at += later;
    w.refund(&refund, &number, amount);
    let received = w.refund_state(&refund);
    w.at -= later;
    received
}

#[test]
fn refund_rules_by_issuer() {
    check(&[
        ("scope none: this issuer takes no refunds", |w| {
            let rule = RefundRule { scope: RefundScope::None, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, 0), "951");
        }),
        ("scope full: only all of it at once", |w| {
            let rule = RefundRule { scope: RefundScope::Full, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 99, 0), "951");
            assert_eq!(refund_under(w, rule, 100, 0), "open");
        }),
        ("partial", |w| assert_eq!(refund_under(w, RefundRule::default(), 1, 900 * DAY), "open")),
        ("same day only: noon to midnight in Taipei", |w| {
            let rule = RefundRule { same_business_day: true, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, DAY / 2 - 1), "open");
            assert_eq!(refund_under(w, rule, 100, DAY / 2), "951");
        }),
        ("same day only, where days begin later: configuration", |w| {
            let rule = RefundRule { same_business_day: true, ..RefundRule::default() };
            let mut policy = refund_rule(rule);
            policy.cut_off = CutOff::parse("01:00").unwrap();
            w.set_policy(policy);
            w.paid("T", OTHER, 100);
            w.at += DAY / 2 + 3_600_000 - 1;
            w.refund("R", "T", 50);
            w.at += 1;
            w.refund("S", "T", 50);
            assert_eq!((w.refund_state("R").as_str(), w.refund_state("S").as_str()), ("open", "951"));
        }),
        ("a window in days", |w| {
            let rule = RefundRule { window_days: Some(2), ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 100, 2 * DAY + DAY / 2 - 1), "open");
            assert_eq!(refund_under(w, rule, 100, 2 * DAY + DAY / 2), "951");
        }),
        ("a minimum, but a refund of all that remains may be smaller", |w| {
            let rule = RefundRule { min_amount: 40, ..RefundRule::default() };
            assert_eq!(refund_under(w, rule, 39, 0), "951");
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 90);
            w.refunded("T", "R", refunded_result(90));
            w.refund("S", "T", 9);
            w.refund("U", "T", 10);
            assert_eq!((w.refund_state("S").as_str(), w.refund_state("U").as_str()), ("951", "open"));
        }),
        ("the rules are those of the payment's issuer", |w| {
            w.set_policy(refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() }));
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refund_state("R"), "open");
        }),
        ("the StatusCode of a refused refund is configuration", |w| {
            let mut policy = refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() });
            policy.status_codes.refund_refused = twqr_types::StatusCode::parse("975").unwrap();
            w.set_policy(policy);
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refund_state("R"), "975");
        }),
        ("the rules in force at the refund decide, and the answer stays", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.set_policy(refund_rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() }));
            w.refund("S", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            w.set_policy(fixtures::policy());
            w.refund("S", "T", 30);
            assert_eq!((w.refund_state("R").as_str(), w.refund_state("S").as_str()), ("done", "951"));
        }),
        ("an issuer in announced maintenance gets no refunds: refused, nothing sent", |w| {
            w.paid("T", OTHER, 100);
            w.set_policy(fixtures::maintenance(0, 60_000));
            w.refund("R", "T", 30);
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("982", "charge:100"));
        }),
        ("an issuer in announced maintenance gets no inquiry about a refund", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.set_policy(fixtures::maintenance(0, 60_000));
            w.due("T", 5_000);
            assert_eq!(w.sent("T"), "charge:100 refund:R:30");
            assert!(w.payment("T").due_at().unwrap().0 >= fixtures::NOON + 60_000);
        }),
    ]);
}
