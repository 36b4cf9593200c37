//! Refunds, their numbers and their sums (`proto/README.md`, section Refunds).

use super::{
    check,
    fixtures::{self, OTHER, WALLET, declined, not_sent, raw_refund, refund_form, refunded_result, unknown},
    world::World,
};
use crate::{
    Command, Decline, DeclineKind, Evidence, REFUND_NUMBERS_MAX, REFUNDS_MAX, RefundRequest, Step, TaskResult,
};
use twqr_types::{ShardId, TradeNo, UnixMs};

#[test]
fn results_of_a_refund() {
    check(&[
        ("a refund under its own number refunds a part, and both orders agree", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.refund("R", "T", 30), Step::Accepted);
            assert_eq!((w.received().as_str(), w.refund_state("R").as_str()), ("order", "open"));
            assert_eq!(w.refunded("T", "R", refunded_result(30)), Step::Refunded);
            assert_eq!((w.received().as_str(), w.refund_state("R").as_str()), ("order, order", "done"));
            assert_eq!((w.payment("T").refunded(), w.sent("T").as_str()), (30, "charge:100 refund:R:30"));
        }),
        ("several partial refunds, up to all of it", |w| {
            w.paid("T", WALLET, 100);
            for (number, amount) in [("R", 30), ("S", 30), ("U", 40)] {
                w.refund(number, "T", amount);
                w.refunded("T", number, refunded_result(amount));
                assert_eq!(w.refund_state(number), "done");
            }
            assert_eq!(w.payment("T").refunded(), 100);
        }),
        ("922: the sum never exceeds the payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            w.refunded("T", "R", refunded_result(60));
            w.refund("S", "T", 41);
            assert_eq!((w.refund_state("S").as_str(), w.received().as_str()), ("922", "order, order"));
        }),
        ("refunds in progress count, too: two at the same time never exceed the payment", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 60);
            w.refund("S", "T", 60);
            assert_eq!((w.refund_state("R").as_str(), w.refund_state("S").as_str()), ("open", "922"));
        }),
        ("the amount of a failed refund is free for another one, under another number", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", declined("961"));
            assert_eq!(w.refund_state("R"), "961");
            w.refund("S", "T", 100);
            assert_eq!(
                (w.refund_state("S").as_str(), w.sent("T").as_str()),
                ("open", "charge:100 refund:R:100 refund:S:100")
            );
        }),
        ("a refund that was not sent fails with evidence", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 100);
            assert_eq!(w.refunded("T", "R", not_sent()), Step::Failed(Evidence::NotSent));
            assert_eq!(w.refund_state("R"), "982");
        }),
        ("a refund without a result is in progress, inquired about by its own number, and never sent again", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 100);
            w.refunded("T", "R", unknown());
            w.at += 6_000;
            assert_eq!(w.due("T", 0), Step::Inquired);
            assert_eq!(w.sent("T"), "charge:100 refund:R:100 ask-refund:R");
            assert_eq!(w.refunded("T", "R", TaskResult::Absent), Step::Failed(Evidence::Absent));
            assert_eq!(w.refund_state("R"), "982");
        }),
        ("a refund's answer has the details of its payment", |w| {
            w.paid("T", OTHER, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            let crate::RefundPhase::Succeeded(success) = &w.refund_order("R").phase else { panic!("not done") };
            assert_eq!((success.issuer, success.refunded.debit_amount), (fixtures::other(), 30));
        }),
        ("a refund whose amounts do not add up counts, and an operator must look", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(29));
            assert_eq!(w.refund_state("R"), "done");
            assert!(w.payment("T").contradiction.is_some());
        }),
        ("refused refunds leave the places of a payment to others", |w| {
            w.paid("T", WALLET, 1_000);
            for n in 0..=REFUNDS_MAX {
                w.refund(&format!("R{n}"), "T", 1_001);
            }
            w.refund("S", "T", 1);
            w.refunded("T", "S", refunded_result(1));
            assert_eq!(w.refund_state("S"), "done");
        }),
        ("a number that was refused for want of a place, or of money, keeps that answer when there is room", |w| {
            w.paid("T", WALLET, 1_000);
            for n in 0..REFUNDS_MAX {
                w.refund(&format!("R{n}"), "T", 1);
            }
            let reserve = w.refund_reserve("S", "T", 1);
            assert_eq!(w.append(reserve.clone()).step, Step::Refused);
            let large = w.refund_reserve("L", "T", 801);
            assert_eq!(w.append(large.clone()).step, Step::Refused);
            w.refunded("T", "R0", declined("934"));
            let (sent, entries) = (w.sent("T"), w.payment("T").refunds.clone());
            for again in [reserve, large] {
                assert_eq!(w.append(again).step, Step::Repeated);
            }
            assert_eq!((w.sent("T"), &w.payment("T").refunds), (sent, &entries));
            w.refund("U", "T", 1);
            assert_eq!(w.refund_state("U"), "open", "another number gets the place");
        }),
    ]);
}

