//! What an answer of a backend means for a task.

use twqr_order::{Decline, DeclineKind, MovementOutcome, RefundApproval, ReversalApproval, Subject, TaskResult};
use twqr_types::{Carrier, masked_card_no};
use twqr_wire::{
    backend::{self, exchange_response::Answer},
    bus,
    convert::approval_from,
};

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To move money.
    Transfer,
    /// An inquiry; true: it was asked when "not known" proves absence.
    Inquiry { proves_absence: bool },
}

/// What can come of a task but that it took effect.
#[derive(Clone, Debug)]
pub(crate) enum NoEffect {
    Declined(Decline),
    NotSent(Box<str>),
    Unknown(Box<str>),
    Absent,
}

impl<A> From<NoEffect> for TaskResult<A> {
    fn from(result: NoEffect) -> Self {
        match result {
            NoEffect::Declined(decline) => Self::Declined(decline),
            NoEffect::NotSent(why) => Self::NotSent(why),
            NoEffect::Unknown(why) => Self::Unknown(why),
            NoEffect::Absent => Self::Absent,
        }
    }
}

impl NoEffect {
    pub(crate) fn not_sent(why: &str) -> Self {
        Self::NotSent(why.into())
    }

    pub(crate) fn unknown(why: &str) -> Self {
        Self::Unknown(why.into())
    }

    /// Of this movement.
    pub(crate) fn of(self, subject: &Subject) -> MovementOutcome {
        match subject {
            Subject::Charge => MovementOutcome::Charge(self.into()),
            Subject::Refund { number, .. } => MovementOutcome::Refund(number.clone(), self.into()),
            Subject::Reversal => MovementOutcome::Reversal(self.into()),
        }
    }
}

/// What came of a task by the answer to its call. What is not understood is unknown, never failed.
pub(crate) fn came(answer: Option<Answer>, asked: Asked, subject: &Subject) -> MovementOutcome {
    let no_effect = match (answer, subject) {
        (Some(Answer::Approved(approved)), Subject::Charge) => match approval(approved) {
            Ok(approval) => return MovementOutcome::Charge(TaskResult::Done(approval)),
            Err(unknown) => unknown,
        },
        (Some(Answer::Refunded(answer)), Subject::Refund { number, .. }) => {
            return MovementOutcome::Refund(number.clone(), TaskResult::Done(refunded(answer)));
        }
        (Some(Answer::Reversed(answer)), Subject::Reversal) => {
            let issuer_trade_no = cut(answer.issuer_trade_no).into();
            return MovementOutcome::Reversal(TaskResult::Done(ReversalApproval { issuer_trade_no }));
        }
        (Some(Answer::Approved(_) | Answer::Refunded(_) | Answer::Reversed(_)), _) => {
            NoEffect::unknown("the answer is not to what was asked")
        }
        // It may be that of an earlier attempt, while this one is still on its way.
        (Some(Answer::Declined(_)), Subject::Reversal) if asked == (Asked::Inquiry { proves_absence: false }) => {
            NoEffect::unknown("the issuer refused a reversal, this one or one before")
        }
        (Some(Answer::Declined(answer)), _) => declined(answer),
        (Some(Answer::TradeUnknown(_)), _) => match asked {
            Asked::Inquiry { proves_absence: true } => NoEffect::Absent,
            Asked::Inquiry { proves_absence: false } | Asked::Transfer => {
                NoEffect::unknown("the issuer does not know it yet")
            }
        },
        (Some(Answer::Undecided(_)), _) => NoEffect::unknown("the issuer has not decided"),
        (None, _) => NoEffect::unknown("the answer says nothing"),
    };
    no_effect.of(subject)
}

/// The longest text of a backend that is kept, in bytes: more cannot be meant for people, and a
/// record must hold them all.
const TEXT_BYTES_MAX: usize = 1_024;

