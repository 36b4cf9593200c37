//! Tests of the reconciliation: each fault, planted, is found.

use super::*;
use crate::generator::record_tests::paid;

#[allow(clippy::unnecessary_wraps, reason = "the tables also have orders that were not found")]
fn inquired(status: OrderStatus, code: [u8; 3], debit: i64) -> Option<InquiredOrder> {
    Some(InquiredOrder { status: Some(status), code, debit })
}

fn count(charges: u32, amount: i64) -> LedgerCount {
    LedgerCount { charges, charged: amount, ..LedgerCount::default() }
}

fn verdict(calls: &[CallRecord], order: Option<InquiredOrder>, ledger: LedgerCount) -> (u64, u64, u64, u64) {
    let number = if calls[0].kind == CallKind::Refund { calls[0].refund } else { calls[0].order };
    let inquiries: HashMap<u64, InquiredOrder> = order.map(|order| (number, order)).into_iter().collect();
    let ledger = Ledger { counts: [(number, ledger)].into() };
    let found = reconcile(calls, &inquiries, Some(&ledger), |number| format!("T{number}"));
    (found.matched, found.mismatched, found.missing, found.twice)
}

const MATCH: (u64, u64, u64, u64) = (1, 0, 0, 0);
const MISMATCH: (u64, u64, u64, u64) = (0, 1, 0, 0);
const MISSING: (u64, u64, u64, u64) = (0, 0, 1, 0);
const TWICE: (u64, u64, u64, u64) = (0, 0, 0, 1);

#[test]
fn each_fault_of_a_payment_is_found() {
    let ok = paid(1, 0);
    let reply = |reply| CallRecord { reply, ..ok };
    let failed = reply(Reply::Status(*b"928"));
    let open = CallRecord { is_in_progress: true, ..reply(Reply::Status(*b"982")) };
    let broken = reply(Reply::Broken);
    let gone = Some(InquiredOrder { status: None, code: *b"\0\0\0", debit: 0 });
    let is_paid = || inquired(OrderStatus::Paid, *b"000", 9);
    for (name, call, inquired, ledger, expected) in [
        ("all agree", ok, is_paid(), count(1, 9), MATCH),
        ("declined", failed, inquired(OrderStatus::Failed, *b"928", 0), count(0, 0), MATCH),
        ("open, then paid", open, is_paid(), count(1, 9), MATCH),
        ("no answer, paid", broken, is_paid(), count(1, 9), MATCH),
        ("no answer, no order", broken, gone, count(0, 0), MATCH),
        ("charged twice", ok, is_paid(), count(2, 9), TWICE),
        ("paid, not charged", ok, is_paid(), count(0, 0), MISMATCH),
        ("another amount in the ledger", ok, is_paid(), count(1, 8), MISMATCH),
        ("another amount in the inquiry", ok, inquired(OrderStatus::Paid, *b"000", 8), count(1, 8), MISMATCH),
        ("answered declined, paid", failed, is_paid(), count(1, 9), MISMATCH),
        ("answered paid, failed", ok, inquired(OrderStatus::Failed, *b"928", 0), count(0, 0), MISMATCH),
        ("failed, charged", failed, inquired(OrderStatus::Failed, *b"928", 0), count(1, 9), MISMATCH),
        ("accepted, gone", ok, gone, count(0, 0), MISSING),
        ("no answer, gone, charged", broken, gone, count(1, 9), MISSING),
        ("never final", open, inquired(OrderStatus::InProgress, *b"982", 0), count(0, 0), MISSING),
        ("no inquiry", ok, None, count(1, 9), MISSING),
    ] {
        assert_eq!(verdict(&[call], inquired, ledger), expected, "{name}");
    }
}

