//! Repeats of a payment (`proto/README.md`, section Repeats): equal ones get the answer of the
//! first with IsRep, and at most one of them asks the router.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::time::Duration;

use support::{Stage, movement, order, paid, paying, payment, payment_order, settings, trade_no};
use tonic::{Code, Status};
use twqr_ingress::Settings;
use twqr_order::{Cancel, CancelStage, EffectId, Order, Phase};
use twqr_types::{Remark, ShardId, UnixMs};
use twqr_wire::{
    convert::{ReplyContent, ReplyRecord, encode_reply_record},
    pos::{PayRequest, PayResponse},
};

type Answer = tokio::task::JoinHandle<Result<PayResponse, Status>>;

async fn pay(stage: &Stage, request: PayRequest) -> Answer {
    let mut client = stage.client().await;
    tokio::spawn(async move { client.pay(request).await.map(tonic::Response::into_inner) })
}

/// Waits long enough for a call to reach the router, if it asks the router at all.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn of_forty_one_equal_calls_one_asks_the_router_and_all_are_paid() {
    let stage = Stage::open(settings()).await;
    let mut calls = vec![pay(&stage, payment("1")).await];
    let requests = stage.requests(0, 1).await;
    for n in 0..40 {
        let request = PayRequest { gateway_trade_no: format!("G{n}"), pos_id: format!("P{n}"), ..payment("1") };
        calls.push(pay(&stage, request).await);
    }
    settle().await;
    assert_eq!(stage.orders_end().await, 1, "only one call must ask the router");
    stage.reply(&requests[0].reply_to, order("1", paying()), false).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("000", n > 0), "call {n}");
        if n > 0 {
            assert_eq!(
                (answer.gateway_trade_no, answer.pos_id),
                (format!("G{}", n - 1), format!("P{}", n - 1)),
                "the echoes must be those of the repeat"
            );
        }
    }
}

#[tokio::test]
async fn a_later_repeat_is_answered_without_the_router() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    let requests = stage.requests(0, 1).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    assert!(!first.await.unwrap().unwrap().is_rep);
    let again = pay(&stage, payment("1")).await.await.unwrap().unwrap();
    assert_eq!((again.status_code.as_str(), again.is_rep, again.debit_amount), ("000", true, 120));
    assert_eq!(stage.orders_end().await, 1);
}

#[tokio::test]
async fn a_request_that_differs_in_a_compared_field_goes_to_the_router() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    let requests = stage.requests(0, 1).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    assert!(first.await.unwrap().is_ok());
    let others = [
        PayRequest { trade_amount: 121, ..payment("1") },
        PayRequest { card_token: "22abcdefghijklmnoq".into(), ..payment("1") },
        PayRequest { store_id: "S2".into(), ..payment("1") },
        PayRequest { un_redeem: 1, ..payment("1") },
    ];
    for (n, other) in others.into_iter().enumerate() {
        let call = pay(&stage, other).await;
        let requests = stage.requests(1 + n as u64, 1).await;
        stage.reply(&requests[0].reply_to, ReplyContent::Conflict(vec!["X".into()]), true).await;
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::AlreadyExists, "{n}");
    }
}

#[tokio::test]
async fn when_the_first_call_is_abandoned_one_repeat_asks_for_all() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    stage.requests(0, 1).await;
    let repeats = [pay(&stage, payment("1")).await, pay(&stage, payment("1")).await, pay(&stage, payment("1")).await];
    settle().await;
    first.abort();
    let requests = stage.requests(1, 1).await;
    settle().await;
    assert_eq!(stage.orders_end().await, 2, "exactly one of the three must ask the router");
    stage.reply(&requests[0].reply_to, order("1", paid()), true).await;
    for repeat in repeats {
        let answer = repeat.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("000", true));
    }
}

#[tokio::test]
async fn a_repeat_is_answered_at_its_own_deadline_as_in_progress() {
    let stage = Stage::open(Settings { answer_within_ms: 700, ..settings() }).await;
    let first = pay(&stage, payment("1")).await;
    let requests = stage.requests(0, 1).await;
    stage.reply(&requests[0].reply_to, order("1", paying()), false).await;
    let repeat = pay(&stage, payment("1")).await;
    for (call, is_rep) in [(first, false), (repeat, true)] {
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.trade_no.as_str()), ("982", trade_no().as_str()), "{is_rep}");
    }
    // The repeat may have asked the router itself, right before its deadline. So every request from
    // here on gets a reply, until the later call has its answer.
    let end = stage.orders_end().await;
    let mut later = pay(&stage, payment("1")).await;
    let answer = loop {
        for request in stage.requests(end, 1).await {
            stage.reply(&request.reply_to, order("1", paid()), true).await;
        }
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), &mut later).await {
            break answer;
        }
    };
    assert_eq!(answer.unwrap().unwrap().status_code, "000", "an order without a result must be asked for again");
}

/// A reply with the paid order while a cancel reverses it.
fn being_reversed(number: &str) -> ReplyContent {
    let task = EffectId { shard: ShardId(0), offset: 0, n: 0 };
    let cancel = Cancel {
        requested_at: UnixMs(0),
        remark: Remark::parse(String::new()).unwrap(),
        amount: 120,
        attempts: 1,
        last_sent_offset: 0,
        amounts: Vec::new(),
        is_requested: true,
        was_answered_as_done: false,
        last_refusal: None,
        stage: CancelStage::Reversing(movement(Phase::Sent { task })),
        changed_at: UnixMs(0),
    };
    let mut payment = payment_order(number, paid());
    payment.cancel = Some(cancel);
    ReplyContent::Order(Box::new(Order::Payment(payment)))
}

#[tokio::test]
async fn an_answer_is_not_remembered_during_a_reversal_or_after_a_policy_change() {
    let stage = Stage::open(settings()).await;
    let policy_changed = encode_reply_record(&ReplyRecord::broadcast(ReplyContent::RulesChanged));
    let replies = [(being_reversed("1"), false), (order("1", paid()), true), (order("1", paid()), false)];
    for (n, (content, then_policy_changes)) in replies.into_iter().enumerate() {
        let call = pay(&stage, payment("1")).await;
        let to = stage.requests(n as u64, 1).await.remove(0).reply_to;
        stage.reply(&to, content, true).await;
        assert_eq!(call.await.unwrap().unwrap().status_code, "000");
        if then_policy_changes {
            stage.write_reply(0, policy_changed.clone()).await;
            settle().await;
        }
    }
}
