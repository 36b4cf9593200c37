//! Cancels: POS API, sections 1, 2 and 4.

use super::{
    check,
    given::{self, OTHER, WALLET, approved, declined, declined_by, given_back, not_sent, raw_pay, reversed, unknown},
};
use crate::{DeclineKind, Evidence, Order, Step, TaskResult};
use twqr_types::RawPay;

#[test]
fn before_and_instead_of_a_payment() {
    check(&[
        ("4 a Cancel that found no such payment succeeds, and so does its repeat", |w| {
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!(w.told(), "order");
            assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
            assert_eq!(w.told(), "order rep");
            assert!(matches!(w.order("T"), Some(Order::EarlyCancel(_))));
        }),
        ("4 a Cancel that found no such payment: a late Payment is refused with 812 and never charges", |w| {
            w.cancel("T", WALLET, 100);
            assert_eq!(w.pay("T", WALLET, 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.told().as_str(), w.sent("T").as_str()), ("812", "order", ""));
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", ""));
        }),
        (
            "4 a Cancel that succeeded before its payment came succeeds again, also after a payment with other fields",
            |w| {
                w.cancel("T", WALLET, 100);
                assert_eq!(w.pay("T", OTHER, 200), Step::Refused);
                assert_eq!(w.cancel("T", WALLET, 100), Step::Repeated);
                assert_eq!(
                    (w.told().as_str(), w.cancelled("T").as_str(), w.sent("T").as_str()),
                    ("order rep", "nothing", "")
                );
            },
        ),
        ("4 a Cancel of a refund's number finds no payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.cancel("R", WALLET, 30), Step::Refused);
            assert_eq!((w.told().as_str(), w.told_refund("R").as_str()), ("not found rep", "open"));
        }),
        ("4 after a Cancel that succeeded a Payment never charges again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!(w.pay("T", WALLET, 100), Step::Repeated);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("done", "charge:100 reverse:100"));
        }),
    ]);
}

#[test]
fn the_five_fields() {
    check(&[
        ("2 GatewayTradeNo, CardToken, TradeAmount and UnRedeem must equal the payment's", |w| {
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
                assert_eq!(w.told(), format!("{field} rep"));
            }
            assert_eq!((w.order("T"), w.sent("T").as_str()), (before.as_ref(), "charge:100"));
        }),
        ("2 the fifth, MerchantTradeNo, names the payment: another one is another payment", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("U", WALLET, 100);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("none", "charge:100"));
        }),
        ("2 UnRedeem of another issuer's payment is 0 however it is asked, and a cancel matches that", |w| {
            for (number, un_redeem) in [("T", 7), ("U", 0), ("V", 5)] {
                w.paid(number, OTHER, 100);
                let mut raw = raw_pay(number, OTHER, 100);
                raw.un_redeem = un_redeem;
                assert_eq!(w.cancel_as(raw), Step::Cancelling, "{un_redeem}");
            }
        }),
        ("2 StoreID, PosID and the rest need not be the payment's", |w| {
            w.paid("T", WALLET, 100);
            let mut raw = raw_pay("T", WALLET, 100);
            (raw.store_id, raw.pos_id, raw.remark) = ("S2".into(), "P2".into(), "wrong coffee".into());
            assert_eq!(w.cancel_as(raw), Step::Cancelling);
        }),
    ]);
}

#[test]
fn in_every_state_of_the_payment() {
    check(&[
        ("1 the wallet's paid payment: reversed, and told", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
            assert_eq!(w.reversed("T", reversed()), Step::Cancelled);
            assert_eq!((w.told().as_str(), w.cancelled("T").as_str()), ("order, order", "done"));
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("4 a failed payment: nothing to take back, succeeds at once", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", declined("928"));
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100"));
        }),
        ("4 a payment in progress that is paid then: waits, then reverses", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("waiting", "charge:100"));
            w.charged("T", approved(100));
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.told().as_str()), ("done", "order, order, order"));
        }),
        ("4 a payment in progress that fails then: nothing to take back", |w| {
            w.pay("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.charged("T", not_sent());
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100"));
            assert_eq!(w.told(), "order, order");
        }),
        ("4 a payment without an answer: waits until the issuer is asked, and never before reverses", |w| {
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
        ("4 a payment refunded in part: takes back what is left", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.payment("T").cancel.as_ref().unwrap().amount), ("done", 70));
        }),
        ("4 a refund in progress that succeeds then: waits for it, takes back what is left", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.cancel("T", WALLET, 100);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("waiting", "charge:100 refund:R:30"));
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.sent("T"), "charge:100 refund:R:30 reverse:70");
        }),
        ("4 a refund in progress that fails then: takes back all", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.cancel("T", WALLET, 100);
            w.refunded("T", "R", declined("961"));
            assert_eq!(w.sent("T"), "charge:100 refund:R:30 reverse:100");
        }),
        ("4 several refunds in progress: waits for the last of them", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refund("S", "T", 30);
            w.cancel("T", WALLET, 100);
            w.refunded("T", "S", given_back(30));
            assert_eq!(w.cancelled("T"), "waiting");
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.tasks.len(), 4, "{}", w.sent("T"));
            assert!(w.sent("T").ends_with("reverse:40"));
        }),
        ("4 a payment refunded as a whole: nothing to take back", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", given_back(100));
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelled);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("nothing", "charge:100 refund:R:100"));
        }),
        ("4 refund rules do not bind a cancel", |w| {
            w.set_policy(given::refund_rule(crate::RefundRule {
                scope: crate::RefundScope::None,
                ..Default::default()
            }));
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("4 a closed merchant's payments can be cancelled", |w| {
            w.paid("T", WALLET, 100);
            let mut policy = given::merchants();
            policy.merchants[0].is_open = false;
            w.set_policy(policy);
            assert_eq!(w.cancel("T", WALLET, 100), Step::Cancelling);
        }),
    ]);
}