/// Cut at a character's end.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// A carrier that is none is left out, and a card number is masked, before anybody writes them
/// down.
fn approval(approved: backend::Approved) -> Result<twqr_order::Approval, NoEffect> {
    let carrier = Carrier::parse(&approved.invoice_vehicle);
    let approval = bus::Approval {
        payment_type: approved.payment_type,
        debit_amount: approved.debit_amount,
        redeem_name: cut(approved.redeem_name),
        redeem_amount: approved.redeem_amount,
        store_redeem_amount: approved.store_redeem_amount,
        invoice_vehicle: carrier.map(|carrier| carrier.as_str().to_owned()).unwrap_or_default(),
        mer_mem_token: cut(approved.mer_mem_token),
        card_name: cut(approved.card_name),
        card_no_masked: masked_card_no(&approved.card_no_masked),
        issuer_trade_no: cut(approved.issuer_trade_no),
    };
    approval_from(approval)
        .map_err(|fault| NoEffect::Unknown(format!("the approval is not understood: {fault}").into()))
}

fn refunded(refunded: backend::Refunded) -> RefundApproval {
    RefundApproval {
        debit_amount: refunded.debit_amount,
        redeem_name: cut(refunded.redeem_name).into(),
        redeem_amount: refunded.redeem_amount,
        store_redeem_amount: refunded.store_redeem_amount,
        issuer_trade_no: cut(refunded.issuer_trade_no).into(),
    }
}

fn declined(declined: backend::Declined) -> NoEffect {
    let kind = match declined.kind() {
        backend::declined::Kind::Wallet => DeclineKind::Wallet,
        backend::declined::Kind::Issuer => DeclineKind::Issuer,
        backend::declined::Kind::CardNotSupported => DeclineKind::CardNotSupported,
        backend::declined::Kind::Fisc => DeclineKind::Fisc,
        backend::declined::Kind::Unspecified => {
            return NoEffect::unknown("the refusal does not say whose it is");
        }
    };
    NoEffect::Declined(Decline { kind, code: cut(declined.code).into(), reason: cut(declined.reason).into() })
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
        let came = came(Some(Answer::Declined(declined)), Asked::Transfer, &Subject::Charge);
        let MovementOutcome::Charge(TaskResult::Declined(decline)) = came else { unreachable!() };
        assert_eq!((&*decline.code, decline.reason.len()), ("928", 1_023));
    }

    #[test]
    fn no_card_number_and_no_carrier_that_is_none_gets_further() {
        for (vehicle, number, kept) in [
            ("/ABC+123", "411111******1111", ("/ABC+123", "411111******1111")),
            ("/ABC+12", "4111111111111111", ("", "411111******1111")),
            ("someone@example.org", "4111 1111 1111 1111", ("", "411111******1111")),
        ] {
            let approved = backend::Approved {
                payment_type: 4,
                invoice_vehicle: vehicle.into(),
                card_no_masked: number.into(),
                ..backend::Approved::default()
            };
            let came = came(Some(Answer::Approved(approved)), Asked::Transfer, &Subject::Charge);
            let MovementOutcome::Charge(TaskResult::Done(approval)) = came else { unreachable!() };
            assert_eq!((&*approval.invoice_vehicle, &*approval.card_no_masked), kept);
        }
    }

    #[test]
    fn a_refusal_told_to_who_asks_about_a_reversal_counts_only_when_nothing_can_arrive_any_more() {
        let refused = || {
            let kind = backend::declined::Kind::Issuer.into();
            Some(Answer::Declined(backend::Declined { kind, code: "V051".into(), reason: String::new() }))
        };
        for (asked, counts) in [
            (Asked::Transfer, true),
            (Asked::Inquiry { proves_absence: false }, false),
            (Asked::Inquiry { proves_absence: true }, true),
        ] {
            let MovementOutcome::Reversal(result) = came(refused(), asked, &Subject::Reversal) else { unreachable!() };
            assert_eq!(matches!(result, TaskResult::Declined(_)), counts, "{asked:?}: {result:?}");
            let MovementOutcome::Charge(result) = came(refused(), asked, &Subject::Charge) else { unreachable!() };
            assert!(matches!(result, TaskResult::Declined(_)), "a charge is sent once: {asked:?}");
        }
    }

    #[test]
    fn an_answer_to_something_else_is_unknown() {
        let reversed = || Some(Answer::Reversed(backend::Reversed::default()));
        assert!(matches!(
            came(reversed(), Asked::Transfer, &Subject::Charge),
            MovementOutcome::Charge(TaskResult::Unknown(_))
        ));
        assert!(matches!(
            came(reversed(), Asked::Transfer, &Subject::Reversal),
            MovementOutcome::Reversal(TaskResult::Done(_))
        ));
    }
}
