//! The answers of a backend (`proto/twqr/backend/v1`). Backends are outside our control, so their
//! texts are cut to a length, and data that must not be stored is removed here.

use twqr_order::{Approval, Decline, DeclineKind, RefundApproval, ReversalApproval};
use twqr_types::{CardToken, Carrier, masked_card_no};

use super::{fault::RecordFault, movement::payment_type_from};
use crate::backend::{self, exchange_response::Answer};

/// The answer of a backend to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendAnswer {
    /// A charge took effect.
    Approved(Box<Approval>),
    /// A refund took effect.
    Refunded(RefundApproval),
    /// A reversal took effect.
    Reversed(ReversalApproval),
    /// The movement was refused.
    Declined(Decline),
    /// The backend does not know the movement.
    TradeUnknown,
    /// The backend knows the movement and has not decided yet, or cannot say.
    Undecided,
    /// The answer cannot be used, for this reason.
    Malformed(String),
}

impl BackendAnswer {
    /// Overwrites the card token of the charge in every text of its answer. Returns whether the
    /// backend had repeated it.
    pub fn blank(&mut self, token: &CardToken) -> bool {
        let texts: Vec<&mut Box<str>> = match self {
            Self::Approved(approval) => vec![
                &mut approval.redeem_name,
                &mut approval.invoice_vehicle,
                &mut approval.mer_mem_token,
                &mut approval.card_name,
                &mut approval.card_no_masked,
                &mut approval.issuer_trade_no,
            ],
            Self::Refunded(refunded) => vec![&mut refunded.redeem_name, &mut refunded.issuer_trade_no],
            Self::Reversed(reversed) => vec![&mut reversed.issuer_trade_no],
            Self::Declined(decline) => vec![&mut decline.code, &mut decline.reason],
            Self::TradeUnknown | Self::Undecided | Self::Malformed(_) => Vec::new(),
        };
        let mut has_found = false;
        for text in texts {
            has_found |= token.blank_in(text);
        }
        has_found
    }
}

/// The longest text of a backend that is kept, in bytes: a longer one cannot be meant for people,
/// and one log record must hold all texts of an answer.
const TEXT_BYTES_MAX: usize = 1_024;

/// Decodes an answer; returns it with the identity of its call.
pub fn backend_answer_from(response: backend::ExchangeResponse) -> (u64, BackendAnswer) {
    let answer = match response.answer {
        Some(Answer::Approved(approved)) => match approval_from_backend(approved) {
            Ok(approval) => BackendAnswer::Approved(Box::new(approval)),
            Err(fault) => BackendAnswer::Malformed(format!("the approval cannot be used: {fault}")),
        },
        Some(Answer::Refunded(refunded)) => BackendAnswer::Refunded(RefundApproval {
            debit_amount: refunded.debit_amount,
            redeem_name: cut(refunded.redeem_name),
            redeem_amount: refunded.redeem_amount,
            store_redeem_amount: refunded.store_redeem_amount,
            issuer_trade_no: cut(refunded.issuer_trade_no),
        }),
        Some(Answer::Reversed(reversed)) => {
            BackendAnswer::Reversed(ReversalApproval { issuer_trade_no: cut(reversed.issuer_trade_no) })
        }
        Some(Answer::Declined(declined)) => declined_from(declined),
        Some(Answer::TradeUnknown(_)) => BackendAnswer::TradeUnknown,
        Some(Answer::Undecided(_)) => BackendAnswer::Undecided,
        None => BackendAnswer::Malformed("the answer is empty".to_owned()),
    };
    (response.call_id, answer)
}

/// Decodes an approval. An invalid carrier is left out and a card number is masked here, before
/// anything can store them.
fn approval_from_backend(approved: backend::Approved) -> Result<Approval, RecordFault> {
    let payment_type = payment_type_from(approved.payment_type())?;
    let carrier = Carrier::parse(&approved.invoice_vehicle);
    Ok(Approval {
        payment_type,
        debit_amount: approved.debit_amount,
        redeem_name: cut(approved.redeem_name),
        redeem_amount: approved.redeem_amount,
        store_redeem_amount: approved.store_redeem_amount,
        invoice_vehicle: carrier.map(|carrier| carrier.as_str().into()).unwrap_or_default(),
        mer_mem_token: cut(approved.mer_mem_token),
        card_name: cut(approved.card_name),
        card_no_masked: masked_card_no(&approved.card_no_masked).into(),
        issuer_trade_no: cut(approved.issuer_trade_no),
    })
}

