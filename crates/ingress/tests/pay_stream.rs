//! PayStream with a real client: its answers and refusals are those of Pay, and what waits is
//! bounded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/streamed.rs"]
mod streamed;
#[path = "support/stage.rs"]
mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prost::Message;
use streamed::Stream;
use support::{DoubtfulClock, Stage, order, paid, payment, payment_order, settings};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, transport::Endpoint};
use tonic_types::StatusExt;
use twqr_ingress::Settings;
use twqr_order::Order;
use twqr_types::Remark;
use twqr_wire::{
    convert::ReplyContent,
    pos::{PayRefusal, PayRequest, PayResponse, PayStreamRequest, pos_service_client::PosServiceClient},
};

/// Waits long enough for a request to reach the router, if it is read at all.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn answers_are_those_of_pay_and_come_in_any_order() {
    let stage = Stage::open(settings()).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    stream.send(u64::MAX, payment("1")).await;
    stream.send(0, payment("2")).await;
    let requests = stage.pay_requests(2).await;
    let mut answers = BTreeMap::new();
    for n in [1, 0] {
        let number = requests[n].pay.as_ref().unwrap().key.merchant_trade_no.as_str().to_owned();
        stage.reply(&requests[n].reply_to, order(&number, paid()), false).await;
        let (id, response) = stream.response().await;
        assert_eq!((id, response.merchant_trade_no.as_str()), ([u64::MAX, 0][n], number.as_str()));
        answers.insert(number, response);
    }
    let mut client = stage.client().await;
    let unary = tokio::spawn(async move { client.pay(payment("3")).await });
    let requests = stage.pay_requests(3).await;
    stage.reply(&requests[2].reply_to, order("1", paid()), false).await;
    assert_eq!(unary.await.unwrap().unwrap().into_inner(), answers["1"]);
    let repeat = stage.client().await.pay(payment("1")).await.unwrap().into_inner();
    assert_eq!(repeat, PayResponse { is_rep: true, ..answers["1"].clone() });
}

/// What makes a call fail.
#[derive(Clone)]
enum Obstacle {
    None,
    Reply(ReplyContent),
    FullTable,
    RefusingJournal,
    WrongClock,
}

/// The details of a refusal: those but ErrorInfo, and its reason and metadata in a fixed order.
fn details(refusal: &PayRefusal) -> (Vec<Vec<u8>>, String, BTreeMap<String, String>) {
    let status = Status::with_details(Code::Unknown, "", refusal.encode_to_vec().into());
    let info = status.get_details_error_info().unwrap();
    let others = refusal.details.iter().filter(|detail| !detail.type_url.ends_with("ErrorInfo"));
    let others = others.map(Message::encode_to_vec).collect();
    (others, info.reason, info.metadata.into_iter().collect())
}

