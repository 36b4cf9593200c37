//! Reads the answer of the HTTP backend. Only a result code of the configured table decides
//! anything; every other answer is Undecided.

use serde_json::Value;
use twqr_wire::backend::{
    Approved, Declined, Refunded, Reversed, TradeUnknown, Undecided, declined::Kind, exchange_response::Answer,
    inquiry::Subject,
};

use crate::{
    config::{AdapterConfig, Meaning},
    formats::{amount_in, get, text},
};

/// An answer that decides nothing.
pub(crate) fn undecided(reason: impl Into<String>) -> Answer {
    Answer::Undecided(Undecided { reason: reason.into() })
}

/// The answer to a call about `subject`, from the HTTP status and the body. An inquiry is answered
/// as the call itself.
pub(crate) fn answer(config: &AdapterConfig, subject: Subject, is_inquiry: bool, status: u16, body: &[u8]) -> Answer {
    // The body of a failed server may be that of a proxy, whatever it says.
    if status >= 500 {
        return undecided(format!("HTTP status {status}"));
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return undecided(format!("HTTP status {status} with a body that is no JSON"));
    };
    let Some(code) = text(&body, &config.answer.code) else {
        return undecided(format!("HTTP status {status} without a result code"));
    };
    let declined = |kind: Kind, mapped: &str| {
        let reported = if mapped.is_empty() { code.clone() } else { mapped.to_owned() };
        let reason = config.answer.reason.as_ref().and_then(|path| text(&body, path)).unwrap_or_default();
        Answer::Declined(Declined { kind: kind.into(), code: reported, reason })
    };
    match config.results.get(&code) {
        Some(Meaning::Done) => {
            done(config, subject, &body).unwrap_or_else(|what| undecided(format!("result {code}, but {what}")))
        }
        // Only an inquiry asks whether a number is known.
        Some(Meaning::TradeUnknown) if is_inquiry => Answer::TradeUnknown(TradeUnknown {}),
        Some(Meaning::TradeUnknown) => undecided(format!("result {code}: the number is unknown")),
        Some(Meaning::DeclinedByWallet(mapped)) => declined(Kind::Wallet, mapped),
        Some(Meaning::DeclinedByIssuer(mapped)) => declined(Kind::Issuer, mapped),
        Some(Meaning::CardNotSupported(mapped)) => declined(Kind::CardNotSupported, mapped),
        Some(Meaning::DeclinedByFisc(mapped)) => declined(Kind::Fisc, mapped),
        Some(Meaning::Undecided) => undecided(format!("result {code}")),
        None => undecided(format!("unknown result {code}")),
    }
}

/// The answer to a call that took effect, or what is missing in it.
fn done(config: &AdapterConfig, subject: Subject, body: &Value) -> Result<Answer, &'static str> {
    let paths = &config.answer;
    let optional = |path: &Option<String>| path.as_ref().and_then(|path| text(body, path)).unwrap_or_default();
    let amount = |path: &str| {
        let value = get(body, path).ok_or("an amount is missing")?;
        amount_in(config.formats.amount, value).ok_or("an amount has another form")
    };
    let optional_amount = |path: &Option<String>| path.as_ref().map_or(Ok(0), |path| amount(path));
    Ok(match subject {
        Subject::Unspecified | Subject::Charge => Answer::Approved(Approved {
            payment_type: *paths
                .payment_types
                .get(&optional(&paths.payment_type))
                .ok_or("its payment type is unknown")?,
            debit_amount: amount(&paths.debit_amount)?,
            redeem_name: optional(&paths.redeem_name),
            redeem_amount: optional_amount(&paths.redeem_amount)?,
            store_redeem_amount: optional_amount(&paths.store_redeem_amount)?,
            invoice_vehicle: optional(&paths.invoice_vehicle),
            mer_mem_token: optional(&paths.mer_mem_token),
            card_name: optional(&paths.card_name),
            card_no_masked: optional(&paths.card_no_masked),
            issuer_trade_no: optional(&paths.issuer_trade_no),
        }),
        Subject::Refund => Answer::Refunded(Refunded {
            debit_amount: amount(&paths.debit_amount)?,
            redeem_name: optional(&paths.redeem_name),
            redeem_amount: optional_amount(&paths.redeem_amount)?,
            store_redeem_amount: optional_amount(&paths.store_redeem_amount)?,
            issuer_trade_no: optional(&paths.issuer_trade_no),
        }),
        Subject::Reversal => Answer::Reversed(Reversed { issuer_trade_no: optional(&paths.issuer_trade_no) }),
    })
}
