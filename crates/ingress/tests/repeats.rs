//! Repeats of a payment (POS API, section 4): equal ones get the first one's answer with IsRep, and
//! ask the router at most once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::time::Duration;

use prost::Message;
use support::{Stage, order, paid, paying, payment, settings};
use tonic::{Code, Status};
use twqr_ingress::Settings;
use twqr_wire::{
    bus::{self, reply_record::Body},
    pos::{PayRequest, PayResponse},
};

type Answer = tokio::task::JoinHandle<Result<PayResponse, Status>>;

async fn pay(stage: &Stage, request: PayRequest) -> Answer {
    let mut client = stage.client().await;
    tokio::spawn(async move { client.pay(request).await.map(tonic::Response::into_inner) })
}

/// Long enough for a call to have reached the router if it were on its way there.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn forty_equal_repeats_in_flight_ask_once_and_are_all_paid() {
    let stage = Stage::open(settings()).await;
    let mut calls = vec![pay(&stage, payment("1")).await];
    let asked = stage.asked(0, 1).await;
    for n in 0..40 {
        let request = PayRequest { gateway_trade_no: format!("G{n}"), pos_id: format!("P{n}"), ..payment("1") };
        calls.push(pay(&stage, request).await);
    }
    settle().await;
    assert_eq!(stage.orders_end().await, 1, "the router was asked once");
    stage.reply(&asked[0].reply_to, order("1", paying()), false).await;
    stage.reply(&asked[0].reply_to, order("1", paid()), false).await;
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("000", n > 0), "call {n}");
        if n > 0 {
            assert_eq!(
                (answer.gateway_trade_no, answer.pos_id),
                (format!("G{}", n - 1), format!("P{}", n - 1)),
                "its own echoes"
            );
        }
    }
}

#[tokio::test]
async fn a_later_repeat_is_answered_at_once() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    let asked = stage.asked(0, 1).await;
    stage.reply(&asked[0].reply_to, order("1", paid()), false).await;
    assert!(!first.await.unwrap().unwrap().is_rep);
    let again = pay(&stage, payment("1")).await.await.unwrap().unwrap();
    assert_eq!((again.status_code.as_str(), again.is_rep, again.debit_amount), ("000", true, 120));
    assert_eq!(stage.orders_end().await, 1);
}

#[tokio::test]
async fn a_request_that_differs_in_what_is_compared_goes_to_the_router() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    let asked = stage.asked(0, 1).await;
    stage.reply(&asked[0].reply_to, order("1", paid()), false).await;
    assert!(first.await.unwrap().is_ok());
    let others = [
        PayRequest { trade_amount: 121, ..payment("1") },
        PayRequest { card_token: "22abcdefghijklmnoq".into(), ..payment("1") },
        PayRequest { store_id: "S2".into(), ..payment("1") },
        PayRequest { un_redeem: 1, ..payment("1") },
    ];
    for (n, other) in others.into_iter().enumerate() {
        let call = pay(&stage, other).await;
        let asked = stage.asked(1 + n as u64, 1).await;
        stage.reply(&asked[0].reply_to, Body::Conflict(bus::Conflict { fields: vec!["X".into()] }), true).await;
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::AlreadyExists, "{n}");
    }
}

#[tokio::test]
async fn when_the_first_call_goes_away_one_repeat_asks_for_all() {
    let stage = Stage::open(settings()).await;
    let first = pay(&stage, payment("1")).await;
    stage.asked(0, 1).await;
    let repeats = [pay(&stage, payment("1")).await, pay(&stage, payment("1")).await, pay(&stage, payment("1")).await];
    settle().await;
    first.abort();
    let asked = stage.asked(1, 1).await;
    settle().await;
    assert_eq!(stage.orders_end().await, 2, "one of the three asked");
    stage.reply(&asked[0].reply_to, order("1", paid()), true).await;
    for repeat in repeats {
        let answer = repeat.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("000", true));
    }
}

#[tokio::test]
async fn a_repeat_has_its_own_deadline_and_then_the_order_is_in_progress() {
    let stage = Stage::open(Settings { answer_within_ms: 700, ..settings() }).await;
    let first = pay(&stage, payment("1")).await;
    let asked = stage.asked(0, 1).await;
    stage.reply(&asked[0].reply_to, order("1", paying()), false).await;
    let repeat = pay(&stage, payment("1")).await;
    for (call, is_rep) in [(first, false), (repeat, true)] {
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.status_code.as_str(), answer.trade_no.as_str()), ("982", "T1"), "{is_rep}");
    }
    // The repeat may have asked for itself right before its deadline: whoever asks from here on is
    // answered, until the later call is.
    let end = stage.orders_end().await;
    let mut later = pay(&stage, payment("1")).await;
    let answer = loop {
        for asked in stage.asked(end, 1).await {
            stage.reply(&asked.reply_to, order("1", paid()), true).await;
        }
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), &mut later).await {
            break answer;
        }
    };
    assert_eq!(answer.unwrap().unwrap().status_code, "000", "what was not final is asked again");
}

/// The paid order while it is being taken back.
fn cancelling(number: &str) -> Body {
    let Body::Order(mut order) = order(number, paid()) else { panic!("an order") };
    if let Some(bus::order::Order::Payment(payment)) = &mut order.order {
        let sent = bus::movement::Phase::Sent(bus::EffectId::default());
        let reversal = bus::Movement { phase: Some(sent), ..bus::Movement::default() };
        payment.cancel =
            Some(bus::Cancel { stage: Some(bus::cancel::Stage::Reversing(reversal)), ..bus::Cancel::default() });
    }
    Body::Order(order)
}

#[tokio::test]
async fn what_is_being_taken_back_and_what_other_rules_decided_is_asked_again() {
    let stage = Stage::open(settings()).await;
    let rules_changed = bus::ReplyRecord {
        version: twqr_wire::RECORD_VERSION,
        body: Some(Body::RulesChanged(bus::RulesChanged {})),
        ..bus::ReplyRecord::default()
    };
    let replies = [(cancelling("1"), false), (order("1", paid()), true), (order("1", paid()), false)];
    for (n, (body, then_rules_change)) in replies.into_iter().enumerate() {
        let call = pay(&stage, payment("1")).await;
        let to = stage.asked(n as u64, 1).await.remove(0).reply_to;
        stage.reply(&to, body, true).await;
        assert_eq!(call.await.unwrap().unwrap().status_code, "000");
        if then_rules_change {
            stage.raw_reply(0, rules_changed.encode_to_vec()).await;
            settle().await;
        }
    }
}
