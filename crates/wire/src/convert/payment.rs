//! Payments, with the entries of their refunds and with their cancel.

use bytes::Bytes;
use twqr_order::{Cancel, CancelStage, EarlyCancel, Payment, RefundEntry, Remembering, Terms};
use twqr_types::{
    Amount, CardTokenDigest, ComparedToken, Extra, GatewayTradeNo, PosId, PosTradeTime, Remark, StoreId, StoreName,
    UnRedeem, UnixMs,
};

use super::{
    card_tokens::{macs_from, macs_out},
    fault::{RecordFault, need},
    ids::{issuer_from, key_from, key_out, merchant_trade_no_from, subscribers_from, subscribers_out, trade_no_from},
    movement::{failure_from, failure_out, movement_from, movement_out},
    nonce::{nonces_from, nonces_out},
};
use crate::bus::{self, cancel::Stage};

/// Encodes a payment with its subscribers.
pub(crate) fn payment_out(payment: &Payment) -> bus::Payment {
    let entry = |entry: &RefundEntry| bus::RefundEntry {
        merchant_trade_no: entry.number.as_str().to_owned(),
        trade_no: entry.trade_no.as_str().to_owned(),
        amount: entry.amount.twd(),
        refund: Some(movement_out(&entry.refund)),
        took_effect_after_all: entry.took_effect_after_all,
    };
    bus::Payment {
        key: Some(key_out(&payment.key)),
        trade_no: payment.trade_no.as_str().to_owned(),
        accepted_at_ms: payment.accepted_at.0,
        terms: Some(terms_out(&payment.terms)),
        institution: payment.issuer.as_ref().map_or("", |issuer| issuer.as_wire()).to_owned(),
        unrouted: payment.issuer.is_none(),
        charge: Some(movement_out(&payment.charge)),
        refunds: payment.refunds.iter().map(entry).collect(),
        cancel: payment.cancel.as_ref().map(cancel_out),
        subscribers: subscribers_out(&payment.subscribers),
        charge_took_effect_after_all: payment.charge_took_effect_after_all,
        contradiction: payment.contradiction.as_deref().unwrap_or_default().to_owned(),
        protocol_version: payment.protocol_version,
        remembering: remembering_out(&payment.remembering),
        nonces: nonces_out(&payment.nonces),
    }
}

/// Encodes "every partition" as absent, as earlier builds did.
fn remembering_out(remembering: &Remembering) -> Option<bus::Remembering> {
    match remembering {
        Remembering::All => None,
        Remembering::Only(partitions) => Some(bus::Remembering { partitions: partitions.clone() }),
    }
}

/// Decodes a payment.
pub(crate) fn payment_from(payment: bus::Payment) -> Result<Payment, RecordFault> {
    let issuer = issuer_from(&payment.institution)?;
    Ok(Payment {
        key: key_from(payment.key)?,
        trade_no: trade_no_from(&payment.trade_no)?,
        accepted_at: UnixMs(payment.accepted_at_ms),
        terms: terms_from(need(payment.terms, "terms")?)?,
        issuer: (!payment.unrouted).then_some(issuer),
        charge: movement_from(payment.charge)?,
        refunds: payment.refunds.into_iter().map(entry_from).collect::<Result<_, _>>()?,
        cancel: payment.cancel.map(cancel_from).transpose()?,
        subscribers: subscribers_from(payment.subscribers)?,
        charge_took_effect_after_all: payment.charge_took_effect_after_all,
        contradiction: (!payment.contradiction.is_empty()).then(|| payment.contradiction.into()),
        protocol_version: payment.protocol_version,
        remembering: payment.remembering.map_or(Remembering::All, |only| Remembering::Only(only.partitions)),
        nonces: nonces_from(&payment.nonces)?,
    })
}

fn entry_from(entry: bus::RefundEntry) -> Result<RefundEntry, RecordFault> {
    Ok(RefundEntry {
        number: merchant_trade_no_from(entry.merchant_trade_no)?,
        trade_no: trade_no_from(&entry.trade_no)?,
        amount: Amount::parse(entry.amount).map_err(RecordFault::invalid("amount"))?,
        refund: movement_from(entry.refund)?,
        took_effect_after_all: entry.took_effect_after_all,
    })
}

fn cancel_out(cancel: &Cancel) -> bus::Cancel {
    let stage = match &cancel.stage {
        CancelStage::Blocked => Stage::Waiting(bus::Waiting {}),
        CancelStage::Reversing(reversal) => Stage::Reversing(movement_out(reversal)),
        CancelStage::Retry { at } => Stage::AgainMs(at.0),
        CancelStage::NothingToReverse => Stage::Nothing(bus::Nothing {}),
    };
    bus::Cancel {
        requested_at_ms: cancel.requested_at.0,
        remark: cancel.remark.as_str().to_owned(),
        amount: cancel.amount,
        attempts: cancel.attempts,
        sent_at: cancel.last_sent_offset,
        amounts: cancel
            .amounts
            .iter()
            .map(|(offset, amount)| bus::AmountSent { offset: *offset, amount: *amount })
            .collect(),
        by_itself: !cancel.is_requested,
        was_told_done: cancel.was_answered_as_done,
        last_refusal: cancel.last_refusal.as_ref().map(failure_out),
        changed_at_ms: cancel.changed_at.0,
        stage: Some(stage),
    }
}