#[tokio::test]
async fn each_refusal_of_pay_is_the_refusal_of_one_request_and_the_stream_goes_on() {
    let clock = Arc::new(DoubtfulClock::default());
    let stage = Stage::open_with(Settings { calls_max: 1, ..settings() }, clock.clone()).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    let invalid = PayRequest { trade_amount: 0, pos_trade_time: "now".into(), ..payment("x") };
    let cases = [
        ("invalid fields", Code::InvalidArgument, invalid, Obstacle::None),
        ("an empty payment", Code::InvalidArgument, PayRequest::default(), Obstacle::None),
        (
            "conflict",
            Code::AlreadyExists,
            payment("x"),
            Obstacle::Reply(ReplyContent::Conflict(vec!["TradeAmount".into()])),
        ),
        ("key", Code::Unauthenticated, payment("x"), Obstacle::Reply(ReplyContent::KeyRefused)),
        ("too many calls", Code::ResourceExhausted, payment("x"), Obstacle::FullTable),
        ("journal", Code::Unavailable, payment("x"), Obstacle::RefusingJournal),
        ("clock", Code::Unavailable, payment("x"), Obstacle::WrongClock),
    ];
    for (n, (name, code, request, obstacle)) in cases.into_iter().enumerate() {
        let mut place = None;
        if matches!(obstacle, Obstacle::FullTable) {
            let (mut client, before) = (stage.client().await, stage.pay_requests(0).await.len());
            let call = tokio::spawn(async move { client.pay(payment("held")).await });
            place = Some((call, stage.pay_requests(before + 1).await.remove(before)));
        }
        stage.journal.refusing.store(matches!(obstacle, Obstacle::RefusingJournal), Ordering::Release);
        clock.0.store(matches!(obstacle, Obstacle::WrongClock), Ordering::Relaxed);
        let reply = async |before: usize| {
            if let Obstacle::Reply(content) = obstacle.clone() {
                let requests = stage.pay_requests(before + 1).await;
                stage.reply(&requests[before].reply_to, content, false).await;
            }
        };
        let (mut client, before) = (stage.client().await, stage.pay_requests(0).await.len());
        let unary = tokio::spawn({
            let request = request.clone();
            async move { client.pay(request).await }
        });
        reply(before).await;
        let unary = unary.await.unwrap().unwrap_err();
        let before = stage.pay_requests(0).await.len();
        if request == PayRequest::default() {
            let absent = PayStreamRequest { request_id: 7, payment: None, ..PayStreamRequest::default() };
            stream.requests.send(absent).await.unwrap();
        } else {
            stream.send(7, request).await;
        }
        reply(before).await;
        let (id, refusal) = stream.refusal().await;
        assert_eq!((id, refusal.code, unary.code()), (7, code.into(), code), "{name}: {refusal:?}");
        assert_eq!(refusal.message, unary.message(), "{name}");
        let theirs = PayRefusal::decode(unary.details()).unwrap();
        assert_eq!(details(&refusal), details(&theirs), "{name}");
        assert!(!refusal.details.is_empty(), "{name}: {refusal:?}");
        if let Some((call, held)) = place {
            stage.reply(&held.reply_to, order("held", paid()), false).await;
            call.await.unwrap().unwrap();
        }
        stage.journal.refusing.store(false, Ordering::Release);
        clock.0.store(false, Ordering::Relaxed);
        let (number, before) = (format!("after-{n}"), stage.pay_requests(0).await.len());
        stream.send(8, payment(&number)).await;
        let requests = stage.pay_requests(before + 1).await;
        stage.reply(&requests[before].reply_to, order(&number, paid()), false).await;
        assert_eq!(stream.response().await.0, 8, "{name}");
    }
}

#[tokio::test]
async fn each_payment_has_a_deadline_of_its_own() {
    let stage = Stage::open(settings()).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    stream.send(1, payment("1")).await;
    let hurried =
        PayStreamRequest { request_id: 2, payment: Some(payment("2")), timeout_ms: 300, ..PayStreamRequest::default() };
    stream.requests.send(hurried).await.unwrap();
    let requests = stage.pay_requests(2).await;
    let (id, response) = stream.response().await;
    assert_eq!((id, response.status_code.as_str()), (2, "982"));
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    let (id, response) = stream.response().await;
    assert_eq!((id, response.status_code.as_str()), (1, "000"));
}

#[tokio::test]
async fn without_a_result_a_payment_is_in_progress_after_the_default_time_or_before_the_stream_ends() {
    let stage = Stage::open(Settings { answer_within_ms: 300, ..settings() }).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    stream.send(1, payment("1")).await;
    assert_eq!(stream.response().await.1.status_code, "982");
    let stage = Stage::open(settings()).await;
    let (requests, receiver) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_secs(2));
    let answers = stage.client().await.pay_stream(request).await.unwrap().into_inner();
    let mut stream = Stream { requests, answers };
    stream.send(1, payment("1")).await;
    assert_eq!(stream.response().await.1.status_code, "982");
}

#[tokio::test]
async fn a_caller_that_has_closed_its_side_still_gets_all_answers() {
    let stage = Stage::open(settings()).await;
    let Stream { requests, answers } = Stream::open(stage.client().await).await.unwrap();
    let mut stream = Stream { requests: mpsc::channel(1).0, answers };
    for id in 0..3 {
        let payment = Some(payment(&id.to_string()));
        requests.send(PayStreamRequest { request_id: id, payment, ..PayStreamRequest::default() }).await.unwrap();
    }
    drop(requests);
    for (id, request) in (0..).zip(stage.pay_requests(3).await) {
        stage.reply(&request.reply_to, order(&id.to_string(), paid()), false).await;
        assert_eq!(stream.response().await.0, id);
    }
    assert_eq!(stream.next().await.unwrap(), None, "the stream must end with OK");
}

