//! Orders on their way in.

use twqr_order::{Approval, EffectId, Evidence, Failure, Payment, PaymentType, Phase, ReplyTo, Subscriber, Terms};
use twqr_types::{
    Amount, CardTokenDigest, Extra, GatewayTradeNo, Issuer, MerchantId, MerchantTradeNo, OrderKey, PosId, PosTradeTime,
    Remark, ShardId, StoreId, StoreName, TradeNo, UnRedeem, UnixMs,
};

use super::fault::{RecordFault, need};
use crate::{bus, pos};

/// An order's key.
pub(crate) fn key_from(key: Option<bus::OrderKey>) -> Result<OrderKey, RecordFault> {
    let key = need(key, "key")?;
    Ok(OrderKey {
        merchant_id: MerchantId::parse(key.merchant_id).map_err(RecordFault::invalid("merchant_id"))?,
        merchant_trade_no: MerchantTradeNo::parse(key.merchant_trade_no)
            .map_err(RecordFault::invalid("merchant_trade_no"))?,
    })
}

/// An effect's identity.
pub(crate) fn effect_id_from(id: Option<bus::EffectId>) -> Result<EffectId, RecordFault> {
    let id = need(id, "effect id")?;
    let shard = u16::try_from(id.shard)
        .map_err(|_| RecordFault::Invalid { field: "shard", problem: "must be at most 65535".to_owned() })?;
    Ok(EffectId { shard: ShardId(shard), offset: id.offset, n: id.n })
}

pub(crate) fn reply_to_from(to: bus::ReplyTo) -> ReplyTo {
    ReplyTo { partition: to.partition, correlation: to.correlation, until: UnixMs(to.until_ms) }
}

/// An approval. Amounts are taken as they are: whether they add up is for the machine to say.
pub fn approval_from(approval: bus::Approval) -> Result<Approval, RecordFault> {
    let payment_type = match approval.payment_type() {
        pos::PaymentType::StoredValue => PaymentType::StoredValue,
        pos::PaymentType::BankAccount => PaymentType::BankAccount,
        pos::PaymentType::CreditCard => PaymentType::CreditCard,
        pos::PaymentType::OtherIssuer => PaymentType::OtherIssuer,
        pos::PaymentType::Unspecified => return Err(RecordFault::Missing("payment_type")),
    };
    Ok(Approval {
        payment_type,
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

fn terms_from(terms: bus::PaymentTerms) -> Result<Terms, RecordFault> {
    let invalid = RecordFault::invalid;
    let digest: [u8; CardTokenDigest::LEN] = terms
        .card_token_digest
        .as_ref()
        .try_into()
        .map_err(|_| RecordFault::Invalid { field: "card_token_digest", problem: "must be 16 bytes".to_owned() })?;
    Ok(Terms {
        store_id: StoreId::parse(terms.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(terms.store_name).map_err(invalid("store_name"))?,
        gateway_trade_no: GatewayTradeNo::parse(terms.gateway_trade_no).map_err(invalid("gateway_trade_no"))?,
        pos_id: PosId::parse(terms.pos_id).map_err(invalid("pos_id"))?,
        pos_trade_time: PosTradeTime::parse(terms.pos_trade_time).map_err(invalid("pos_trade_time"))?,
        trade_amount: Amount::parse(terms.trade_amount).map_err(invalid("trade_amount"))?,
        un_redeem: UnRedeem::parse(terms.un_redeem).map_err(invalid("un_redeem"))?,
        requested_un_redeem: UnRedeem::parse(terms.requested_un_redeem).map_err(invalid("requested_un_redeem"))?,
        remark: Remark::parse(terms.remark).map_err(invalid("remark"))?,
        extra1: Extra::parse(terms.extra1).map_err(invalid("extra1"))?,
        extra2: Extra::parse(terms.extra2).map_err(invalid("extra2"))?,
        card_token: CardTokenDigest::from_bytes(digest),
    })
}

fn phase_from(phase: bus::payment::Phase) -> Result<Phase, RecordFault> {
    Ok(match phase {
        bus::payment::Phase::Paying(paying) => Phase::Paying { task: effect_id_from(paying.task)? },
        bus::payment::Phase::Unresolved(unresolved) => {
            Phase::Unresolved { next_check: UnixMs(unresolved.next_check_ms) }
        }
        bus::payment::Phase::Asking(asking) => Phase::Asking { task: effect_id_from(asking.task)? },
        bus::payment::Phase::Paid(approval) => Phase::Paid(Box::new(approval_from(approval)?)),
        bus::payment::Phase::Failed(failure) => Phase::Failed(failure_from(failure)?),
    })
}

fn failure_from(failure: bus::Failure) -> Result<Failure, RecordFault> {
    let evidence = match failure.evidence() {
        bus::failure::Evidence::Declined => Evidence::Declined,
        bus::failure::Evidence::NotSent => Evidence::NotSent,
        bus::failure::Evidence::Absent => Evidence::Absent,
        bus::failure::Evidence::Refused => Evidence::Refused,
        bus::failure::Evidence::Unspecified => return Err(RecordFault::Missing("evidence")),
    };
    Ok(Failure { evidence, status_code: failure.status_code.into(), status_desc: failure.status_desc.into() })
}

/// A payment order.
pub fn payment_from(payment: bus::Payment) -> Result<Payment, RecordFault> {
    let trade_no = TradeNo::parse(&payment.trade_no)
        .map_err(|e| RecordFault::Invalid { field: "trade_no", problem: e.to_string() })?;
    let issuer = Issuer::parse(&payment.institution)
        .map_err(|e| RecordFault::Invalid { field: "institution", problem: e.to_string() })?;
    let subscriber = |s: bus::Subscriber| {
        need(s.reply_to, "reply_to").map(|to| Subscriber { to: reply_to_from(to), repeat: s.repeat })
    };
    Ok(Payment {
        key: key_from(payment.key)?,
        trade_no,
        accepted_at: UnixMs(payment.accepted_at_ms),
        terms: terms_from(need(payment.terms, "terms")?)?,
        issuer: (!payment.unrouted).then_some(issuer),
        send_by: UnixMs(payment.send_by_ms),
        absent_after: UnixMs(payment.absent_after_ms),
        phase: phase_from(need(payment.phase, "phase")?)?,
        subscribers: payment.subscribers.into_iter().map(subscriber).collect::<Result<_, _>>()?,
        contradiction: (!payment.contradiction.is_empty()).then(|| payment.contradiction.into()),
        inquiries: payment.inquiries,
        changed_at: UnixMs(payment.changed_at_ms),
    })
}
