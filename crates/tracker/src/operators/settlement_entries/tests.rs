//! The amounts of a cancel after refunds of every outcome.

use twqr_order::{
    Cancel, CancelStage, Evidence, Failure, Movement, Phase, RefundApproval, RefundEntry, ReversalApproval,
};
use twqr_types::{Amount, MerchantTradeNo, ShardId, StatusCode, TradeNo, UnixMs};

use super::*;
use crate::payments;

const AT: UnixMs = UnixMs(1_790_000_000_000);

fn number(n: u64) -> TradeNo {
    TradeNo::new(ShardId(0), n, AT)
}

fn movement<A>(phase: Phase<A>) -> Movement<A> {
    Movement::in_phase(AT, phase)
}

fn failed() -> Phase<RefundApproval> {
    Phase::Failed(Failure {
        evidence: Evidence::Declined,
        status_code: StatusCode::BALANCE_TOO_LOW,
        status_desc: "".into(),
    })
}

fn refunded(debit_amount: i64, redeem_amount: i64) -> Phase<RefundApproval> {
    Phase::Done(Box::new(RefundApproval {
        debit_amount,
        redeem_name: "".into(),
        redeem_amount,
        store_redeem_amount: 0,
        issuer_trade_no: "".into(),
    }))
}

/// A payment of 100, of which 10 were points. Of each refund: its phase, its amount, and whether
/// it took effect although it had been reported as failed. The rest of the payment was reversed.
fn reversed_payment(amount: i64, refunds: Vec<(Phase<RefundApproval>, i64, bool)>) -> Order {
    let form = payments::form("M1", "T1", 100);
    let approval = payments::approval(form.trade_amount, -10);
    let payment = payments::payment(form, number(1), AT, movement(Phase::Done(Box::new(approval))));
    let entry = |(n, (phase, amount, took_effect_after_all))| RefundEntry {
        number: MerchantTradeNo::parse(format!("R{n}")).unwrap(),
        trade_no: number(n),
        amount: Amount::parse(amount).unwrap(),
        refund: movement(phase),
        took_effect_after_all,
    };
    let reversed = Phase::Done(Box::new(ReversalApproval { issuer_trade_no: "".into() }));
    let cancel = Cancel {
        requested_at: AT,
        remark: twqr_types::Remark::parse(String::new()).unwrap(),
        amount,
        attempts: 1,
        last_sent_offset: 0,
        amounts: vec![(0, amount)],
        is_requested: true,
        was_answered_as_done: false,
        last_refusal: None,
        stage: CancelStage::Reversing(movement(reversed)),
        changed_at: AT,
    };
    let refunds = (2..).zip(refunds).map(entry).collect();
    Order::Payment(Payment { refunds, cancel: Some(cancel), ..payment })
}

#[test]
fn the_parts_of_a_cancel_add_up_to_the_reversed_amount() {
    for (name, amount, refunds, parts) in [
        ("nothing refunded", 100, vec![], (90, 10)),
        ("refunded", 60, vec![(refunded(35, 5), 40, false)], (55, 5)),
        ("failed", 100, vec![(failed(), 40, false)], (90, 10)),
        ("failed, took effect after all", 60, vec![(failed(), 40, true)], (50, 10)),
        ("refunded more than was paid in money", 5, vec![(failed(), 95, true)], (0, 5)),
        ("both", 20, vec![(refunded(35, 5), 40, false), (failed(), 40, true)], (15, 5)),
        ("took effect, but found out after the cancel", 100, vec![(failed(), 40, true)], (90, 10)),
    ] {
        let entries = entries_of(&reversed_payment(amount, refunds));
        let cancel = entries.iter().find(|entry| entry.kind() == Kind::Cancel).unwrap();
        assert_eq!((cancel.debit_amount, cancel.redeem_amount), parts, "{name}");
        assert_eq!(cancel.debit_amount + cancel.redeem_amount + cancel.store_redeem_amount, amount, "{name}");
        assert_eq!(cancel.trade_amount, amount, "{name}");
    }
}
