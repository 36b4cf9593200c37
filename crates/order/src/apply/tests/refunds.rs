//! Refunds, their numbers and their sums: POS API, sections 2 and 4.

use super::{
    check,
    given::{self, OTHER, WALLET, declined, given_back, not_sent, raw_refund, refund_form, unknown},
};
use crate::{Command, Evidence, RefundRequest, Step, TaskResult};
use twqr_types::{ShardId, TradeNo, UnixMs};

#[test]
fn what_comes_of_a_refund() {
    check(&[
        ("2 a refund under its own number gives back a part, and both orders say so", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.refund("R", "T", 30), Step::Accepted);
            assert_eq!((w.told().as_str(), w.told_refund("R").as_str()), ("order", "open"));
            assert_eq!(w.refunded("T", "R", given_back(30)), Step::Refunded);
            assert_eq!((w.told().as_str(), w.told_refund("R").as_str()), ("order, order", "done"));
            assert_eq!((w.payment("T").refunded(), w.sent("T").as_str()), (30, "charge:100 refund:R:30"));
        }),
        ("2 several partial refunds, up to all of it", |w| {
            w.paid("T", WALLET, 100);
            for (number, amount) in [("R", 30), ("S", 30), ("U", 40)] {
                w.refund(number, "T", amount);
                w.refunded("T", number, given_back(amount));
                assert_eq!(w.told_refund(number), "done");
            }
            assert_eq!(w.payment("T").refunded(), 100);
        }),
        ("3 922: the sum never exceeds the payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            w.refunded("T", "R", given_back(60));
            w.refund("S", "T", 41);
            assert_eq!((w.told_refund("S").as_str(), w.told().as_str()), ("922", "order, order"));
        }),
        ("4 what is in progress counts, too: two at the same time never exceed the payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            w.refund("S", "T", 60);
            assert_eq!((w.told_refund("R").as_str(), w.told_refund("S").as_str()), ("open", "922"));
        }),
        ("2 what a refund did not give back is there for another one, under another number", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", declined("961"));
            assert_eq!(w.told_refund("R"), "961");
            w.refund("S", "T", 100);
            assert_eq!(
                (w.told_refund("S").as_str(), w.sent("T").as_str()),
                ("open", "charge:100 refund:R:100 refund:S:100")
            );
        }),
        ("4 a refund that was not sent fails with evidence", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 100);
            assert_eq!(w.refunded("T", "R", not_sent()), Step::Failed(Evidence::NotSent));
            assert_eq!(w.told_refund("R"), "982");
        }),
        ("4 a refund without an answer is in progress, asked about by its own number, and never sent again", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", unknown());
            w.at += 6_000;
            assert_eq!(w.due("T", 0), Step::Inquired);
            assert_eq!(w.sent("T"), "charge:100 refund:R:100 ask-refund:R");
            assert_eq!(w.refunded("T", "R", TaskResult::Absent), Step::Failed(Evidence::Absent));
            assert_eq!(w.told_refund("R"), "982");
        }),
        ("2 a refund's answer carries what its payment was", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            let crate::RefundPhase::Succeeded(success) = &w.refund_order("R").phase else { panic!("not done") };
            assert_eq!((success.issuer, success.refunded.debit_amount), (given::other(), 30));
        }),
        ("2 a refund whose amounts do not add up counts, and an operator must look", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(29));
            assert_eq!(w.told_refund("R"), "done");
            assert!(w.payment("T").contradiction.is_some());
        }),
        ("4 a payment keeps 200 refund numbers; one more is refused, and stays so", |w| {
            w.paid("T", WALLET, 1_000);
            for n in 0..=crate::REFUNDS_MAX {
                let number = format!("R{n}");
                w.refund(&number, "T", 1_001);
                assert_eq!(w.told_refund(&number), if n < crate::REFUNDS_MAX { "922" } else { "934" });
            }
            assert_eq!(w.payment("T").refunds.len(), crate::REFUNDS_MAX);
        }),
    ]);
}