fn cancel_from(cancel: bus::Cancel) -> Result<Cancel, RecordFault> {
    let stage = match need(cancel.stage, "stage")? {
        Stage::Waiting(_) => CancelStage::Blocked,
        Stage::Reversing(reversal) => CancelStage::Reversing(movement_from(Some(reversal))?),
        Stage::AgainMs(at) => CancelStage::Retry { at: UnixMs(at) },
        Stage::Nothing(_) => CancelStage::NothingToReverse,
    };
    Ok(Cancel {
        requested_at: UnixMs(cancel.requested_at_ms),
        remark: Remark::parse(cancel.remark).map_err(RecordFault::invalid("remark"))?,
        amount: cancel.amount,
        attempts: cancel.attempts,
        last_sent_offset: cancel.sent_at,
        amounts: cancel.amounts.into_iter().map(|sent| (sent.offset, sent.amount)).collect(),
        is_requested: !cancel.by_itself,
        was_answered_as_done: cancel.was_told_done,
        last_refusal: cancel.last_refusal.map(failure_from).transpose()?,
        changed_at: UnixMs(cancel.changed_at_ms),
        stage,
    })
}

/// Encodes a cancel that found no payment.
pub(crate) fn cancelled_out(cancelled: &EarlyCancel) -> bus::CancelledBefore {
    bus::CancelledBefore {
        key: Some(key_out(&cancelled.key)),
        store_id: cancelled.store_id.as_str().to_owned(),
        gateway_trade_no: cancelled.gateway_trade_no.as_str().to_owned(),
        pos_id: cancelled.pos_id.as_str().to_owned(),
        trade_amount: cancelled.trade_amount,
        requested_at_ms: cancelled.requested_at.0,
        nonces: nonces_out(&cancelled.nonces),
    }
}

pub(crate) fn cancelled_from(cancelled: bus::CancelledBefore) -> Result<EarlyCancel, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(EarlyCancel {
        key: key_from(cancelled.key)?,
        store_id: StoreId::parse(cancelled.store_id).map_err(invalid("store_id"))?,
        gateway_trade_no: GatewayTradeNo::parse(cancelled.gateway_trade_no).map_err(invalid("gateway_trade_no"))?,
        pos_id: PosId::parse(cancelled.pos_id).map_err(invalid("pos_id"))?,
        trade_amount: cancelled.trade_amount,
        requested_at: UnixMs(cancelled.requested_at_ms),
        nonces: nonces_from(&cancelled.nonces)?,
    })
}

fn terms_out(terms: &Terms) -> bus::PaymentTerms {
    bus::PaymentTerms {
        store_id: terms.store_id.as_str().to_owned(),
        store_name: terms.store_name.as_str().to_owned(),
        gateway_trade_no: terms.gateway_trade_no.as_str().to_owned(),
        pos_id: terms.pos_id.as_str().to_owned(),
        pos_trade_time: terms.pos_trade_time.as_str().to_owned(),
        trade_amount: terms.trade_amount.twd(),
        un_redeem: terms.un_redeem.twd(),
        requested_un_redeem: terms.requested_un_redeem.twd(),
        remark: terms.remark.as_str().to_owned(),
        extra1: terms.extra1.as_str().to_owned(),
        extra2: terms.extra2.as_str().to_owned(),
        card_token_digest: match &terms.card_token {
            ComparedToken::Digest(digest) => digest.as_bytes().to_vec().into(),
            ComparedToken::Macs(_) => Bytes::new(),
        },
        card_token_macs: match &terms.card_token {
            ComparedToken::Digest(_) => Vec::new(),
            ComparedToken::Macs(macs) => macs_out(macs),
        },
    }
}

fn compared_from(digest: &[u8], macs: Vec<bus::TokenMac>) -> Result<ComparedToken, RecordFault> {
    if digest.is_empty() {
        return macs_from(macs).map(ComparedToken::Macs);
    }
    let digest = digest
        .try_into()
        .map_err(|_| RecordFault::Invalid { field: "card_token_digest", problem: "must be 16 bytes".to_owned() })?;
    Ok(ComparedToken::Digest(CardTokenDigest::from_bytes(digest)))
}

fn terms_from(terms: bus::PaymentTerms) -> Result<Terms, RecordFault> {
    let invalid = RecordFault::invalid;
    let card_token = compared_from(&terms.card_token_digest, terms.card_token_macs)?;
    Ok(Terms {
        store_id: StoreId::parse(terms.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(terms.store_name).map_err(invalid("store_name"))?,
        gateway_trade_no: GatewayTradeNo::parse(terms.gateway_trade_no).map_err(invalid("gateway_trade_no"))?,
        pos_id: PosId::parse(terms.pos_id).map_err(invalid("pos_id"))?,
        pos_trade_time: PosTradeTime::parse_stored(terms.pos_trade_time).map_err(invalid("pos_trade_time"))?,
        trade_amount: Amount::parse(terms.trade_amount).map_err(invalid("trade_amount"))?,
        un_redeem: UnRedeem::parse(terms.un_redeem).map_err(invalid("un_redeem"))?,
        requested_un_redeem: UnRedeem::parse(terms.requested_un_redeem).map_err(invalid("requested_un_redeem"))?,
        remark: Remark::parse(terms.remark).map_err(invalid("remark"))?,
        extra1: Extra::parse(terms.extra1).map_err(invalid("extra1"))?,
        extra2: Extra::parse(terms.extra2).map_err(invalid("extra2"))?,
        card_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Earlier builds accepted such requests, so they are in stored states.
    #[test]
    fn terms_with_a_year_of_another_calendar_stay_readable() {
        let terms = bus::PaymentTerms {
            pos_trade_time: "0115/11/28 10:00:00".to_owned(),
            trade_amount: 1,
            card_token_digest: vec![0; CardTokenDigest::LEN].into(),
            ..bus::PaymentTerms::default()
        };
        assert_eq!(terms_out(&terms_from(terms.clone()).unwrap()), terms);
    }
}
