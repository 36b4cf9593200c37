//! Compares every answer that a caller received with the stored order: a final answer was never
//! contradicted (I3), and a query that followed an acknowledged request found its order (I5).

use twqr_order::{CancelStage, Movement, Order, Payment, RefundEntry};
use twqr_wire::convert::ReplyContent;

use crate::{log_reader::Orders, reply_recorder::RecordedReplies};

/// Adds a violation for each answer that the stored order contradicts.
pub fn check_answers(replies: &RecordedReplies, orders: &Orders, violations: &mut Vec<String>) {
    for (correlation, answers) in &replies.by_correlation {
        let key = &replies.order_of_call[correlation];
        let stored = orders.get(&key.to_bytes());
        for answer in answers {
            match (&answer.content, stored) {
                (ReplyContent::Order(answered), Some(stored)) => {
                    if let Some(part) = contradicted_part(answered, stored) {
                        violations.push(format!("I3: {key}: {part}: answered {answered:?}, stored {stored:?}"));
                    }
                }
                (ReplyContent::Order(answered), None) => {
                    violations.push(format!("I3: {key}: answered {answered:?}, no order is stored"));
                }
                (ReplyContent::NotFound, _) if replies.must_be_found.contains(correlation) => {
                    violations.push(format!("I5: {key} was accepted, and a query did not find it"));
                }
                _ => {}
            }
        }
    }
}

/// The part of the order in which its stored state contradicts the answer, if there is one.
fn contradicted_part(answered: &Order, stored: &Order) -> Option<&'static str> {
    match (answered, stored) {
        (Order::Payment(answered), Order::Payment(stored)) => contradicted_part_of_payment(answered, stored),
        (Order::Refund(answered), Order::Refund(stored)) => {
            (answered.is_final() && answered.phase != stored.phase).then_some("the refund")
        }
        (Order::EarlyCancel(_), Order::EarlyCancel(_)) => None,
        // A payment that arrives after its cancel is refused and never charges.
        (Order::EarlyCancel(_), Order::Payment(stored)) => {
            let stage = stored.cancel.as_ref().map(|cancel| &cancel.stage);
            let is_refused = stage == Some(&CancelStage::NothingToReverse) && stored.charge.failure().is_some();
            (!is_refused).then_some("a charge after its cancel")
        }
        _ => Some("the kind of order"),
    }
}

fn contradicted_part_of_payment(answered: &Payment, stored: &Payment) -> Option<&'static str> {
    if answered.trade_no != stored.trade_no {
        return Some("the TradeNo");
    }
    if !is_kept(&answered.charge, &stored.charge) {
        return Some("the charge");
    }
    let is_refund_kept = |answered: &RefundEntry| {
        let entry = stored.refunds.iter().find(|entry| entry.number == answered.number);
        entry.is_some_and(|stored| is_kept(&answered.refund, &stored.refund))
    };
    if !answered.refunds.iter().all(is_refund_kept) {
        return Some("a refund of the payment");
    }
    let answered = answered.cancel.as_ref()?;
    let Some(stored) = &stored.cancel else { return Some("the cancel") };
    let is_cancel_kept = match (&answered.stage, &stored.stage) {
        (CancelStage::NothingToReverse, stage) => *stage == CancelStage::NothingToReverse,
        (CancelStage::Reversing(answered_reversal), CancelStage::Reversing(stored_reversal)) => {
            // A refusal is valid until a caller cancels again.
            let is_done = answered_reversal.done().is_some();
            (!is_done && answered.attempts != stored.attempts) || is_kept(answered_reversal, stored_reversal)
        }
        (CancelStage::Reversing(reversal), _) => reversal.done().is_none(),
        _ => true,
    };
    (!is_cancel_kept).then_some("the cancel")
}

/// Whether the stored movement has the phase of the answer, if that phase was final.
fn is_kept<A: PartialEq>(answered: &Movement<A>, stored: &Movement<A>) -> bool {
    !answered.phase.is_final() || answered.phase == stored.phase
}
