//! The public API over gRPC, with a real client: answers, deadlines and refusals, watches,
//! shutdown, and the services beside the API.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use support::{DoubtfulClock, Stage, order, paid, paying, payment, settings, trade_no};
use tonic::{Code, Request};
use tonic_types::StatusExt;
use twqr_ingress::Settings;
use twqr_types::StatusCode;
use twqr_wire::{
    convert::{ReplyContent, ReplyRecord, encode_reply_record},
    pos::{InquiryType, OrderStatus, PayRequest, QueryRequest, WatchOrderRequest},
};

#[tokio::test]
async fn a_payment_is_answered_when_the_order_is_final() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let call = tokio::spawn(async move { client.pay(payment("1")).await });
    let requests = stage.requests(0, 1).await;
    stage.reply(&requests[0].reply_to, order("1", paying()), false).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!((answer.status_code.as_str(), answer.is_rep, answer.debit_amount), ("000", false, 120));
}

#[tokio::test]
async fn without_a_result_the_answer_at_the_deadline_is_in_progress() {
    let stage = Stage::open(Settings { answer_within_ms: 300, ..settings() }).await;
    let mut client = stage.client().await;
    let silent = client.pay(payment("1")).await.unwrap().into_inner();
    assert_eq!((silent.status_code.as_str(), silent.trade_no.as_str()), ("982", ""));
    let mut other = stage.client().await;
    let call = tokio::spawn(async move { other.pay(payment("2")).await });
    let requests = stage.requests(1, 1).await;
    stage.reply(&requests[0].reply_to, order("2", paying()), false).await;
    let known = call.await.unwrap().unwrap().into_inner();
    assert_eq!((known.status_code.as_str(), known.trade_no.as_str()), ("982", trade_no().as_str()));
}

#[tokio::test]
async fn the_status_code_for_orders_in_progress_follows_the_policy() {
    let stage = Stage::open(Settings { answer_within_ms: 300, ..settings() }).await;
    let mut client = stage.client().await;
    for (n, code) in ["982", "990", "991"].into_iter().enumerate() {
        // Any reply can name the code. One that does not name it changes nothing.
        for in_progress_code in [Some(StatusCode::parse(code).unwrap()), None] {
            let reply = ReplyRecord { in_progress_code, ..ReplyRecord::broadcast(ReplyContent::Empty) };
            stage.write_reply(0, encode_reply_record(&reply)).await;
        }
        let silent = client.pay(payment(&n.to_string())).await.unwrap().into_inner();
        assert_eq!(silent.status_code, code);
    }
}

#[tokio::test]
async fn an_append_without_acknowledgement_ends_at_the_deadline_and_never_as_failed() {
    let stage = Stage::open(Settings { answer_within_ms: 300, ..settings() }).await;
    stage.journal.silent.store(true, Ordering::Release);
    let mut client = stage.client().await;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.pay(payment("1"))).await.unwrap().unwrap();
    assert_eq!(answer.into_inner().status_code, "982");
    let query = QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "1".into(),
        ..QueryRequest::default()
    };
    let refused = tokio::time::timeout(Duration::from_secs(5), client.query(query)).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some(), "it must say when to retry");
}

#[tokio::test]
async fn a_shorter_deadline_of_the_caller_is_kept() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let mut request = Request::new(payment("1"));
    request.set_timeout(Duration::from_millis(600));
    assert_eq!(client.pay(request).await.unwrap().into_inner().status_code, "982");
}

#[tokio::test]
async fn a_refusal_lists_every_violation_and_nothing_is_written() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let wrong =
        PayRequest { merchant_id: "M".repeat(11), trade_amount: 0, pos_trade_time: "now".into(), ..payment("1") };
    let refused = client.pay(wrong).await.unwrap_err();
    let fields: Vec<String> =
        refused.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["merchant_id", "pos_trade_time", "trade_amount"], "{refused:?}");
    assert!(!format!("{refused:?}").contains("22abcdefghijklmnop"));
    assert_eq!(stage.orders_end().await, 0);
}

#[tokio::test]
async fn too_many_calls_are_refused_with_a_retry_hint() {
    let stage = Stage::open(Settings { calls_max: 2, answer_within_ms: 1_500, ..settings() }).await;
    let (mut one, mut two) = (stage.client().await, stage.client().await);
    let waiting = tokio::spawn(async move { tokio::join!(one.pay(payment("1")), two.pay(payment("2"))) });
    stage.requests(0, 2).await;
    let refused = stage.client().await.pay(payment("3")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some());
    let (one, two) = waiting.await.unwrap();
    assert_eq!([one, two].map(|answer| answer.unwrap().into_inner().status_code), ["982", "982"]);
    let freed = stage.client().await.pay(payment("4")).await.unwrap();
    assert_eq!(freed.into_inner().status_code, "982", "the places of ended calls are free again");
}

#[tokio::test]
async fn watches_have_their_own_limit_and_never_take_the_place_of_a_payment() {
    let stage = Stage::open(Settings { calls_max: 8, answer_within_ms: 300, ..settings() }).await;
    let mut client = stage.client().await;
    let watch = |number: &str| WatchOrderRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        keep_watching: true,
    };
    let (first, _second) =
        (client.watch_order(watch("1")).await.unwrap(), client.watch_order(watch("2")).await.unwrap());
    let refused = client.watch_order(watch("3")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("too many watches"), "{refused:?}");
    assert!(refused.get_details_retry_info().is_some());
    let payments: Vec<_> = (4..12)
        .map(|number| {
            let mut client = client.clone();
            tokio::spawn(async move { client.pay(payment(&number.to_string())).await })
        })
        .collect();
    for payment in payments {
        assert_eq!(payment.await.unwrap().unwrap().into_inner().status_code, "982", "it must not be refused");
    }
    drop(first);
    let mut again = client.watch_order(watch("3")).await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        again = client.watch_order(watch("3")).await;
    }
    assert!(again.is_ok(), "the place of an ended watch is free again: {again:?}");
}

