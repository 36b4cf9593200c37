//! Tasks of payments at the wallet, each named by its number: the offset of its cause.

#[path = "charges.rs"]
mod charges;

use charges::{charge_call, form};
use twqr_order::{EffectId, Limits, RefundCall, ReversalCall, Subject, Task, TaskKind};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo};

use crate::stage::BEGAN;

/// When every task must have been sent at the latest, in ms after the beginning.
pub const SEND_BY_MS: i64 = 6_000;

/// A charge with this number.
pub fn charge(number: u64, is_idempotent: bool) -> Task {
    task(number, is_idempotent, charge_call(number))
}

/// A refund with this number.
pub fn refund(number: u64, is_idempotent: bool) -> Task {
    let form = form(number);
    let call = RefundCall {
        number: MerchantTradeNo::parse(format!("R{number}")).unwrap(),
        trade_no: trade_no(number),
        store_id: form.store_id,
        store_name: form.store_name,
        pos_id: form.pos_id,
        trade_amount: form.trade_amount,
        remark: form.remark,
    };
    task(number, is_idempotent, TaskKind::Refund(Box::new(call)))
}

/// A reversal of the payment with this number.
pub fn reversal(number: u64, is_idempotent: bool) -> Task {
    let form = form(number);
    let call = ReversalCall { store_id: form.store_id, amount: 1, remark: form.remark };
    task(number, is_idempotent, TaskKind::Reverse(Box::new(call)))
}

/// An inquiry about the charge with this number, as the router asks for it.
pub fn inquiry(number: u64) -> Task {
    task(number, false, TaskKind::Inquire(Subject::Charge))
}

/// The task at another issuer.
pub fn at(institution: &str, task: Task) -> Task {
    Task { issuer: Issuer::from_wire(institution).unwrap(), ..task }
}

fn task(number: u64, is_idempotent: bool, kind: TaskKind) -> Task {
    let send_by = BEGAN.plus(SEND_BY_MS);
    Task {
        id: EffectId { shard: ShardId(0), offset: number, n: 0 },
        key: OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse(format!("T{number}")).unwrap(),
        },
        trade_no: trade_no(number),
        issuer: Issuer::Wallet,
        send_by,
        absent_after: send_by.plus(5_000),
        limits: Limits::default(),
        is_idempotent,
        protocol_version: 1,
        kind,
    }
}

fn trade_no(number: u64) -> TradeNo {
    TradeNo::new(ShardId(0), number, BEGAN)
}
