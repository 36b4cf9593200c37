//! What an answer of a backend means for a task.

use twqr_order::{Decline, DeclineKind, TaskResult};
use twqr_wire::{
    backend::{self, Charge, exchange_response::Answer},
    bus,
    convert::approval_from,
};

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A charge.
    Charge,
    /// An inquiry; true: it was asked when "not known" proves absence.
    Inquiry { proves_absence: bool },
}

/// The result of a task by the answer to its call. What is not understood is unknown, never failed.
pub(crate) fn result(answer: Option<Answer>, asked: Asked) -> TaskResult {
    let unknown = |reason: &str| TaskResult::Unknown(reason.into());
    match (answer, asked) {
        (Some(Answer::Approved(approved)), _) => approved_result(approved),
        (Some(Answer::Declined(declined)), _) => declined_result(declined),
        (Some(Answer::TradeUnknown(_)), Asked::Inquiry { proves_absence: true }) => TaskResult::Absent,
        (Some(Answer::TradeUnknown(_)), Asked::Inquiry { proves_absence: false } | Asked::Charge) => {
            unknown("the issuer does not know it yet")
        }
        (Some(Answer::Undecided(_)), _) => unknown("the issuer has not decided"),
        (Some(Answer::Refunded(_) | Answer::Reversed(_)), _) => unknown("the answer is not to what was asked"),
        (None, _) => unknown("the answer says nothing"),
    }
}

/// The longest text of a backend that is kept, in bytes: more cannot be meant for people, and a record must hold them all.
const TEXT_BYTES_MAX: usize = 1_024;

/// Cut at a character's end.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

fn approved_result(approved: backend::Approved) -> TaskResult {
    let approval = bus::Approval {
        payment_type: approved.payment_type,
        debit_amount: approved.debit_amount,
        redeem_name: cut(approved.redeem_name),
        redeem_amount: approved.redeem_amount,
        store_redeem_amount: approved.store_redeem_amount,
        invoice_vehicle: cut(approved.invoice_vehicle),
        mer_mem_token: cut(approved.mer_mem_token),
        card_name: cut(approved.card_name),
        card_no_masked: cut(approved.card_no_masked),
        issuer_trade_no: cut(approved.issuer_trade_no),
    };
    match approval_from(approval) {
        Ok(approval) => TaskResult::Approved(approval),
        Err(fault) => TaskResult::Unknown(format!("the approval is not understood: {fault}").into()),
    }
}

fn declined_result(declined: backend::Declined) -> TaskResult {
    let kind = match declined.kind() {
        backend::declined::Kind::Wallet => DeclineKind::Wallet,
        backend::declined::Kind::Issuer => DeclineKind::Issuer,
        backend::declined::Kind::CardNotSupported => DeclineKind::CardNotSupported,
        backend::declined::Kind::Fisc => DeclineKind::Fisc,
        backend::declined::Kind::Unspecified => {
            return TaskResult::Unknown("the refusal does not say whose it is".into());
        }
    };
    TaskResult::Declined(Decline { kind, code: cut(declined.code).into(), reason: cut(declined.reason).into() })
}

/// The charge of a task.
pub(crate) fn charge_call(task: &bus::Task, charge: bus::ChargeTask) -> Charge {
    let key = task.key.clone().unwrap_or_default();
    Charge {
        trade_no: task.trade_no.clone(),
        merchant_id: key.merchant_id,
        merchant_trade_no: key.merchant_trade_no,
        store_id: charge.store_id,
        store_name: charge.store_name,
        pos_id: charge.pos_id,
        card_token: charge.card_token,
        trade_amount: charge.trade_amount,
        un_redeem: charge.un_redeem,
        remark: charge.remark,
        send_by_ms: task.send_by_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_characters_end() {
        let declined = backend::Declined {
            kind: backend::declined::Kind::Issuer.into(),
            code: "928".into(),
            reason: "餘".repeat(1_000_000),
        };
        let TaskResult::Declined(decline) = result(Some(Answer::Declined(declined)), Asked::Charge) else {
            unreachable!()
        };
        assert_eq!((&*decline.code, decline.reason.len()), ("928", 1_023));
    }
}
