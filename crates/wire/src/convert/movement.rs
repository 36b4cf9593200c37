//! Movements of money (charge, refund, reversal), and the issuers' answers about them.

use twqr_order::{Approval, Evidence, Failure, Movement, PaymentType, Phase, RefundApproval, ReversalApproval};
use twqr_types::{StatusCode, UnixMs};

use super::{
    fault::{RecordFault, need},
    ids::{effect_id_from, effect_id_out},
};
use crate::{
    bus::{self, movement},
    pos,
};

pub(crate) fn payment_type_out(payment_type: PaymentType) -> pos::PaymentType {
    match payment_type {
        PaymentType::StoredValue => pos::PaymentType::StoredValue,
        PaymentType::BankAccount => pos::PaymentType::BankAccount,
        PaymentType::CreditCard => pos::PaymentType::CreditCard,
        PaymentType::OtherIssuer => pos::PaymentType::OtherIssuer,
    }
}

pub(crate) fn payment_type_from(payment_type: pos::PaymentType) -> Result<PaymentType, RecordFault> {
    Ok(match payment_type {
        pos::PaymentType::StoredValue => PaymentType::StoredValue,
        pos::PaymentType::BankAccount => PaymentType::BankAccount,
        pos::PaymentType::CreditCard => PaymentType::CreditCard,
        pos::PaymentType::OtherIssuer => PaymentType::OtherIssuer,
        pos::PaymentType::Unspecified => return Err(RecordFault::Missing("payment_type")),
    })
}

/// Encodes an approved charge.
pub(crate) fn approval_out(approval: &Approval) -> bus::Approval {
    bus::Approval {
        payment_type: payment_type_out(approval.payment_type).into(),
        debit_amount: approval.debit_amount,
        redeem_name: approval.redeem_name.to_string(),
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        invoice_vehicle: approval.invoice_vehicle.to_string(),
        mer_mem_token: approval.mer_mem_token.to_string(),
        card_name: approval.card_name.to_string(),
        card_no_masked: approval.card_no_masked.to_string(),
        issuer_trade_no: approval.issuer_trade_no.to_string(),
    }
}

/// Decodes an approved charge. Amounts are not checked here: the order machine decides whether they
/// add up.
pub(crate) fn approval_from(approval: bus::Approval) -> Result<Approval, RecordFault> {
    Ok(Approval {
        payment_type: payment_type_from(approval.payment_type())?,
        debit_amount: approval.debit_amount,
        redeem_name: approval.redeem_name.into(),
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        invoice_vehicle: approval.invoice_vehicle.into(),
        mer_mem_token: approval.mer_mem_token.into(),
        card_name: approval.card_name.into(),
        card_no_masked: approval.card_no_masked.into(),
        issuer_trade_no: approval.issuer_trade_no.into(),
    })
}

pub(crate) fn refunded_out(refunded: &RefundApproval) -> bus::Refunded {
    bus::Refunded {
        debit_amount: refunded.debit_amount,
        redeem_name: refunded.redeem_name.to_string(),
        redeem_amount: refunded.redeem_amount,
        store_redeem_amount: refunded.store_redeem_amount,
        issuer_trade_no: refunded.issuer_trade_no.to_string(),
    }
}

pub(crate) fn refunded_from(refunded: bus::Refunded) -> RefundApproval {
    RefundApproval {
        debit_amount: refunded.debit_amount,
        redeem_name: refunded.redeem_name.into(),
        redeem_amount: refunded.redeem_amount,
        store_redeem_amount: refunded.store_redeem_amount,
        issuer_trade_no: refunded.issuer_trade_no.into(),
    }
}

pub(crate) fn reversed_out(reversed: &ReversalApproval) -> bus::Reversed {
    bus::Reversed { issuer_trade_no: reversed.issuer_trade_no.to_string() }
}

pub(crate) fn reversed_from(reversed: bus::Reversed) -> ReversalApproval {
    ReversalApproval { issuer_trade_no: reversed.issuer_trade_no.into() }
}

pub(crate) fn failure_out(failure: &Failure) -> bus::Failure {
    let evidence = match failure.evidence {
        Evidence::Declined => bus::failure::Evidence::Declined,
        Evidence::NotSent => bus::failure::Evidence::NotSent,
        Evidence::Absent => bus::failure::Evidence::Absent,
        Evidence::Refused => bus::failure::Evidence::Refused,
    };
    bus::Failure {
        evidence: evidence.into(),
        status_code: failure.status_code.into(),
        status_desc: failure.status_desc.to_string(),
    }
}

