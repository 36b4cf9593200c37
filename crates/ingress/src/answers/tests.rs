//! The answers about a payment that took effect after callers were answered that it failed. What
//! the log of who called says of refusals and declines.

use twqr_access::Verdict;
use twqr_order::{
    Cancel, CancelStage, EffectId, Evidence, Failure, Movement, Nonces, Payment, Phase, Remembering, ReversalApproval,
    Terms,
};
use twqr_types::{
    CardTokenDigest, ComparedToken, Issuer, PayForm, RawPay, Remark, ShardId, StatusCode, TradeNo, UnixMs,
};

use super::*;
use crate::refusal::verdict_of;

fn form() -> PayForm {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: "1".into(),
        store_id: "S1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 120,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

fn movement<A>(phase: Phase<A>) -> Movement<A> {
    Movement::in_phase(UnixMs(0), phase)
}

fn failure(evidence: Evidence, code: &str) -> Failure {
    Failure { evidence, status_code: StatusCode::parse(code).unwrap(), status_desc: "".into() }
}

fn failed<A>(code: &str) -> Movement<A> {
    movement(Phase::Failed(failure(Evidence::Declined, code)))
}

/// A requested cancel in this stage.
fn cancel_in(stage: &CancelStage) -> Cancel {
    Cancel {
        requested_at: UnixMs(0),
        remark: Remark::parse(String::new()).unwrap(),
        amount: 0,
        attempts: 0,
        last_sent_offset: 0,
        amounts: Vec::new(),
        is_requested: true,
        was_answered_as_done: false,
        last_refusal: None,
        stage: stage.clone(),
        changed_at: UnixMs(0),
    }
}

/// A payment that was declined with 928, with this cancel.
fn declined(cancel: Cancel) -> Payment {
    let form = form();
    Payment {
        key: form.key,
        trade_no: TradeNo::new(ShardId(0), 1, UnixMs(0)),
        accepted_at: UnixMs(0),
        terms: Terms {
            store_id: form.store_id,
            store_name: form.store_name,
            gateway_trade_no: form.gateway_trade_no,
            pos_id: form.pos_id,
            pos_trade_time: form.pos_trade_time,
            trade_amount: form.trade_amount,
            un_redeem: form.un_redeem,
            requested_un_redeem: form.un_redeem,
            remark: form.remark,
            extra1: form.extra1,
            extra2: form.extra2,
            card_token: ComparedToken::Digest(CardTokenDigest::from_bytes([0; CardTokenDigest::LEN])),
        },
        issuer: Some(Issuer::Wallet),
        charge: failed("928"),
        refunds: Vec::new(),
        cancel: Some(cancel),
        subscribers: Vec::new(),
        charge_took_effect_after_all: false,
        contradiction: None,
        protocol_version: 0,
        remembering: Remembering::All,
        nonces: Nonces::default(),
    }
}

/// The StatusCodes of a repeat and of a cancel, and whether an answer may still change, for a
/// declined payment with this cancel.
fn answers(cancel: Cancel) -> (String, String, bool) {
    let order = Order::Payment(declined(cancel));
    let inquiry = inquiry_answer(&order, InquiryType::Payment, StatusCode::FISC_ABNORMAL).order.unwrap();
    assert_eq!(inquiry.order_status(), OrderStatus::Failed, "callers were answered that it failed");
    let repeat = payment_answer(order.as_payment().unwrap(), StatusCode::FISC_ABNORMAL, true).status.code.into();
    let cancelled = cancel_answer(&order, &form(), StatusCode::FISC_ABNORMAL).status.code.into();
    (repeat, cancelled, order.has_pending_answer())
}

#[test]
fn the_reversal_of_a_late_charge_changes_no_earlier_answer() {
    let sent = CancelStage::Reversing(movement(Phase::Sent { task: EffectId { shard: ShardId(0), offset: 0, n: 0 } }));
    let done = CancelStage::Reversing(movement(Phase::Done(Box::new(ReversalApproval { issuer_trade_no: "".into() }))));
    let refused = CancelStage::Reversing(failed("983"));
    let answered_as_done = |stage: &CancelStage| Cancel { was_answered_as_done: true, ..cancel_in(stage) };
    let automatic = |stage: &CancelStage| Cancel { is_requested: false, ..cancel_in(stage) };
    for (cancel, repeat, cancelled, is_pending) in [
        (cancel_in(&CancelStage::NothingToReverse), "812", "000", false),
        (answered_as_done(&sent), "812", "000", false),
        (answered_as_done(&refused), "812", "000", false),
        (answered_as_done(&done), "812", "000", false),
        (automatic(&sent), "928", "982", true),
        (automatic(&refused), "928", "983", false),
        (automatic(&done), "928", "000", false),
    ] {
        assert_eq!(answers(cancel.clone()), (repeat.to_owned(), cancelled.to_owned(), is_pending), "{cancel:?}");
    }
}

#[test]
fn the_card_of_a_payment_is_json_without_control_characters() {
    let expected = r#"{"CardName":"a \"b\" \\ 街","CardNo":"123456******7890"}"#;
    assert_eq!(card_json("a \"b\"\n \\ 街", "123456******7890\u{7f}"), expected);
}

#[test]
fn the_log_of_who_called_has_what_our_rules_refuse_and_no_decline_of_an_issuer() {
    let by_rules = Verdict::Request;
    for (evidence, code, expected) in [
        (Evidence::Refused, "931", by_rules("amount-over-limit")),
        (Evidence::Refused, "927", by_rules("bad-code")),
        (Evidence::Refused, "982", Verdict::LetIn),
        (Evidence::Declined, "931", Verdict::LetIn),
        (Evidence::Declined, "927", Verdict::LetIn),
        (Evidence::Declined, "934", Verdict::LetIn),
        (Evidence::Declined, "928", Verdict::LetIn),
        (Evidence::NotSent, "982", Verdict::LetIn),
        (Evidence::Absent, "916", Verdict::LetIn),
    ] {
        let payment = Payment {
            charge: movement(Phase::Failed(failure(evidence, code))),
            cancel: None,
            ..declined(cancel_in(&CancelStage::NothingToReverse))
        };
        let answer = payment_answer(&payment, StatusCode::FISC_ABNORMAL, false);
        assert_eq!(verdict_of(&answer.status), expected, "a payment: {evidence:?}, {code}");
        let reversal = CancelStage::Reversing(movement(Phase::Failed(failure(evidence, code))));
        let order = Order::Payment(declined(cancel_in(&reversal)));
        let answer = cancel_answer(&order, &form(), StatusCode::FISC_ABNORMAL);
        assert_eq!(verdict_of(&answer.status), expected, "a cancel: {evidence:?}, {code}");
    }
    let missing = no_payment_to_cancel(&form()).status;
    assert_eq!(verdict_of(&missing), by_rules("no-such-order"), "the ingress knows it without an issuer");
}
