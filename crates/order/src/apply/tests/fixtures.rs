//! What the tests start from: a policy, and requests in which every field is filled.

use twqr_types::{CutOff, InstitutionCode, Issuer, PayForm, RawPay, RawRefund, RefundForm, TradeNo, UnixMs};

use crate::{
    Alphabet, Approval, Decline, DeclineKind, IssuerRules, Merchant, PaymentType, Policy, RefundApproval, RefundRule,
    Resolution, ReversalApproval, Route, RouteTarget, StatusCodes, Store, TaskResult, Window,
};

/// A payment code of the wallet.
pub(super) const WALLET: &str = "22abcdefghijklmnop";
/// A payment code of 391, another issuer.
pub(super) const OTHER: &str = "IPabcdefghijklmnop";
/// The time at which every world begins, in Unix ms: noon in Taipei.
pub(super) const NOON: i64 = 1_741_579_200_000;
/// One day in ms.
pub(super) const DAY: i64 = 86_400_000;

/// The institution 391, another issuer.
pub(super) fn other() -> Issuer {
    Issuer::Institution(InstitutionCode::parse("391").unwrap())
}

/// A policy with two issuers: send within 2 s, absence proven 3 s after that, any refund allowed.
pub(super) fn policy() -> Policy {
    let route = |prefix: &str, target, length, alphabet| Route {
        prefix: prefix.into(),
        target,
        code_lengths: vec![length],
        alphabet,
    };
    let resolution = Resolution { window_ms: 3_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };
    let rules = |issuer| IssuerRules { resolution, ..IssuerRules::default_of(issuer) };
    Policy {
        name: "given".into(),
        routes: vec![
            route("22", RouteTarget::Issuer(Issuer::Wallet), 18, Alphabet::Alphanumeric),
            route("IP", RouteTarget::Issuer(other()), 18, Alphabet::Base64Url),
            route("IPNO", RouteTarget::Refuse, 18, Alphabet::Base64Url),
        ],
        issuers: vec![rules(Issuer::Wallet), rules(other())],
        status_codes: StatusCodes::default(),
        send_within_ms: 2_000,
        cut_off: CutOff::default(),
        accepted_merchants: crate::AcceptedMerchants::InPolicy,
        merchants: Vec::new(),
        protocol_version: crate::PROTOCOL_VERSION_NEWEST,
    }
}

/// The policy of [`policy`], changed.
pub(super) fn policy_with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    change(&mut policy);
    policy
}

/// The policy in which the other issuer has this refund rule.
pub(super) fn refund_rule(rule: RefundRule) -> Policy {
    policy_with(|policy| policy.issuers[1].refund = rule)
}

/// The policy in which both issuers are in maintenance, from noon plus `from` to noon plus `to`, in
/// ms.
pub(super) fn maintenance(from: i64, to: i64) -> Policy {
    let window = Window { from: UnixMs(NOON + from), to: UnixMs(NOON + to) };
    policy_with(|policy| policy.issuers.iter_mut().for_each(|rules| rules.maintenance = vec![window]))
}

/// The policy with one merchant, M, up to 1,000 TWD, and its stores S (up to 500) and SHUT.
pub(super) fn merchants() -> Policy {
    let store = |id: &str, payment_max, is_open| Store {
        id: twqr_types::StoreId::parse(id.into()).unwrap(),
        payment_max,
        is_open,
    };
    let id = twqr_types::MerchantId::parse("M".into()).unwrap();
    let stores = vec![store("S", Some(500), true), store("BIG", None, true), store("SHUT", None, false)];
    let merchant = Merchant { id, stores, keys: Vec::new(), payment_max: Some(1_000), is_open: true };
    policy_with(|policy| policy.merchants = vec![merchant])
}

/// A payment request of merchant M at store S, with 7 TWD that may not be redeemed.
pub(super) fn raw_pay(number: &str, code: &str, amount: i64) -> RawPay {
    RawPay {
        merchant_id: "M".into(),
        store_id: "S".into(),
        gateway_trade_no: "G".into(),
        merchant_trade_no: number.into(),
        card_token: code.into(),
        trade_amount: amount,
        un_redeem: amount.min(7),
        ..RawPay::default()
    }
}

/// A refund request of merchant M at store S.
pub(super) fn raw_refund(number: &str, payment: TradeNo, amount: i64) -> RawRefund {
    RawRefund {
        merchant_id: "M".into(),
        store_id: "S".into(),
        merchant_trade_no: number.into(),
        trade_no: payment.as_str().into(),
        trade_amount: amount,
        ..RawRefund::default()
    }
}

pub(super) fn pay_form(raw: RawPay) -> PayForm {
    PayForm::parse(raw).unwrap()
}

pub(super) fn refund_form(raw: RawRefund) -> RefundForm {
    RefundForm::parse(raw).unwrap()
}

/// The result of a charge of this amount that took effect.
pub(super) fn approved(amount: i64) -> TaskResult<Approval> {
    TaskResult::Done(Approval {
        payment_type: PaymentType::StoredValue,
        debit_amount: amount,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    })
}

/// The result of a refund of this amount that took effect.
pub(super) fn refunded_result(amount: i64) -> TaskResult<RefundApproval> {
    TaskResult::Done(RefundApproval {
        debit_amount: amount,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        issuer_trade_no: "".into(),
    })
}

/// The result of a reversal that took effect.
pub(super) fn reversed() -> TaskResult<ReversalApproval> {
    TaskResult::Done(ReversalApproval { issuer_trade_no: "".into() })
}

/// The result of a movement that the wallet refused with this StatusCode.
pub(super) fn declined<A>(code: &str) -> TaskResult<A> {
    declined_by(DeclineKind::Wallet, code)
}

pub(super) fn declined_by<A>(kind: DeclineKind, code: &str) -> TaskResult<A> {
    TaskResult::Declined(Decline { kind, code: code.into(), reason: "why".into() })
}

pub(super) fn unknown<A>() -> TaskResult<A> {
    TaskResult::Unknown("no answer".into())
}

pub(super) fn not_sent<A>() -> TaskResult<A> {
    TaskResult::NotSent("the queue is full".into())
}
