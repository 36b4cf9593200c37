//! The calls that tasks ask a worker to make: charges, refunds and reversals, with everything that
//! a worker needs to make them.

use twqr_order::{ChargeCall, RefundCall, ReversalCall};
use twqr_types::{Amount, CardToken, PosId, Remark, SpendableToken, StoreId, StoreName, UnRedeem};

use crate::{
    bus,
    convert::{
        card_tokens::{sealed_from, sealed_out},
        fault::RecordFault,
        ids::{merchant_trade_no_from, trade_no_from},
    },
};

pub(super) fn charge_out(charge: &ChargeCall) -> bus::ChargeTask {
    bus::ChargeTask {
        card_token: match &charge.card_token {
            SpendableToken::Clear(token) => token.expose().to_owned(),
            SpendableToken::Sealed(_) => String::new(),
        },
        sealed_token: match &charge.card_token {
            SpendableToken::Clear(_) => None,
            SpendableToken::Sealed(sealed) => Some(sealed_out(sealed)),
        },
        store_id: charge.store_id.as_str().to_owned(),
        store_name: charge.store_name.as_str().to_owned(),
        pos_id: charge.pos_id.as_str().to_owned(),
        trade_amount: charge.trade_amount.twd(),
        un_redeem: charge.un_redeem.twd(),
        remark: charge.remark.as_str().to_owned(),
    }
}

pub(super) fn charge_from(charge: bus::ChargeTask) -> Result<ChargeCall, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(ChargeCall {
        card_token: match charge.sealed_token {
            Some(sealed) => SpendableToken::Sealed(sealed_from(sealed)),
            None => SpendableToken::Clear(CardToken::parse(charge.card_token).map_err(invalid("card_token"))?),
        },
        store_id: StoreId::parse(charge.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(charge.store_name).map_err(invalid("store_name"))?,
        pos_id: PosId::parse(charge.pos_id).map_err(invalid("pos_id"))?,
        trade_amount: Amount::parse(charge.trade_amount).map_err(invalid("trade_amount"))?,
        un_redeem: UnRedeem::parse(charge.un_redeem).map_err(invalid("un_redeem"))?,
        remark: Remark::parse(charge.remark).map_err(invalid("remark"))?,
    })
}

pub(super) fn refund_out(refund: &RefundCall) -> bus::RefundTask {
    bus::RefundTask {
        merchant_trade_no: refund.number.as_str().to_owned(),
        trade_no: refund.trade_no.as_str().to_owned(),
        store_id: refund.store_id.as_str().to_owned(),
        store_name: refund.store_name.as_str().to_owned(),
        pos_id: refund.pos_id.as_str().to_owned(),
        trade_amount: refund.trade_amount.twd(),
        remark: refund.remark.as_str().to_owned(),
    }
}

pub(super) fn refund_from(refund: bus::RefundTask) -> Result<RefundCall, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(RefundCall {
        number: merchant_trade_no_from(refund.merchant_trade_no)?,
        trade_no: trade_no_from(&refund.trade_no)?,
        store_id: StoreId::parse(refund.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(refund.store_name).map_err(invalid("store_name"))?,
        pos_id: PosId::parse(refund.pos_id).map_err(invalid("pos_id"))?,
        trade_amount: Amount::parse(refund.trade_amount).map_err(invalid("trade_amount"))?,
        remark: Remark::parse(refund.remark).map_err(invalid("remark"))?,
    })
}

pub(super) fn reversal_out(reversal: &ReversalCall) -> bus::ReversalTask {
    bus::ReversalTask {
        store_id: reversal.store_id.as_str().to_owned(),
        amount: reversal.amount,
        remark: reversal.remark.as_str().to_owned(),
    }
}

pub(super) fn reversal_from(reversal: bus::ReversalTask) -> Result<ReversalCall, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(ReversalCall {
        store_id: StoreId::parse(reversal.store_id).map_err(invalid("store_id"))?,
        amount: reversal.amount,
        remark: Remark::parse(reversal.remark).map_err(invalid("remark"))?,
    })
}
