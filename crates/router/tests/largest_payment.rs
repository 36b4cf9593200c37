//! The largest payment there can be fits one record of `order-states`. A reply, which has the order
//! too, gets the rest of the largest entry.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use twqr_journal::ENTRY_BYTES_MAX;
use twqr_order::{
    Approval, Command, Decline, DeclineKind, Effect, MovementOutcome, Order, Outcome, Pay, PaymentType, Policy,
    Position, REFUND_NUMBERS_MAX, REFUNDS_MAX, Record, RefundApproval, Reserve, Route, RouteTarget, Step, TaskResult,
    apply,
};
use twqr_types::{
    Amount, Issuer, MerchantTradeNo, OrderKey, PayForm, PosId, RawPay, Remark, ShardId, StoreId, StoreName, TradeNo,
    UnixMs,
};
use twqr_wire::convert::{StateBody, StatesEntry, encode_state};

/// A character of four bytes, as often as a field allows.
fn text(length: usize) -> String {
    "\u{20000}".repeat(length)
}

/// The longest text of an issuer that is kept.
fn issuers_text() -> Box<str> {
    text(256).into()
}

/// One order, and the records that were applied to it.
struct Machine {
    order: Option<Order>,
    policy: Policy,
    offset: u64,
}

impl Machine {
    fn apply(&mut self, command: Command) -> (Step, Vec<Effect>) {
        let (mut effects, at) = (Vec::new(), UnixMs(1_790_000_000_000));
        let record = Record { at, signed_by: None, nonce: None, command };
        let cause = Position { shard: ShardId(0), offset: self.offset };
        self.offset += 1;
        let step = apply(&mut self.order, &record, cause, Some(&self.policy), &mut effects).step;
        (step, effects)
    }

    /// Reports the outcome of the task that `command` caused.
    fn settle(&mut self, command: Command, movement: MovementOutcome) -> Step {
        let (_, effects) = self.apply(command);
        let Some(Effect::Task(task)) = effects.iter().find(|effect| matches!(effect, Effect::Task(_))) else {
            panic!("no task: {effects:?}")
        };
        self.apply(Command::Outcome(Box::new(Outcome { key: task.key.clone(), task: task.id, movement }))).0
    }
}

fn key(number: usize) -> OrderKey {
    let number = MerchantTradeNo::parse(format!("{number:04}{}", text(56))).unwrap();
    OrderKey { merchant_id: twqr_types::MerchantId::parse(text(10)).unwrap(), merchant_trade_no: number }
}

fn reserve(payment: TradeNo, number: usize) -> Command {
    Command::Reserve(Box::new(Reserve {
        payment,
        refund: key(number),
        trade_no: TradeNo::new(ShardId(1_023), u64::from(u32::MAX), UnixMs(0)),
        amount: Amount::parse(1).unwrap(),
        store_id: StoreId::parse(text(20)).unwrap(),
        store_name: StoreName::parse(text(100)).unwrap(),
        pos_id: PosId::parse(text(20)).unwrap(),
        remark: Remark::parse(text(1_000)).unwrap(),
    }))
}

fn pay() -> Command {
    let form = PayForm::parse(RawPay {
        merchant_id: text(10),
        merchant_trade_no: text(60),
        store_id: text(20),
        store_name: text(100),
        gateway_trade_no: text(20),
        pos_id: text(20),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 1_000_000,
        remark: text(1_000),
        extra1: text(512),
        extra2: text(512),
        ..RawPay::default()
    });
    Command::Pay(Box::new(Pay { form: form.unwrap(), reply_to: None }))
}

fn approval() -> Approval {
    Approval {
        payment_type: PaymentType::CreditCard,
        debit_amount: 1_000_000,
        redeem_name: issuers_text(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "/ABC+123".into(),
        mer_mem_token: issuers_text(),
        card_name: issuers_text(),
        card_no_masked: "411111******1111".into(),
        issuer_trade_no: issuers_text(),
    }
}

fn refunded() -> RefundApproval {
    RefundApproval {
        debit_amount: 1,
        redeem_name: issuers_text(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        issuer_trade_no: issuers_text(),
    }
}

fn refused<A>() -> TaskResult<A> {
    let (code, reason) = (issuers_text(), issuers_text());
    TaskResult::Declined(Decline { kind: DeclineKind::Issuer, code, reason })
}

#[test]
fn a_payment_with_all_its_refunds_and_the_longest_texts_fits_one_record() {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: twqr_order::Alphabet::Alphanumeric,
    };
    let policy = Policy { routes: vec![route], ..Policy::default() };
    let mut machine = Machine { order: None, policy, offset: 0 };
    let paid = machine.settle(pay(), MovementOutcome::Charge(TaskResult::Done(approval())));
    assert_eq!(paid, Step::Paid);
    let payment = machine.order.as_ref().and_then(Order::trade_no).unwrap();
    for number in 0..REFUND_NUMBERS_MAX {
        // The failed ones come first, while there is room for another one in progress.
        let result = if number < REFUND_NUMBERS_MAX - REFUNDS_MAX { refused() } else { TaskResult::Done(refunded()) };
        let movement = MovementOutcome::Refund(key(number).merchant_trade_no, result);
        machine.settle(reserve(payment, number), movement);
    }
    assert_eq!(machine.apply(reserve(payment, REFUND_NUMBERS_MAX)).0, Step::Refused);
    let order = Box::new(machine.order.clone().unwrap());
    let (key, value) =
        encode_state(&StatesEntry { epoch: u64::MAX, position: u64::MAX, body: StateBody::Order(order) });
    let bytes = key.len() + value.len();
    assert!((700_000..ENTRY_BYTES_MAX - 64 * 1024).contains(&bytes), "{bytes} bytes");
    println!("{bytes} bytes");
}
