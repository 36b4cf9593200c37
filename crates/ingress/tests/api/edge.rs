//! The edge: malformed requests, too many calls, health, reflection, start and end.

use std::{net::SocketAddr, sync::Arc};

use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;
use twqr_ingress::{Error, Settings};
use twqr_journal::{Entry, Partition, Topic};
use twqr_service::{CancellationToken, Context, Health, PartState, SystemClock};
use twqr_wire::{bus, pos};

use crate::{
    World,
    journal::{FakeJournal, Handle, REPLIES},
    patient, request,
    router::SILENT,
};

fn fields(status: &tonic::Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_FIELDS");
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn all_violations_are_listed_at_once() {
    let world = World::new(patient()).await;
    let bad = pos::PayRequest {
        store_id: "x".repeat(21),
        card_token: "22SECRET SECRETSEC".into(),
        trade_amount: -1,
        extra3: "x".into(),
        send_time: "now".into(),
        ..Default::default()
    };
    let status = world.pay(bad).await.unwrap_err();
    let expected =
        ["merchant_id", "store_id", "merchant_trade_no", "card_token", "trade_amount", "extra3", "send_time"];
    assert_eq!(fields(&status), expected);
    assert!(!format!("{status:?}").contains("SECRET"), "{status:?}");
    let mut client = world.client.clone();
    let query = pos::QueryRequest { pos_trade_time: "now".into(), ..Default::default() };
    let expected = ["inquiry_type", "merchant_id", "merchant_trade_no", "pos_trade_time"];
    assert_eq!(fields(&client.query(query).await.unwrap_err()), expected);
    let watch = pos::WatchOrderRequest { inquiry_type: 77, merchant_id: "M1".into(), ..Default::default() };
    assert_eq!(fields(&client.watch_order(watch).await.unwrap_err()), ["inquiry_type", "merchant_trade_no"]);
    assert!(world.journal.orders().is_empty());
}

#[tokio::test]
async fn what_a_later_version_adds() {
    let world = World::new(patient()).await;
    let mut client = world.client.clone();
    let refund = client.refund(pos::RefundRequest::default()).await.unwrap_err();
    let cancel = client.cancel(pos::CancelRequest::default()).await.unwrap_err();
    for (status, name) in [(refund, "Refund"), (cancel, "Cancel")] {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(name), "{status:?}");
    }
    let inquiry_type = pos::InquiryType::Refund.into();
    let (merchant_id, merchant_trade_no) = ("M1".to_owned(), "R1".to_owned());
    let query = pos::QueryRequest { inquiry_type, merchant_id, merchant_trade_no, ..Default::default() };
    let answer = client.query(query).await.unwrap().into_inner();
    assert_eq!((answer.status_code.as_str(), answer.order_status), ("916", None));
}

#[tokio::test]
async fn too_many_calls_are_refused_with_a_retry_hint() {
    let world = World::new(Settings { calls_in_flight_max: 2, ..patient() }).await;
    let waiting = ["T1", "T2"].map(|number| {
        let mut client = world.client.clone();
        tokio::spawn(async move { client.pay(request(number, SILENT)).await })
    });
    world.until_orders(2).await;
    for status in [world.pay(request("T3", 100)).await.unwrap_err(), world.query("T1").await.unwrap_err()] {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    for number in ["T1", "T2"] {
        world.approve(&request(number, SILENT));
    }
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().into_inner().status_code, "000");
    }
    assert_eq!(world.pay(request("T3", 100)).await.unwrap().status_code, "000");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let world = World::new(patient()).await;
    let status = world.pay(pos::PayRequest { remark: "x".repeat(100_000), ..request("T1", 1) }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn health_and_reflection() {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::new(patient()).await;
    for service in ["", "twqr.pos.v1.PosService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(world.channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = [
        request(MessageRequest::ListServices(String::new())),
        request(MessageRequest::FileContainingSymbol("twqr.pos.v1.PosService".into())),
    ];
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let answers = client.server_reflection_info(futures::stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    for expected in ["grpc.health.v1.Health", "twqr.pos.v1.PosService"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("backend")), "{names:?}");
    let file = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{file:?}");
}

#[tokio::test]
async fn readiness_follows_the_replies_and_bad_replies_stop_nothing() {
    let world = World::new(patient()).await;
    world.pay(request("T1", 100)).await.unwrap();
    assert!(world.context.health.is_ready(), "{:?}", world.context.health.report());
    let other_version = bus::ReplyRecord { version: 9, ..Default::default() }.encode_to_vec();
    for bytes in [b"\xff\xff not protobuf".to_vec(), other_version, vec![]] {
        world.journal.write(REPLIES, vec![Entry::plain(bytes)]);
    }
    assert_eq!(world.pay(request("T2", 100)).await.unwrap().status_code, "000");
    let letters = world.journal.read(Partition { topic: Topic::DeadLetters, index: 0 }, 0);
    assert_eq!(letters.len(), 3);
    let letter = bus::DeadLetter::decode(letters[0].entry.value.clone().unwrap()).unwrap();
    assert_eq!((letter.topic.as_str(), letter.partition), ("replies", REPLIES.index));
    assert_eq!(letter.payload.as_ref(), b"\xff\xff not protobuf");
    world.journal.break_reader.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.pay(request("T3", 100)).await.unwrap().status_code, "000");
    assert!(!world.journal.break_reader.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn calls_in_flight_end_before_the_instance_does() {
    let mut world = World::new(patient()).await;
    let call = tokio::spawn({
        let mut client = world.client.clone();
        async move { client.pay(request("T1", SILENT)).await }
    });
    world.until_orders(1).await;
    world.context.shutdown.cancel();
    world.approve(&request("T1", SILENT));
    assert_eq!(call.await.unwrap().unwrap().into_inner().status_code, "000");
    (&mut world.serving).await.unwrap().unwrap();
    assert_eq!(world.context.health.report()["ingress"], PartState::NotReady("stopped".into()));
    assert_eq!(world.pay(request("T2", 100)).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let listen = taken.local_addr().unwrap();
    let context =
        Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
    let journal = Arc::new(Handle(FakeJournal::new()));
    let error = twqr_ingress::run(Settings { listen, ..patient() }, journal, context).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert!(error.to_string().contains(&listen.to_string()) && error.to_string().contains("in use"), "{error}");
}