#[tokio::test]
async fn a_watch_sends_each_change_once_and_ends_with_the_final_one() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let watch = WatchOrderRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "1".into(),
        keep_watching: false,
    };
    let mut changes = client.watch_order(watch).await.unwrap().into_inner();
    let requests = stage.requests(0, 1).await;
    for phase in [paying(), paying(), paid()] {
        stage.reply(&requests[0].reply_to, order("1", phase), false).await;
    }
    let (mut seen, mut times) = (Vec::new(), Vec::new());
    while let Some(change) = changes.message().await.unwrap() {
        seen.push(change.order.unwrap().order_status());
        let at = change.sent_at.unwrap();
        times.push(at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000);
    }
    assert_eq!(seen, [OrderStatus::InProgress, OrderStatus::Paid]);
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
}

#[tokio::test]
async fn shutdown_ends_watches_and_lets_calls_end_within_its_limit() {
    let stage = Stage::open(Settings { drain_within_ms: 3_000, ..settings() }).await;
    let mut client = stage.client().await;
    let watch = WatchOrderRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "1".into(),
        keep_watching: false,
    };
    let mut changes = client.watch_order(watch).await.unwrap().into_inner();
    let mut payer = stage.client().await;
    let call = tokio::spawn(async move { payer.pay(payment("1")).await });
    let requests = stage.requests(0, 2).await;
    stage.shutdown.cancel();
    let ended = changes.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    let pay = requests.iter().find(|request| request.pay.is_some()).unwrap();
    stage.reply(&pay.reply_to, order("1", paid()), false).await;
    assert_eq!(call.await.unwrap().unwrap().into_inner().status_code, "000", "a call in flight must get its answer");
    tokio::time::timeout(Duration::from_secs(10), stage.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn while_replies_cannot_be_read_the_ingress_is_not_ready() {
    let stage = Stage::open(settings()).await;
    stage.journal.unreadable.store(true, Ordering::Release);
    stage.until(|stage| !stage.health.is_ready()).await;
    assert!(format!("{:?}", stage.health.report()["ingress"]).contains("planted"));
    let mut client = stage.client().await;
    let call = tokio::spawn(async move { client.pay(payment("1")).await });
    let requests = stage.requests(0, 1).await;
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    stage.journal.unreadable.store(false, Ordering::Release);
    assert_eq!(call.await.unwrap().unwrap().into_inner().status_code, "000", "the reply must be read later");
    stage.until(|stage| stage.health.is_ready()).await;
}

#[tokio::test]
async fn an_unreadable_reply_is_written_to_dead_letters_and_stops_nothing() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let call = tokio::spawn(async move { client.pay(payment("1")).await });
    let requests = stage.requests(0, 1).await;
    let to = &requests[0].reply_to;
    stage.write_reply(to.partition, Bytes::from_static(&[0xff, 0xff])).await;
    stage.reply(to, order("1", paid()), false).await;
    assert_eq!(call.await.unwrap().unwrap().into_inner().status_code, "000");
    let mut letters = stage.dead_letters().await;
    while letters.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        letters = stage.dead_letters().await;
    }
    assert_eq!((letters.len(), letters[0].topic.as_str(), &letters[0].payload[..]), (1, "replies", &[0xff, 0xff][..]));
}

#[tokio::test]
async fn a_conflict_names_the_fields_that_differ() {
    let stage = Stage::open(settings()).await;
    let mut client = stage.client().await;
    let call = tokio::spawn(async move { client.pay(payment("1")).await });
    let requests = stage.requests(0, 1).await;
    let conflict = ReplyContent::Conflict(vec!["TradeAmount".into()]);
    stage.reply(&requests[0].reply_to, conflict, true).await;
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.get_details_error_info().unwrap().metadata["fields"], "TradeAmount");
}

#[tokio::test]
async fn health_and_reflection_know_only_the_public_api() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let stage = Stage::open(settings()).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(stage.channel().await);
    let service = tonic_health::pb::HealthCheckRequest { service: "twqr.pos.v1.PosService".into() };
    assert_eq!(health.check(service).await.unwrap().into_inner().status, 1);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(stage.channel().await);
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let mut names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    names.retain(|name| name.starts_with("twqr."));
    assert_eq!(names, ["twqr.pos.v1.PosService"]);
}

#[tokio::test]
async fn an_ingress_with_a_wrong_clock_accepts_nothing_until_it_is_right() {
    let clock = Arc::new(DoubtfulClock::default());
    let stage = Stage::open_with(Settings { answer_within_ms: 300, ..settings() }, clock.clone()).await;
    let mut client = stage.client().await;
    clock.0.store(true, Ordering::Relaxed);
    let began = stage.orders_end().await;
    let refused = client.pay(payment("1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("clock") && refused.get_details_retry_info().is_some(), "{refused}");
    let inquiry_type = InquiryType::Payment.into();
    let (merchant_id, merchant_trade_no) = ("M1".to_owned(), "1".to_owned());
    let query = QueryRequest {
        inquiry_type,
        merchant_id: merchant_id.clone(),
        merchant_trade_no: merchant_trade_no.clone(),
        ..QueryRequest::default()
    };
    let watch = WatchOrderRequest { inquiry_type, merchant_id, merchant_trade_no, ..WatchOrderRequest::default() };
    assert_eq!(client.query(query).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(client.watch_order(watch).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(stage.orders_end().await, began, "nothing was written");
    clock.0.store(false, Ordering::Relaxed);
    assert_eq!(client.pay(payment("1")).await.unwrap().into_inner().status_code, "982");
}