#[test]
fn repeats_cancels_and_refunds_are_compared_too() {
    let pay = paid(1, 0);
    let repeat = |reply| CallRecord { kind: CallKind::Repeat, reply: Reply::Status(reply), ..pay };
    let cancel = CallRecord { kind: CallKind::Cancel, ..pay };
    let refund = CallRecord { kind: CallKind::Refund, refund: 5, ..pay };
    let reversed = LedgerCount { reversals: 1, reversed: 9, ..count(1, 9) };
    let refunds = |refunds: u32| LedgerCount { refunds, refunded: 9 * i64::from(refunds), ..LedgerCount::default() };
    let is_paid = || inquired(OrderStatus::Paid, *b"000", 9);
    let ended = || inquired(OrderStatus::FullyRefunded, *b"812", 9);
    assert_eq!(verdict(&[pay, repeat(*b"000")], is_paid(), count(1, 9)), MATCH);
    assert_eq!(verdict(&[pay, repeat(*b"928")], is_paid(), count(1, 9)), MISMATCH);
    assert_eq!(verdict(&[pay, repeat(*b"812")], is_paid(), count(1, 9)), MISMATCH);
    assert_eq!(verdict(&[pay, cancel, repeat(*b"812")], ended(), reversed), MATCH);
    assert_eq!(verdict(&[pay, cancel], ended(), count(1, 9)), MISMATCH);
    assert_eq!(verdict(&[pay, cancel], is_paid(), reversed), MISMATCH);
    assert_eq!(verdict(&[pay, cancel], ended(), LedgerCount { reversed: 8, ..reversed }), MISMATCH);
    let open = CallRecord { is_in_progress: true, reply: Reply::Status(*b"982"), ..cancel };
    let later = |reply| CallRecord { later_reply: Some(Reply::Status(reply)), ..open };
    let refused = |reply| CallRecord { reply: Reply::Status(reply), ..cancel };
    for (name, cancel, inquired, ledger, expected) in [
        ("open, then cancelled", later(*b"000"), ended(), reversed, MATCH),
        ("open, then cancelled, not reversed", later(*b"000"), is_paid(), count(1, 9), MISMATCH),
        ("open, then refused", later(*b"928"), is_paid(), count(1, 9), MATCH),
        ("open, then refused, reversed", later(*b"928"), is_paid(), reversed, MISMATCH),
        ("refused, reversed", refused(*b"928"), ended(), reversed, MISMATCH),
        ("never known", open, ended(), reversed, MISSING),
    ] {
        assert_eq!(verdict(&[pay, cancel], inquired, ledger), expected, "{name}");
    }
    assert_eq!(verdict(&[pay], ended(), reversed), MISMATCH, "no call cancelled it");
    assert_eq!(verdict(&[refund], inquired(OrderStatus::RefundSucceeded, *b"000", 9), refunds(1)), MATCH);
    assert_eq!(verdict(&[refund], inquired(OrderStatus::RefundSucceeded, *b"000", 9), refunds(0)), MISMATCH);
    let less = LedgerCount { refunded: 8, ..refunds(1) };
    assert_eq!(verdict(&[refund], inquired(OrderStatus::RefundSucceeded, *b"000", 9), less), MISMATCH);
    assert_eq!(verdict(&[refund], inquired(OrderStatus::RefundSucceeded, *b"000", 9), refunds(2)), TWICE);
    assert_eq!(verdict(&[refund], inquired(OrderStatus::Failed, *b"983", 0), refunds(0)), MISMATCH);
    assert_eq!(verdict(&[refund], inquired(OrderStatus::InProgress, *b"982", 0), refunds(0)), MISSING);
}

#[test]
fn an_entry_that_no_call_explains_is_a_fault_and_without_a_ledger_only_inquiries_count() {
    let inquiries: HashMap<u64, InquiredOrder> =
        inquired(OrderStatus::Paid, *b"000", 9).map(|order| (1, order)).into_iter().collect();
    let ledger = Ledger { counts: [(1, count(1, 9)), (7, count(1, 9))].into() };
    let found = reconcile(&[paid(1, 0)], &inquiries, Some(&ledger), |number| format!("T{number}"));
    assert_eq!((found.unexpected_entries, found.is_clean()), (1, false));
    assert_eq!(found.faults, ["T7: in the ledger, but no call used this number"]);
    let found = reconcile(&[paid(1, 0)], &inquiries, None, |number| format!("T{number}"));
    assert!(found.is_clean() && !found.with_ledger && found.matched == 1);
}