#[test]
fn idempotency() {
    check(&[
        ("4 the same refund again while the first runs waits for its result, and gives back once", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refund("R", "T", 30), Step::Repeated);
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.told(), "order rep, order rep");
            assert_eq!(w.sent("T"), "charge:100 refund:R:30");
        }),
        ("4 the same refund afterwards gets the first one's answer, IsRep 1", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.refund("R", "T", 30), Step::Repeated);
            assert_eq!((w.told().as_str(), w.sent("T").as_str()), ("order rep", "charge:100 refund:R:30"));
        }),
        ("4 a refused refund stays refused under its number", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 101);
            assert_eq!(w.refund("R", "T", 101), Step::Repeated);
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("922", "charge:100"));
        }),
        ("4 the same number with another amount, store or payment is refused with the fields that differ", |w| {
            w.paid("T", WALLET, 100);
            w.paid("U", WALLET, 100);
            w.refund("R", "T", 30);
            for (field, payment, store, amount) in
                [("TradeAmount", "T", "S", 31), ("StoreID", "T", "S2", 30), ("TradeNo", "U", "S", 30)]
            {
                let mut raw = raw_refund("R", w.payment(payment).trade_no, amount);
                raw.store_id = store.into();
                let reply_to = Some(w.next_caller());
                let request = RefundRequest { form: refund_form(raw), reply_to };
                assert_eq!(w.append(Command::Refund(Box::new(request))).step, Step::Conflicted);
                assert_eq!(w.told(), format!("{field} rep"));
            }
            assert_eq!((w.sent("T").as_str(), w.sent("U").as_str()), ("charge:100 refund:R:30", "charge:100"));
        }),
        ("4 a number used for a payment cannot be a refund's", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.refund("T", "T", 30), Step::Conflicted);
            assert_eq!((w.told().as_str(), w.sent("T").as_str()), ("MerchantTradeNo rep", "charge:100"));
        }),
        ("4 a number used for a cancel cannot be a refund's", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("R", WALLET, 100);
            assert_eq!(w.refund("R", "T", 30), Step::Conflicted);
            assert_eq!(w.told(), "MerchantTradeNo rep");
        }),
        ("4 records that come twice, or late, give back once and answer the same", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 30);
            assert_eq!(w.deliver(0, true).step, Step::Reserved);
            assert_eq!(w.deliver(0, true).step, Step::Repeated);
            w.refunded("T", "R", given_back(30));
            w.settle_forwards();
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("done", "charge:100 refund:R:30"));
        }),
        ("4 the payment's answer twice changes nothing and tells nobody", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 101);
            w.deliver(0, false);
            w.deliver(0, true);
            let before = (w.order("R").cloned(), w.replies.len());
            w.at += 1_000;
            assert_eq!(w.deliver(0, false).step, Step::Ignored);
            assert_eq!((w.order("R").cloned(), w.replies.len()), before);
        }),
        ("4 a record between the orders that was lost is sent again", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 30);
            w.forwards.clear();
            assert_eq!(w.due("R", 59_999), Step::Ignored);
            assert_eq!(w.due("R", 1), Step::Inquired);
            w.settle_forwards();
            w.refunded("T", "R", given_back(30));
            assert_eq!(w.told_refund("R"), "done");
        }),
        ("4 an answer between the orders that was lost is given again", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 101);
            w.refund("S", "T", 30);
            let task = w.tasks.last().unwrap().id;
            let movement = crate::MovementOutcome::Refund(super::world::key("S").merchant_trade_no, given_back(30));
            let outcome = crate::Outcome { key: super::world::key("T"), task, movement };
            w.append(Command::Outcome(Box::new(outcome)));
            w.forwards.clear();
            assert_eq!(w.told_refund("S"), "open");
            w.due_in_time("S");
            w.settle_forwards();
            assert_eq!((w.told_refund("S").as_str(), w.sent("T").as_str()), ("done", "charge:100 refund:S:30"));
        }),
    ]);
}

#[test]
fn what_cannot_be_refunded() {
    check(&[
        ("3 916: no payment has this TradeNo", |w| {
            let nobody = TradeNo::new(ShardId(1), 77, UnixMs(given::NOON));
            assert_eq!(w.refund_number("R", nobody, 30), Step::Accepted);
            w.settle_forwards();
            assert_eq!((w.told_refund("R").as_str(), w.told().as_str()), ("916", "order, order"));
        }),
        ("3 916: the payment is another merchant's, of which nothing is told and nothing kept", |w| {
            w.paid("T", WALLET, 100);
            let mut raw = raw_refund("R", w.payment("T").trade_no, 30);
            raw.merchant_id = "N".into();
            let reply_to = Some(w.next_caller());
            w.append(Command::Refund(Box::new(RefundRequest { form: refund_form(raw), reply_to })));
            w.settle_forwards();
            assert_eq!((w.told().as_str(), w.payment("T").refunds.len()), ("order, order", 0));
            assert_eq!(w.sent("T"), "charge:100");
            let Some(crate::Order::Refund(refund)) = w.orders().find(|order| order.key().merchant_id.as_str() == "N")
            else {
                panic!("no refund of N")
            };
            let crate::RefundPhase::Failed(failure) = &refund.phase else { panic!("{refund:?}") };
            assert_eq!((failure.status_code.as_str(), failure.evidence), ("916", Evidence::Refused));
        }),
        ("3 934: the payment failed", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", declined("928"));
            w.refund("R", "T", 30);
            assert_eq!(w.told_refund("R"), "934");
        }),
        ("3 934: the payment is in progress", |w| {
            w.pay("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.told_refund("R"), "934");
            w.charged("T", given::approved(100));
            w.refund("R", "T", 30);
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("934", "charge:100"));
        }),
        ("3 934: the payment is being cancelled", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!((w.told_refund("R").as_str(), w.sent("T").as_str()), ("934", "charge:100 reverse:100"));
        }),
        ("3 812: the payment is cancelled", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", given::reversed());
            w.refund("R", "T", 30);
            assert_eq!(w.told_refund("R"), "812");
        }),
        ("3 907, 980: merchants and stores count for refunds, their limits do not", |w| {
            w.pay_as(given::raw_pay("T", WALLET, 2_000));
            w.charged("T", given::approved(2_000));
            w.set_policy(given::merchants());
            for (number, store, code) in [("R", "X", "907"), ("U", "SHUT", "980"), ("V", "S", "open")] {
                let mut raw = raw_refund(number, w.payment("T").trade_no, 600);
                raw.store_id = store.into();
                w.append(Command::Refund(Box::new(RefundRequest { form: refund_form(raw), reply_to: None })));
                w.settle_forwards();
                assert_eq!(w.told_refund(number), code, "{store}");
            }
        }),
    ]);
}