#[test]
fn a_payment_keeps_so_many_refund_numbers_and_no_more() {
    for (protocol_version, numbers_max) in [(0, REFUNDS_MAX), (1, REFUND_NUMBERS_MAX)] {
        let mut w = World::new(fixtures::policy_with(|policy| policy.protocol_version = protocol_version));
        w.strict = false;
        w.paid("T", WALLET, 1_000);
        for n in 0..numbers_max {
            w.refund(&format!("R{n}"), "T", 1_001);
            assert_eq!(w.refund_state(&format!("R{n}")), "922");
        }
        w.set_policy(fixtures::policy());
        let further = w.refund_reserve("S", "T", 1);
        for _ in 0..2 {
            assert_eq!(w.append(further.clone()).step, Step::Refused, "version {protocol_version}, for good");
        }
        assert_eq!(w.payment("T").refunds.len(), numbers_max);
    }
}

#[test]
fn the_text_of_a_failed_refund_leaves_room_for_all_numbers() {
    check(&[("the issuer's text is cut where the payment keeps many numbers", |w| {
        w.paid("T", OTHER, 100);
        w.refund("R", "T", 30);
        let reason = "餘".repeat(341).into();
        let decline = Decline { kind: DeclineKind::Issuer, code: "0205".into(), reason };
        w.refunded("T", "R", TaskResult::Declined(decline));
        let desc = &w.payment("T").refunds[0].refund.failure().unwrap().status_desc;
        assert!((298..=300).contains(&desc.len()) && desc.contains('餘'), "{desc}");
    })]);
}

#[test]
fn repeated_refunds_are_idempotent() {
    check(&[
        ("the same refund again while the first runs waits for its result, and refunds once", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refund("R", "T", 30), Step::Repeated);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.received(), "order rep, order rep");
            assert_eq!(w.sent("T"), "charge:100 refund:R:30");
        }),
        ("the same refund afterwards gets the first one's answer, IsRep 1", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.refund("R", "T", 30), Step::Repeated);
            assert_eq!((w.received().as_str(), w.sent("T").as_str()), ("order rep", "charge:100 refund:R:30"));
        }),
        ("a refused refund stays refused under its number", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 101);
            assert_eq!(w.refund("R", "T", 101), Step::Repeated);
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("922", "charge:100"));
        }),
        ("the same number with another amount, store or payment is refused with the fields that differ", |w| {
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
                assert_eq!(w.received(), format!("{field} rep"));
            }
            assert_eq!((w.sent("T").as_str(), w.sent("U").as_str()), ("charge:100 refund:R:30", "charge:100"));
        }),
        ("a number used for a payment cannot be a refund's", |w| {
            w.paid("T", WALLET, 100);
            assert_eq!(w.refund("T", "T", 30), Step::Conflicted);
            assert_eq!((w.received().as_str(), w.sent("T").as_str()), ("MerchantTradeNo rep", "charge:100"));
        }),
        ("a number used for a cancel cannot be a refund's", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("R", WALLET, 100);
            assert_eq!(w.refund("R", "T", 30), Step::Conflicted);
            assert_eq!(w.received(), "MerchantTradeNo rep");
        }),
        ("records that are repeated or late refund once and give the same answer", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 30);
            assert_eq!(w.deliver(0, true).step, Step::Reserved);
            assert_eq!(w.deliver(0, true).step, Step::Repeated);
            w.refunded("T", "R", refunded_result(30));
            w.settle_forwards();
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("done", "charge:100 refund:R:30"));
        }),
        ("the payment's answer twice changes nothing and sends no reply", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 101);
            w.deliver(0, false);
            w.deliver(0, true);
            let before = (w.order("R").cloned(), w.replies.len());
            w.at += 1_000;
            assert_eq!(w.deliver(0, false).step, Step::Ignored);
            assert_eq!((w.order("R").cloned(), w.replies.len()), before);
        }),
        ("a record between the orders that was lost is sent again", |w| {
            w.paid("T", WALLET, 100);
            w.refund_number("R", w.payment("T").trade_no, 30);
            w.forwards.clear();
            assert_eq!(w.due("R", 59_999), Step::Ignored);
            assert_eq!(w.due("R", 1), Step::Inquired);
            w.settle_forwards();
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.refund_state("R"), "done");
        }),
        ("a lost answer between the orders is sent again", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 101);
            w.refund("S", "T", 30);
            let task = w.tasks.last().unwrap().id;
            let movement =
                crate::MovementOutcome::Refund(super::world::key("S").merchant_trade_no, refunded_result(30));
            let outcome = crate::Outcome { key: super::world::key("T"), task, movement };
            w.append(Command::Outcome(Box::new(outcome)));
            w.forwards.clear();
            assert_eq!(w.refund_state("S"), "open");
            w.due_in_time("S");
            w.settle_forwards();
            assert_eq!((w.refund_state("S").as_str(), w.sent("T").as_str()), ("done", "charge:100 refund:S:30"));
        }),
    ]);
}

