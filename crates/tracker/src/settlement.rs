//! From an order's state to what it settled: the lines of the accounting file. Each movement keeps
//! the time at which it became final, whatever comes to the order later.

use twqr_order::{Approval, CancelStage, Order, Payment, PaymentType, Refund, RefundPhase, RefundSuccess};
use twqr_types::UnixMs;
use twqr_wire::{
    ops::{SettlementEntry, settlement_entry::Kind},
    pos,
};

/// When a payment was paid, or a refund given back; none while it is not.
pub(crate) fn settled_at(order: &Order) -> Option<UnixMs> {
    match order {
        Order::Payment(payment) => payment.is_paid().then_some(payment.charge.changed_at),
        Order::Refund(refund) => matches!(refund.phase, RefundPhase::Succeeded(_)).then_some(refund.changed_at),
        Order::Cancelled(_) => None,
    }
}

/// When a payment was taken back; none while it is not, and where there was nothing to take back.
pub(crate) fn cancelled_at(order: &Order) -> Option<UnixMs> {
    let cancel = order.as_payment()?.cancel.as_ref()?;
    match &cancel.stage {
        CancelStage::Reversing(reversal) => reversal.done().map(|_| reversal.changed_at),
        CancelStage::Waiting | CancelStage::Again { .. } | CancelStage::Nothing => None,
    }
}

/// What the order has settled; nothing while it is in progress, and nothing where it failed.
pub(crate) fn entries_of(order: &Order) -> Vec<SettlementEntry> {
    match order {
        Order::Payment(payment) => {
            let Some(approval) = payment.charge.done() else { return Vec::new() };
            let cancel = cancelled_at(order).map(|at| cancel_entry(payment, approval, at));
            [Some(payment_entry(payment, approval)), cancel].into_iter().flatten().collect()
        }
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Succeeded(success) => vec![refund_entry(refund, success)],
            RefundPhase::Requested { .. } | RefundPhase::Failed(_) => Vec::new(),
        },
        Order::Cancelled(_) => Vec::new(),
    }
}

fn payment_entry(payment: &Payment, approval: &Approval) -> SettlementEntry {
    let terms = &payment.terms;
    SettlementEntry {
        kind: Kind::Payment.into(),
        merchant_id: payment.key.merchant_id.to_string(),
        store_id: terms.store_id.to_string(),
        gateway_trade_no: terms.gateway_trade_no.to_string(),
        merchant_trade_no: payment.key.merchant_trade_no.to_string(),
        pos_id: terms.pos_id.to_string(),
        trade_no: payment.trade_no.to_string(),
        refund_trade_no: String::new(),
        institution: payment.issuer.map_or_else(String::new, |issuer| issuer.institution().to_owned()),
        payment_type: payment_type(approval.payment_type, payment.issuer.is_some_and(is_other)).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: approval.debit_amount,
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        accepted_at_ms: payment.accepted_at.0,
        settled_at_ms: payment.charge.changed_at.0,
    }
}

/// What refunds had left, with the signs of a refund. Of a refund that took effect after it was
/// told as failed only the sum is known: it counts as given back in money first, so that the parts
/// make up what was taken back.
fn cancel_entry(payment: &Payment, approval: &Approval, at: UnixMs) -> SettlementEntry {
    let refunded = || payment.refunds.iter().filter_map(|entry| entry.refund.done());
    let cancel = payment.cancel.as_ref();
    let trade_amount = cancel.map_or(0, |cancel| cancel.amount);
    let mut parts = [
        approval.debit_amount - refunded().map(|refund| refund.debit_amount).sum::<i64>(),
        -approval.redeem_amount - refunded().map(|refund| refund.redeem_amount).sum::<i64>(),
        -approval.store_redeem_amount - refunded().map(|refund| refund.store_redeem_amount).sum::<i64>(),
    ];
    let mut unexplained = parts.iter().sum::<i64>() - trade_amount;
    for part in &mut parts {
        let given_back = unexplained.min(*part).max(0);
        (*part, unexplained) = (*part - given_back, unexplained - given_back);
    }
    let [debit_amount, redeem_amount, store_redeem_amount] = parts;
    SettlementEntry {
        kind: Kind::Cancel.into(),
        trade_amount,
        debit_amount,
        redeem_amount,
        store_redeem_amount,
        accepted_at_ms: cancel.map_or(at.0, |cancel| cancel.requested_at.0),
        settled_at_ms: at.0,
        ..payment_entry(payment, approval)
    }
}

fn refund_entry(refund: &Refund, success: &RefundSuccess) -> SettlementEntry {
    let terms = &refund.terms;
    SettlementEntry {
        kind: Kind::Refund.into(),
        merchant_id: refund.key.merchant_id.to_string(),
        store_id: terms.store_id.to_string(),
        gateway_trade_no: terms.gateway_trade_no.to_string(),
        merchant_trade_no: refund.key.merchant_trade_no.to_string(),
        pos_id: terms.pos_id.to_string(),
        trade_no: refund.payment.to_string(),
        refund_trade_no: refund.trade_no.to_string(),
        institution: success.issuer.institution().to_owned(),
        payment_type: payment_type(success.payment_type, is_other(success.issuer)).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: success.refunded.debit_amount,
        redeem_amount: success.refunded.redeem_amount,
        store_redeem_amount: success.refunded.store_redeem_amount,
        accepted_at_ms: refund.accepted_at.0,
        settled_at_ms: refund.changed_at.0,
    }
}