pub(crate) fn failure_from(failure: bus::Failure) -> Result<Failure, RecordFault> {
    let evidence = match failure.evidence() {
        bus::failure::Evidence::Declined => Evidence::Declined,
        bus::failure::Evidence::NotSent => Evidence::NotSent,
        bus::failure::Evidence::Absent => Evidence::Absent,
        bus::failure::Evidence::Refused => Evidence::Refused,
        bus::failure::Evidence::Unspecified => return Err(RecordFault::Missing("evidence")),
    };
    // A stored failure stays a failure, whatever its code is. No build writes a code that does not
    // parse; if one is found, callers get 901 (undefined error) with the stored StatusDesc.
    let status_code = StatusCode::parse(&failure.status_code).unwrap_or(StatusCode::UNDEFINED_ERROR);
    Ok(Failure { evidence, status_code, status_desc: failure.status_desc.into() })
}

/// The details that an issuer gives when a movement took effect. Each kind of movement has its own
/// type of details and its own phase for them.
pub(crate) trait Details: Sized {
    fn to_phase(&self) -> movement::Phase;
    fn from_phase(phase: movement::Phase) -> Result<Self, RecordFault>;
}

macro_rules! details {
    ($kind:ty, $variant:ident, $out:expr, $from:expr) => {
        impl Details for $kind {
            fn to_phase(&self) -> movement::Phase {
                movement::Phase::$variant($out(self))
            }

            fn from_phase(phase: movement::Phase) -> Result<Self, RecordFault> {
                let fault = RecordFault::other_movement("phase");
                if let movement::Phase::$variant(details) = phase { $from(details) } else { Err(fault) }
            }
        }
    };
}

details!(Approval, Approved, approval_out, approval_from);
details!(RefundApproval, Refunded, refunded_out, |refunded| Ok(refunded_from(refunded)));
details!(ReversalApproval, Reversed, reversed_out, |reversed| Ok(reversed_from(reversed)));

pub(crate) fn movement_out<A: Details>(movement: &Movement<A>) -> bus::Movement {
    let phase = match &movement.phase {
        Phase::Sent { task } => movement::Phase::Sent(effect_id_out(*task)),
        Phase::Unresolved { next_check } => movement::Phase::UnresolvedMs(next_check.0),
        Phase::Inquiring { task, .. } => movement::Phase::Asking(effect_id_out(*task)),
        Phase::Done(details) => details.to_phase(),
        Phase::Failed(failure) => movement::Phase::Failed(failure_out(failure)),
    };
    let asking_again_ms = match &movement.phase {
        Phase::Inquiring { again_at, .. } => again_at.map_or(0, |at| at.0),
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Done(_) | Phase::Failed(_) => 0,
    };
    bus::Movement {
        send_by_ms: movement.send_by.0,
        absent_after_ms: movement.absent_after.0,
        inquiries: movement.inquiries,
        changed_at_ms: movement.changed_at.0,
        idempotent: movement.is_idempotent,
        phase: Some(phase),
        asking_again_ms,
        late_booking_ms: movement.late_booking.map(|at| at.0),
    }
}

pub(crate) fn movement_from<A: Details>(movement: Option<bus::Movement>) -> Result<Movement<A>, RecordFault> {
    let movement = need(movement, "movement")?;
    let phase = match need(movement.phase, "phase")? {
        movement::Phase::Sent(task) => Phase::Sent { task: effect_id_from(Some(task))? },
        movement::Phase::UnresolvedMs(next_check) => Phase::Unresolved { next_check: UnixMs(next_check) },
        movement::Phase::Asking(task) => Phase::Inquiring {
            task: effect_id_from(Some(task))?,
            again_at: (movement.asking_again_ms != 0).then_some(UnixMs(movement.asking_again_ms)),
        },
        movement::Phase::Failed(failure) => Phase::Failed(failure_from(failure)?),
        done @ (movement::Phase::Approved(_) | movement::Phase::Refunded(_) | movement::Phase::Reversed(_)) => {
            Phase::Done(Box::new(A::from_phase(done)?))
        }
    };
    Ok(Movement {
        send_by: UnixMs(movement.send_by_ms),
        absent_after: UnixMs(movement.absent_after_ms),
        inquiries: movement.inquiries,
        changed_at: UnixMs(movement.changed_at_ms),
        late_booking: movement.late_booking_ms.map(UnixMs),
        is_idempotent: movement.idempotent,
        phase,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_movement_without_the_field_is_not_idempotent() {
        let movement = Movement::<ReversalApproval> {
            send_by: UnixMs(1),
            absent_after: UnixMs(2),
            phase: Phase::Unresolved { next_check: UnixMs(3) },
            inquiries: 4,
            changed_at: UnixMs(5),
            late_booking: Some(UnixMs(6)),
            is_idempotent: true,
        };
        let stored = movement_out(&movement);
        assert_eq!(movement_from(Some(stored.clone())).unwrap(), movement);
        let without = movement_from(Some(bus::Movement { idempotent: false, ..stored })).unwrap();
        assert_eq!(without, Movement { is_idempotent: false, ..movement });
    }
}