fn declined_from(declined: backend::Declined) -> BackendAnswer {
    let kind = match declined.kind() {
        backend::declined::Kind::Wallet => DeclineKind::Wallet,
        backend::declined::Kind::Issuer => DeclineKind::Issuer,
        backend::declined::Kind::CardNotSupported => DeclineKind::CardNotSupported,
        backend::declined::Kind::Fisc => DeclineKind::Fisc,
        backend::declined::Kind::Unspecified => {
            return BackendAnswer::Malformed("the refusal does not say who refused".to_owned());
        }
    };
    BackendAnswer::Declined(Decline { kind, code: cut(declined.code), reason: cut(declined.reason) })
}

/// Cuts a text to its longest length, at the end of a character.
fn cut(mut text: String) -> Box<str> {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(answer: Answer) -> BackendAnswer {
        let (call_id, answer) = backend_answer_from(backend::ExchangeResponse { call_id: 7, answer: Some(answer) });
        assert_eq!(call_id, 7);
        answer
    }

    #[test]
    fn texts_are_cut_at_the_end_of_a_character() {
        let declined = backend::Declined {
            kind: backend::declined::Kind::Issuer.into(),
            code: "928".into(),
            reason: "餘".repeat(1_000_000),
        };
        let BackendAnswer::Declined(decline) = answer(Answer::Declined(declined)) else { unreachable!() };
        assert_eq!((&*decline.code, decline.reason.len()), ("928", 1_023));
    }

    #[test]
    fn no_text_of_an_answer_repeats_the_card_token() {
        let token = CardToken::parse("22abcdefghijklmnop".to_owned()).unwrap();
        let text = || format!("code {} ", token.expose());
        let approved = backend::Approved {
            payment_type: 4,
            redeem_name: text(),
            invoice_vehicle: text(),
            mer_mem_token: text(),
            card_name: text(),
            card_no_masked: text(),
            issuer_trade_no: text(),
            ..backend::Approved::default()
        };
        let kind = backend::declined::Kind::Issuer.into();
        let cut = format!("{}{}", "x".repeat(TEXT_BYTES_MAX - 17), token.expose());
        let refunded =
            backend::Refunded { redeem_name: text(), issuer_trade_no: text(), ..backend::Refunded::default() };
        for echo in [
            Answer::Approved(approved),
            Answer::Refunded(refunded),
            Answer::Reversed(backend::Reversed { issuer_trade_no: text() }),
            Answer::Declined(backend::Declined { kind, code: text(), reason: text() }),
            Answer::Declined(backend::Declined { kind, code: "927".into(), reason: cut }),
        ] {
            let mut answer = answer(echo);
            assert!(answer.blank(&token) && !format!("{answer:?}").contains("22abcdefgh"), "{answer:?}");
            assert!(!answer.blank(&token), "nothing is left");
        }
    }

    #[test]
    fn an_invalid_carrier_and_a_card_number_are_removed() {
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
            let BackendAnswer::Approved(approval) = answer(Answer::Approved(approved)) else { unreachable!() };
            assert_eq!((&*approval.invoice_vehicle, &*approval.card_no_masked), kept);
        }
    }

    #[test]
    fn an_incomplete_answer_is_malformed() {
        let response = backend::ExchangeResponse { call_id: 7, answer: None };
        assert!(matches!(backend_answer_from(response), (7, BackendAnswer::Malformed(_))));
        assert!(matches!(answer(Answer::Approved(backend::Approved::default())), BackendAnswer::Malformed(_)));
        assert!(matches!(answer(Answer::Declined(backend::Declined::default())), BackendAnswer::Malformed(_)));
    }
}
