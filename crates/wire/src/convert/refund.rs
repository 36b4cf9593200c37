//! Refund orders, which have their own number and refer to their payment.

use twqr_order::{Refund, RefundPhase, RefundSuccess, RefundTerms};
use twqr_types::{Amount, Extra, GatewayTradeNo, PosId, PosTradeTime, Remark, StoreId, StoreName, UnixMs};

use super::{
    fault::{RecordFault, need},
    ids::{issuer_from, key_from, key_out, subscribers_from, subscribers_out, trade_no_from},
    movement::{failure_from, failure_out, payment_type_from, payment_type_out, refunded_from, refunded_out},
    nonce::{nonces_from, nonces_out},
};
use crate::bus::{self, refund::Phase};

pub(crate) fn refund_out(refund: &Refund) -> bus::Refund {
    let phase = match &refund.phase {
        RefundPhase::Requested { next_request } => Phase::AskAgainMs(next_request.0),
        RefundPhase::Succeeded(success) => Phase::Succeeded(success_out(success)),
        RefundPhase::Failed(failure) => Phase::Failed(failure_out(failure)),
    };
    bus::Refund {
        key: Some(key_out(&refund.key)),
        trade_no: refund.trade_no.as_str().to_owned(),
        payment_trade_no: refund.payment.as_str().to_owned(),
        accepted_at_ms: refund.accepted_at.0,
        terms: Some(terms_out(&refund.terms)),
        requests: refund.requests,
        changed_at_ms: refund.changed_at.0,
        subscribers: subscribers_out(&refund.subscribers),
        phase: Some(phase),
        late_booking_ms: refund.late_booking.map(|at| at.0),
        nonces: nonces_out(&refund.nonces),
    }
}

pub(crate) fn refund_from(refund: bus::Refund) -> Result<Refund, RecordFault> {
    let phase = match need(refund.phase, "phase")? {
        Phase::AskAgainMs(next_request) => RefundPhase::Requested { next_request: UnixMs(next_request) },
        Phase::Succeeded(success) => RefundPhase::Succeeded(Box::new(success_from(success)?)),
        Phase::Failed(failure) => RefundPhase::Failed(failure_from(failure)?),
    };
    Ok(Refund {
        key: key_from(refund.key)?,
        trade_no: trade_no_from(&refund.trade_no)?,
        payment: trade_no_from(&refund.payment_trade_no)?,
        accepted_at: UnixMs(refund.accepted_at_ms),
        terms: terms_from(need(refund.terms, "terms")?)?,
        requests: refund.requests,
        changed_at: UnixMs(refund.changed_at_ms),
        late_booking: refund.late_booking_ms.map(UnixMs),
        subscribers: subscribers_from(refund.subscribers)?,
        phase,
        nonces: nonces_from(&refund.nonces)?,
    })
}

pub(crate) fn success_out(success: &RefundSuccess) -> bus::RefundSuccess {
    bus::RefundSuccess {
        refunded: Some(refunded_out(&success.refunded)),
        institution: success.issuer.as_wire().to_owned(),
        payment_type: payment_type_out(success.payment_type).into(),
        invoice_vehicle: success.invoice_vehicle.to_string(),
        mer_mem_token: success.mer_mem_token.to_string(),
        card_name: success.card_name.to_string(),
        card_no_masked: success.card_no_masked.to_string(),
    }
}

pub(crate) fn success_from(success: bus::RefundSuccess) -> Result<RefundSuccess, RecordFault> {
    Ok(RefundSuccess {
        payment_type: payment_type_from(success.payment_type())?,
        refunded: refunded_from(need(success.refunded, "refunded")?),
        issuer: issuer_from(&success.institution)?,
        invoice_vehicle: success.invoice_vehicle.into(),
        mer_mem_token: success.mer_mem_token.into(),
        card_name: success.card_name.into(),
        card_no_masked: success.card_no_masked.into(),
    })
}

fn terms_out(terms: &RefundTerms) -> bus::RefundTerms {
    bus::RefundTerms {
        store_id: terms.store_id.as_str().to_owned(),
        store_name: terms.store_name.as_str().to_owned(),
        gateway_trade_no: terms.gateway_trade_no.as_str().to_owned(),
        pos_id: terms.pos_id.as_str().to_owned(),
        pos_trade_time: terms.pos_trade_time.as_str().to_owned(),
        trade_amount: terms.trade_amount.twd(),
        remark: terms.remark.as_str().to_owned(),
        extra1: terms.extra1.as_str().to_owned(),
        extra2: terms.extra2.as_str().to_owned(),
    }
}

fn terms_from(terms: bus::RefundTerms) -> Result<RefundTerms, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(RefundTerms {
        store_id: StoreId::parse(terms.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(terms.store_name).map_err(invalid("store_name"))?,
        gateway_trade_no: GatewayTradeNo::parse(terms.gateway_trade_no).map_err(invalid("gateway_trade_no"))?,
        pos_id: PosId::parse(terms.pos_id).map_err(invalid("pos_id"))?,
        pos_trade_time: PosTradeTime::parse_stored(terms.pos_trade_time).map_err(invalid("pos_trade_time"))?,
        trade_amount: Amount::parse(terms.trade_amount).map_err(invalid("trade_amount"))?,
        remark: Remark::parse(terms.remark).map_err(invalid("remark"))?,
        extra1: Extra::parse(terms.extra1).map_err(invalid("extra1"))?,
        extra2: Extra::parse(terms.extra2).map_err(invalid("extra2"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Earlier builds accepted such requests, so they are in stored states.
    #[test]
    fn terms_with_a_year_of_another_calendar_stay_readable() {
        let terms = bus::RefundTerms {
            pos_trade_time: "0115/11/28 10:00:00".to_owned(),
            trade_amount: 1,
            ..bus::RefundTerms::default()
        };
        assert_eq!(terms_out(&terms_from(terms.clone()).unwrap()), terms);
    }
}
