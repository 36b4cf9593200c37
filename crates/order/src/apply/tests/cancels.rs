//! Rules of cancels (`proto/README.md`, section Cancels).

use super::{
    check,
    fixtures::{self, OTHER, WALLET, approved, declined, not_sent, raw_pay, refunded_result, reversed, unknown},
};
use crate::{Order, Step};
use twqr_types::RawPay;

#[test]
fn cancels_before_and_instead_of_a_payment() {
    check(&[
        ("a Cancel that found no such payment succeeds, and so does its repeat", |w| {
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!(w.received(), "order");
            assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
            assert_eq!(w.received(), "order rep");
            assert!(matches!(w.order("T"), Some(Order::EarlyCancel(_))));
        }),
        ("a Cancel that found no such payment: a late Payment is refused with 812 and never charges", |w| {
            w.cancel("T", WALLET, 100);
            assert_eq!(w.pay("T", WALLET, 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.received().as_str(), w.sent("T").as_str()), ("812", "order", ""));
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", ""));
        }),
        (
            "a Cancel that succeeded before its payment arrived succeeds again, also after a payment with other fields",
            |w| {
                w.cancel("T", WALLET, 100);
                assert_eq!(w.pay("T", OTHER, 200), Step::Refused);
                assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
                assert_eq!(
                    (w.received().as_str(), w.cancelled("T").as_str(), w.sent("T").as_str()),
                    ("order rep", "nothing", "")
                );
            },
        ),
        ("a Cancel of a refund's number finds no payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.cancel("R", WALLET, 30), Step::Refused);
            assert_eq!((w.received().as_str(), w.refund_state("R").as_str()), ("not found rep", "open"));
        }),
        ("after a Cancel that succeeded a Payment never charges again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("done", "charge:100 reverse:100"));
        }),
    ]);
}

#[test]
fn the_fields_of_a_cancel_must_be_the_payments() {
    check(&[
        ("GatewayTradeNo, CardToken, TradeAmount and UnRedeem must equal the payment's", |w| {
            w.paid("T", WALLET, 100);
            let before = w.order("T").cloned();
            for (field, change) in [
                ("GatewayTradeNo", (|raw| raw.gateway_trade_no = "H".into()) as fn(&mut RawPay)),
                ("CardToken", |raw| raw.card_token = "22zzcdefghijklmnop".into()),
                ("TradeAmount", |raw| raw.trade_amount = 99),
                ("UnRedeem", |raw| raw.un_redeem = 0),
            ] {
                let mut raw = raw_pay("T", WALLET, 100);
                change(&mut raw);
                assert_eq!(w.cancel_as(raw), Step::Conflicted, "{field}");
                assert_eq!(w.received(), format!("{field} rep"));
            }
            assert_eq!((w.order("T"), w.sent("T").as_str()), (before.as_ref(), "charge:100"));
        }),
        ("MerchantTradeNo names the payment: another one is another payment", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("U", WALLET, 100);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("none", "charge:100"));
        }),
        ("UnRedeem of another issuer's payment is 0 whatever is requested, and a cancel matches that", |w| {
            for (number, un_redeem) in [("T", 7), ("U", 0), ("V", 5)] {
                w.paid(number, OTHER, 100);
                let mut raw = raw_pay(number, OTHER, 100);
                raw.un_redeem = un_redeem;
                assert_eq!(w.cancel_as(raw), Step::Cancelling, "{un_redeem}");
            }
        }),
        ("StoreID, PosID and the rest need not be the payment's", |w| {
            w.paid("T", WALLET, 100);
            let mut raw = raw_pay("T", WALLET, 100);
            (raw.store_id, raw.pos_id, raw.remark) = ("S2".into(), "P2".into(), "wrong coffee".into());
            assert_eq!(w.cancel_as(raw), Step::Cancelling);
        }),
    ]);
}

#[test]
fn cancels_in_every_state_of_the_payment() {
    check(&[
        ("a payment by the wallet: reversed, and answered so", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
            assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
            assert_eq!((w.received().as_str(), w.cancelled("T").as_str()), ("order, order", "done"));
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("a failed payment: nothing to reverse, succeeds at once", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", declined("928"));
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100"));
        }),
        ("a payment in progress that is paid then: waits, then reverses", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("waiting", "charge:100"));
            w.charged("T", approved(100));
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.received().as_str()), ("done", "order, order, order"));
        }),
        ("a payment in progress that fails then: nothing to reverse", |w| {
            w.pay("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.charged("T", not_sent());
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100"));
            assert_eq!(w.received(), "order, order");
        }),
        ("a payment without a result: waits for an inquiry, and never reverses before", |w| {
            w.pay("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.charged("T", unknown());
            assert_eq!(w.cancelled("T"), "waiting");
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.sent("T"), "charge:100 ask-charge");
            w.charged("T", approved(100));
            assert_eq!(w.sent("T"), "charge:100 ask-charge reverse:100");
        }),
        ("a payment refunded in part: reverses what remains", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.payment("T").cancel.as_ref().unwrap().amount), ("done", 70));
        }),
        ("a refund in progress that succeeds then: waits for it, reverses what remains", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.cancel("T", WALLET, 100);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("waiting", "charge:100 refund:R:30"));
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.sent("T"), "charge:100 refund:R:30 reverse:70");
        }),
        ("a refund in progress that fails then: reverses all of it", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.cancel("T", WALLET, 100);
            w.refunded("T", "R", declined("961"));
            assert_eq!(w.sent("T"), "charge:100 refund:R:30 reverse:100");
        }),
        ("several refunds in progress: waits for the last of them", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refund("S", "T", 30);
            w.cancel("T", WALLET, 100);
            w.refunded("T", "S", refunded_result(30));
            assert_eq!(w.cancelled("T"), "waiting");
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.tasks.len(), 4, "{}", w.sent("T"));
            assert!(w.sent("T").ends_with("reverse:40"));
        }),
        ("a payment refunded in full: nothing to reverse", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", refunded_result(100));
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100 refund:R:100"));
        }),
        ("refund rules do not bind a cancel", |w| {
            w.set_policy(fixtures::refund_rule(crate::RefundRule {
                scope: crate::RefundScope::None,
                ..Default::default()
            }));
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("a closed merchant's payments can be cancelled", |w| {
            w.paid("T", WALLET, 100);
            let mut policy = fixtures::merchants();
            policy.merchants[0].is_open = false;
            w.set_policy(policy);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
        }),
    ]);
}