fn is_other(issuer: twqr_types::Issuer) -> bool {
    issuer != twqr_types::Issuer::Wallet
}

/// 8 for other issuers, whatever they say (integration note, PaymentType).
fn payment_type(payment_type: PaymentType, is_other: bool) -> pos::PaymentType {
    match payment_type {
        _ if is_other => pos::PaymentType::OtherIssuer,
        PaymentType::StoredValue => pos::PaymentType::StoredValue,
        PaymentType::BankAccount => pos::PaymentType::BankAccount,
        PaymentType::CreditCard => pos::PaymentType::CreditCard,
        PaymentType::OtherIssuer => pos::PaymentType::OtherIssuer,
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{Cancel, Evidence, Failure, Movement, Phase, RefundEntry, Refunded, Reversed};
    use twqr_types::{Amount, MerchantTradeNo, ShardId, StatusCode, TradeNo};
    use twqr_wire::{bus, convert::payment_from};

    use super::*;

    const AT: UnixMs = UnixMs(1_790_000_000_000);

    fn number(n: u64) -> TradeNo {
        TradeNo::new(ShardId(0), n, AT)
    }

    fn movement<A>(phase: Phase<A>) -> Movement<A> {
        Movement { send_by: AT, absent_after: AT, phase, inquiries: 0, changed_at: AT }
    }

    fn failed() -> Phase<Refunded> {
        Phase::Failed(Failure {
            evidence: Evidence::Declined,
            status_code: StatusCode::BALANCE_TOO_LOW,
            status_desc: "".into(),
        })
    }

    fn refunded(debit_amount: i64, redeem_amount: i64) -> Phase<Refunded> {
        Phase::Done(Box::new(Refunded {
            debit_amount,
            redeem_name: "".into(),
            redeem_amount,
            store_redeem_amount: 0,
            issuer_trade_no: "".into(),
        }))
    }

    /// A payment of 100, of which 10 were points; with refunds (what came of each, its amount), and
    /// taken back but for them.
    fn taken_back(amount: i64, refunds: Vec<(Phase<Refunded>, i64, bool)>) -> Order {
        let done = bus::Approval { payment_type: 8, debit_amount: 90, redeem_amount: -10, ..bus::Approval::default() };
        let proto = bus::Payment {
            key: Some(bus::OrderKey { merchant_id: "M1".into(), merchant_trade_no: "T1".into() }),
            trade_no: number(1).to_string(),
            terms: Some(bus::PaymentTerms {
                trade_amount: 100,
                card_token_digest: vec![7; 16].into(),
                ..bus::PaymentTerms::default()
            }),
            charge: Some(bus::Movement {
                phase: Some(bus::movement::Phase::Approved(done)),
                ..bus::Movement::default()
            }),
            ..bus::Payment::default()
        };
        let payment = payment_from(proto).unwrap();
        let entry = |(n, (phase, amount, took_effect_after_all))| RefundEntry {
            number: MerchantTradeNo::parse(format!("R{n}")).unwrap(),
            trade_no: number(n),
            amount: Amount::parse(amount).unwrap(),
            refund: movement(phase),
            took_effect_after_all,
        };
        let reversed = Phase::Done(Box::new(Reversed { issuer_trade_no: "".into() }));
        let cancel = Cancel {
            requested_at: AT,
            remark: twqr_types::Remark::parse(String::new()).unwrap(),
            amount,
            attempts: 1,
            sent_at: 0,
            amounts: vec![(0, amount)],
            is_asked: true,
            was_told_done: false,
            stage: CancelStage::Reversing(movement(reversed)),
            changed_at: AT,
        };
        let refunds = (2..).zip(refunds).map(entry).collect();
        Order::Payment(Payment { refunds, cancel: Some(cancel), ..payment })
    }

    #[test]
    fn the_parts_of_a_cancel_make_up_what_was_taken_back() {
        for (name, amount, refunds, parts) in [
            ("nothing refunded", 100, vec![], (90, 10)),
            ("refunded", 60, vec![(refunded(35, 5), 40, false)], (55, 5)),
            ("failed", 100, vec![(failed(), 40, false)], (90, 10)),
            ("failed, took effect after all", 60, vec![(failed(), 40, true)], (50, 10)),
            ("more than what was paid in money", 5, vec![(failed(), 95, true)], (0, 5)),
            ("both", 20, vec![(refunded(35, 5), 40, false), (failed(), 40, true)], (15, 5)),
            ("found out after the cancel", 100, vec![(failed(), 40, true)], (90, 10)),
        ] {
            let entries = entries_of(&taken_back(amount, refunds));
            let cancel = entries.iter().find(|entry| entry.kind() == Kind::Cancel).unwrap();
            assert_eq!((cancel.debit_amount, cancel.redeem_amount), parts, "{name}");
            assert_eq!(cancel.debit_amount + cancel.redeem_amount + cancel.store_redeem_amount, amount, "{name}");
            assert_eq!(cancel.trade_amount, amount, "{name}");
        }
    }
}
