//! Checks an order against the issuers' ledger: what is done took effect there, and what failed has
//! true evidence.

use super::{
    calls::Calls,
    ledger::{Account, Decision},
};
use crate::{CancelStage, Evidence, Payment, Phase, Subject};

/// Checks I4 and I6; they hold at any time.
pub(super) fn check(payment: &Payment, calls: &Calls) {
    let account = calls.account(payment.trade_no);
    let on_its_way = |subject: &Subject| calls.may_still_arrive(payment.trade_no, subject);
    movement(&payment.charge.phase, account.charge, || on_its_way(&Subject::Charge), payment);
    for entry in &payment.refunds {
        let subject = Subject::Refund { number: entry.number.clone(), trade_no: entry.trade_no };
        let decided = account.refunds.get(&entry.trade_no).copied();
        movement(&entry.refund.phase, decided, || on_its_way(&subject), payment);
    }
    let Some(cancel) = &payment.cancel else {
        assert_eq!(account.reversal, None, "a reversal without a cancel: {payment:?}");
        return;
    };
    match &cancel.stage {
        CancelStage::Reversing(reversal) => {
            movement(&reversal.phase, account.reversal, || on_its_way(&Subject::Reversal), payment);
        }
        CancelStage::Retry { .. } | CancelStage::NothingToReverse | CancelStage::Blocked => {
            assert_eq!(account.reversed(), 0, "reversed already: {payment:?}");
            assert!(!on_its_way(&Subject::Reversal), "I1: a reversal may still arrive: {payment:?}");
        }
    }
}

fn movement<A: std::fmt::Debug>(
    phase: &Phase<A>,
    decided: Option<Decision>,
    on_its_way: impl FnOnce() -> bool,
    payment: &Payment,
) {
    match phase {
        Phase::Done(_) => assert!(matches!(decided, Some(Decision::TookEffect(_))), "{decided:?}: {payment:?}"),
        Phase::Failed(failure) => {
            assert!(!on_its_way(), "I6: failed ({:?}), and may still arrive: {payment:?}", failure.evidence);
            let is_true = match failure.evidence {
                Evidence::Declined => decided == Some(Decision::Refused),
                Evidence::NotSent | Evidence::Absent | Evidence::Refused => decided.is_none(),
            };
            assert!(is_true, "I6: {:?}, but the issuer has {decided:?}: {payment:?}", failure.evidence);
        }
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
    }
}

/// Checks I4 at rest: the issuers' money is what the order says.
pub(super) fn check_money(payment: &Payment, account: &Account) {
    let paid = if payment.is_paid() { payment.terms.trade_amount.twd() } else { 0 };
    let reversed = payment.cancel.as_ref().map_or(0, |cancel| match &cancel.stage {
        CancelStage::Reversing(reversal) if reversal.done().is_some() => cancel.amount,
        CancelStage::Reversing(_)
        | CancelStage::Retry { .. }
        | CancelStage::Blocked
        | CancelStage::NothingToReverse => 0,
    });
    let by_order = (paid, payment.refunded(), reversed);
    assert_eq!(by_order, (account.charged(), account.refunded(), account.reversed()), "I4: {payment:?}");
}