#[test]
fn payments_that_cannot_be_refunded() {
    check(&[
        ("916: no payment has this TradeNo", |w| {
            let unknown = TradeNo::new(ShardId(1), 77, UnixMs(fixtures::NOON));
            assert_eq!(w.refund_number("R", unknown, 30), Step::Accepted);
            w.settle_forwards();
            assert_eq!((w.refund_state("R").as_str(), w.received().as_str()), ("916", "order, order"));
        }),
        ("916: the payment is another merchant's, of which nothing is answered and nothing kept", |w| {
            w.paid("T", WALLET, 100);
            let mut raw = raw_refund("R", w.payment("T").trade_no, 30);
            raw.merchant_id = "N".into();
            let reply_to = Some(w.next_caller());
            w.append(Command::Refund(Box::new(RefundRequest { form: refund_form(raw), reply_to })));
            w.settle_forwards();
            assert_eq!((w.received().as_str(), w.payment("T").refunds.len()), ("order, order", 0));
            assert_eq!(w.sent("T"), "charge:100");
            let Some(crate::Order::Refund(refund)) = w.orders().find(|order| order.key().merchant_id.as_str() == "N")
            else {
                panic!("no refund of N")
            };
            let crate::RefundPhase::Failed(failure) = &refund.phase else { panic!("{refund:?}") };
            assert_eq!((failure.status_code.as_str(), failure.evidence), ("916", Evidence::Refused));
        }),
        ("934: the payment failed", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", declined("928"));
            w.refund("R", "T", 30);
            assert_eq!(w.refund_state("R"), "934");
        }),
        ("934: the payment is in progress", |w| {
            w.pay("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!(w.refund_state("R"), "934");
            w.charged("T", fixtures::approved(100));
            w.refund("R", "T", 30);
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("934", "charge:100"));
        }),
        ("934: the payment is being cancelled", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.refund("R", "T", 30);
            assert_eq!((w.refund_state("R").as_str(), w.sent("T").as_str()), ("934", "charge:100 reverse:100"));
        }),
        ("812: the payment is cancelled", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            w.reversed("T", fixtures::reversed());
            w.refund("R", "T", 30);
            assert_eq!(w.refund_state("R"), "812");
        }),
        ("907, 980: merchants and stores count for refunds, their limits do not", |w| {
            w.pay_as(fixtures::raw_pay("T", WALLET, 2_000));
            w.charged("T", fixtures::approved(2_000));
            w.set_policy(fixtures::merchants());
            for (number, store, code) in [("R", "X", "907"), ("U", "SHUT", "980"), ("V", "S", "open")] {
                let mut raw = raw_refund(number, w.payment("T").trade_no, 600);
                raw.store_id = store.into();
                w.append(Command::Refund(Box::new(RefundRequest { form: refund_form(raw), reply_to: None })));
                w.settle_forwards();
                assert_eq!(w.refund_state(number), code, "{store}");
            }
        }),
    ]);
}