#[test]
fn refused_not_sent_and_unanswered() {
    check(&[
        ("4 another issuer may refuse: told, with FISC's reason, and the payment stays paid", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.reversed("T", declined_by(DeclineKind::Fisc, "0205")), Step::Failed(Evidence::Declined));
            assert_eq!((w.told().as_str(), w.cancelled("T").as_str()), ("order, order", "982"));
            assert_eq!(&*w.payment("T").cancel.as_ref().unwrap().refusal().unwrap().status_desc, "0205 why");
        }),
        ("4 the same Cancel may come again after a refusal: the issuer is asked once more, and says yes", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Cancelling);
            assert_eq!(w.told(), "order");
            w.reversed("T", reversed());
            assert_eq!(
                (w.cancelled("T").as_str(), w.sent("T").as_str()),
                ("done", "charge:100 reverse:100 reverse:100")
            );
        }),
        ("4 the same Cancel while the first runs waits for the same answer: one reversal", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            w.reversed("T", reversed());
            assert_eq!((w.told().as_str(), w.sent("T").as_str()), ("order rep, order rep", "charge:100 reverse:100"));
        }),
        ("4 the same Cancel once it is done: done already", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", reversed());
            assert_eq!(w.cancel("T", OTHER, 100), Step::Repeated);
            assert_eq!((w.told().as_str(), w.sent("T").as_str()), ("order rep", "charge:100 reverse:100"));
        }),
        ("4 after a refusal the payment can be refunded, and what is left cancelled again", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.reversed("T", declined_by(DeclineKind::Issuer, "0205"));
            w.refund("R", "T", 30);
            w.cancel("T", OTHER, 100);
            assert_eq!(w.cancelled("T"), "waiting");
            w.refunded("T", "R", given_back(30));
            assert!(w.sent("T").ends_with("reverse:70"), "{}", w.sent("T"));
        }),
        ("4 a reversal that was not sent goes out again by itself", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", not_sent()), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.told().as_str()), ("again", "order"));
            assert_eq!(w.due_in_time("T"), Step::Inquired);
            assert_eq!(w.sent("T"), "charge:100 reverse:100 reverse:100");
        }),
        ("1 the own wallet's cancel always succeeds: one that came too late goes out again by itself", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", declined("906")), Step::Cancelling);
            assert_eq!(w.cancelled("T"), "again");
            w.due_in_time("T");
            w.reversed("T", reversed());
            assert_eq!(w.cancelled("T"), "done");
        }),
        ("4 a reversal without an answer is asked about, not sent again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", unknown());
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal");
            w.reversed("T", reversed());
            assert_eq!((w.cancelled("T").as_str(), w.told().as_str()), ("done", "order, order"));
        }),
        ("4 a reversal that surely never arrived goes out again", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.reversed("T", TaskResult::Absent), Step::Cancelling);
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal reverse:100");
        }),
        ("4 an issuer in announced maintenance gets no reversal; it goes out after it", |w| {
            w.paid("T", OTHER, 100);
            w.set_policy(given::maintenance(0, 60_000));
            assert_eq!(w.cancel("T", OTHER, 100), Step::Cancelling);
            assert_eq!((w.cancelled("T").as_str(), w.sent("T").as_str()), ("again", "charge:100"));
            assert_eq!(w.due("T", 59_999), Step::Ignored);
            w.due("T", 1);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
        }),
        ("4 an issuer in announced maintenance is not asked about a reversal", |w| {
            w.paid("T", OTHER, 100);
            w.cancel("T", OTHER, 100);
            w.set_policy(given::maintenance(0, 60_000));
            w.due("T", 5_000);
            assert_eq!(w.sent("T"), "charge:100 reverse:100");
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 reverse:100 ask-reversal");
        }),
    ]);
}