#[tokio::test]
async fn requests_beyond_those_in_flight_are_read_once_answers_are() {
    let stage = Stage::open(Settings { stream_in_flight_max: 8, ..settings() }).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    for id in 0..20 {
        stream.send(id, payment(&id.to_string())).await;
    }
    let requests = stage.pay_requests(8).await;
    settle().await;
    assert_eq!(stage.pay_requests(0).await.len(), 8);
    for (id, request) in requests.iter().enumerate().take(3) {
        stage.reply(&request.reply_to, order(&id.to_string(), paid()), false).await;
        stream.response().await;
    }
    stage.pay_requests(11).await;
    settle().await;
    assert_eq!(stage.pay_requests(0).await.len(), 11);
}

#[tokio::test]
async fn a_caller_that_reads_no_answers_is_not_read_either_and_slows_only_itself() {
    let stage = Stage::open(settings()).await;
    let small = Endpoint::from_shared(format!("http://{}", stage.address)).unwrap().initial_stream_window_size(65_535);
    let mut client = PosServiceClient::new(small.connect().await.unwrap());
    let mut stream = Stream::open(client.clone()).await.unwrap();
    let sending = tokio::spawn({
        let requests = stream.requests.clone();
        async move {
            for id in 0..2_000 {
                let payment = Some(payment(&id.to_string()));
                requests
                    .send(PayStreamRequest { request_id: id, payment, ..PayStreamRequest::default() })
                    .await
                    .unwrap();
            }
        }
    });
    // Replies with an order of about 1 KB, as often as the ingress asks.
    let (mut replied, mut pauses) = (0, 0);
    while pauses < 15 {
        let requests = stage.pay_requests(replied).await;
        if requests.len() == replied {
            pauses += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        pauses = 0;
        for request in requests.into_iter().skip(replied) {
            let form = request.pay.unwrap();
            let mut order = payment_order(form.key.merchant_trade_no.as_str(), paid());
            order.terms.remark = Remark::parse("x".repeat(1_000)).unwrap();
            let content = ReplyContent::Order(Box::new(Order::Payment(order)));
            stage.reply(&request.reply_to, content, false).await;
            replied += 1;
        }
    }
    assert!((8..1_000).contains(&replied), "{replied} requests were taken although no answer was read");
    // The same connection still serves other calls, and so does another one. A repeat of a payment
    // whose answer is not read has it already.
    for mut client in [client.clone(), stage.client().await] {
        let repeat = timeout(Duration::from_secs(5), client.pay(payment("0"))).await.unwrap().unwrap().into_inner();
        assert_eq!((repeat.status_code.as_str(), repeat.is_rep), ("000", true));
    }
    let last = replied - 1;
    let repeat = client.pay(payment(&last.to_string())).await.unwrap().into_inner();
    assert_eq!(repeat.status_code, "000", "the last payment that was taken has its result, too");
    // Once it reads, it gets every answer, and the rest is taken.
    for _ in 0..replied {
        assert_eq!(stream.response().await.1.remark.len(), 1_000);
    }
    stage.pay_requests(replied + 1).await;
    sending.abort();
}

#[tokio::test]
async fn at_shutdown_requests_that_were_taken_are_answered_and_the_stream_says_why_it_ends() {
    let stage = Stage::open(Settings { drain_within_ms: 5_000, ..settings() }).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    stream.send(1, payment("1")).await;
    let requests = stage.pay_requests(1).await;
    stage.shutdown.cancel();
    settle().await;
    stream.send(2, payment("2")).await;
    settle().await;
    assert_eq!(stage.pay_requests(0).await.len(), 1, "a request after the shutdown must not be taken");
    stage.reply(&requests[0].reply_to, order("1", paid()), false).await;
    assert_eq!(stream.response().await.0, 1);
    let end = stream.next().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.message().contains("shuts down") && end.message().contains("not accepted"), "{end:?}");
    timeout(Duration::from_secs(4), stage.serving).await.unwrap().unwrap().unwrap();
}
