//! The hops of an answer: only a caller that asks for them gets them, every kind of answer can
//! carry them, and the records and answers of all other calls are as they were without hops.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/streamed.rs"]
mod streamed;
#[path = "support/stage.rs"]
mod support;

use std::time::Instant;

use post::{KEY, payment_text, send, signed};
use streamed::Stream;
use support::{RouterRequest, Stage, order, paid, paying, payment, settings};
use tonic::{Request, Status, metadata::MetadataMap};
use twqr_ingress::{HttpSettings, Settings};
use twqr_types::SignatureForm;
use twqr_wire::{
    convert::{ReplyContent, ReplyRecord, decode_record, decode_record_with_hops, encode_record, encode_reply_record},
    hops::{HOPS_HEADER, Hop, HopReport},
    pos::{PayRequest, PayResponse, PayStreamRequest},
};

/// How long the stays of the router and behind it are said to be, in µs.
const STAYS: [(Hop, i64); 3] = [(Hop::Router, 3), (Hop::Worker, 5), (Hop::Backend, 7)];

fn asking(message: PayRequest, header: Option<&'static str>) -> Request<PayRequest> {
    let mut request = Request::new(message);
    if let Some(value) = header {
        request.metadata_mut().insert(HOPS_HEADER, value.parse().unwrap());
    }
    request
}

/// Sends a payment that asks for its hops.
fn ask(stage: &Stage, number: &str) -> tokio::task::JoinHandle<Result<tonic::Response<PayResponse>, Status>> {
    let (channel, request) = (stage.address, asking(payment(number), Some("1")));
    tokio::spawn(async move {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{channel}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        twqr_wire::pos::pos_service_client::PosServiceClient::new(channel).pay(request).await
    })
}

fn hops(metadata: &MetadataMap) -> Option<HopReport> {
    metadata.get(HOPS_HEADER).map(|text| text.to_str().unwrap().parse().unwrap())
}

/// Replies as the router would, with the hops of the request if it has any.
async fn reply(stage: &Stage, request: &RouterRequest, content: ReplyContent) {
    let (_, mut hops) = decode_record_with_hops(request.bytes.clone()).unwrap();
    if let Some(times) = &mut hops {
        for (hop, us) in STAYS {
            times.add(hop, us);
        }
    }
    let to = request.reply_to;
    let reply = ReplyRecord { correlation: to.correlation, hops, ..ReplyRecord::broadcast(content) };
    stage.write_reply(to.partition, encode_reply_record(&reply)).await;
}

#[tokio::test]
async fn only_a_call_that_asks_has_hops_and_other_records_stay_as_they_were() {
    let stage = Stage::open(settings()).await;
    for (offset, (header, is_asked)) in (0..).zip([(None, false), (Some("0"), false), (Some("1"), true)]) {
        let (number, mut client) = (offset.to_string(), stage.client().await);
        let (request, began) = (asking(payment(&number), header), Instant::now());
        let call = tokio::spawn(async move { client.pay(request).await });
        let requests = stage.requests(offset, 1).await;
        let record = requests[0].bytes.clone();
        let is_plain = encode_record(&decode_record(record.clone()).unwrap()) == record;
        assert_eq!(is_plain, !is_asked, "{header:?}: the bytes on the log");
        reply(&stage, &requests[0], order(&number, paid())).await;
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.get_ref().status_code, "000");
        let Some(report) = hops(answer.metadata()) else {
            assert!(!is_asked, "{header:?}");
            continue;
        };
        assert!(is_asked, "{header:?}: {report}");
        assert!(u128::from(report.total_us()) <= began.elapsed().as_micros(), "{report}");
        for (hop, us) in STAYS {
            assert_eq!(report.us(hop), us.unsigned_abs(), "{report}");
        }
        assert!(report.us(Hop::Ingress) > 0 && report.us(Hop::Reply) > 0, "{report}");
    }
}

#[tokio::test]
async fn answers_from_memory_at_the_deadline_and_refusals_have_hops() {
    let stage = Stage::open(Settings { answer_within_ms: 400, ..settings() }).await;
    let call = ask(&stage, "1");
    let requests = stage.requests(0, 1).await;
    reply(&stage, &requests[0], order("1", paid())).await;
    call.await.unwrap().unwrap();

    let repeat = ask(&stage, "1").await.unwrap().unwrap();
    assert!(repeat.get_ref().is_rep);
    let report = hops(repeat.metadata()).unwrap();
    assert_eq!(report.us(Hop::Ingress), report.total_us(), "from memory: {report}");

    let late = ask(&stage, "2");
    let requests = stage.requests(1, 1).await;
    reply(&stage, &requests[0], order("2", paying())).await;
    let late = late.await.unwrap().unwrap();
    assert_eq!(late.get_ref().status_code, "982");
    let report = hops(late.metadata()).unwrap();
    assert!(report.us(Hop::Unknown) > 0 && report.us(Hop::Backend) == 7, "in progress: {report}");

    let refused = ask(&stage, "3");
    let requests = stage.requests(2, 1).await;
    reply(&stage, &requests[0], ReplyContent::Conflict(vec!["TradeAmount".into()])).await;
    let refused = refused.await.unwrap().unwrap_err();
    assert!(hops(refused.metadata()).is_some_and(|report| report.us(Hop::Router) == 3), "{refused:?}");

    let invalid = ask(&stage, &"4".repeat(61)).await.unwrap().unwrap_err();
    let report = hops(invalid.metadata()).unwrap();
    assert_eq!(report.us(Hop::Ingress), report.total_us(), "{invalid:?}");
}

#[tokio::test]
async fn a_payment_of_a_stream_has_hops_if_it_asks_for_them() {
    let stage = Stage::open(settings()).await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    for (offset, hops) in (0..).zip([false, true]) {
        let payment = Some(payment(&offset.to_string()));
        let request = PayStreamRequest { request_id: offset, payment, hops, ..PayStreamRequest::default() };
        stream.requests.send(request).await.unwrap();
        let requests = stage.requests(offset, 1).await;
        reply(&stage, &requests[0], order(&offset.to_string(), paid())).await;
        let answer = stream.answers.message().await.unwrap().unwrap();
        let report: Option<HopReport> = answer.hops.parse().ok();
        assert_eq!(report.map(|report| report.us(Hop::Backend)), hops.then_some(7), "{answer:?}");
    }
}

#[tokio::test]
async fn the_answer_of_the_http_form_has_hops_if_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, format!("[keys]\nM1 = \"{KEY}\"\n")).unwrap();
    let signature_forms = SignatureForm::ALL.to_vec();
    let http = Some(HttpSettings { keys_file: Some(file), signature_forms, send_time_window_s: None });
    let stage = Stage::open(Settings { http, ..settings() }).await;
    let address = stage.http.unwrap();
    for (offset, header) in (0..).zip(["", "Twqr-Hops: 1\r\n"]) {
        let body = signed(&payment_text(&offset.to_string()), KEY);
        let call = tokio::spawn(async move { send(address, "/Pos/Payment", header, body.as_bytes()).await });
        let requests = stage.requests(offset, 1).await;
        reply(&stage, &requests[0], order(&offset.to_string(), paid())).await;
        let answer = call.await.unwrap();
        assert_eq!(answer.status_code(), "000");
        let text = answer.head.lines().find_map(|line| line.strip_prefix("twqr-hops: "));
        let report: Option<HopReport> = text.map(|text| text.parse().unwrap());
        assert_eq!(report.map(|report| report.us(Hop::Backend)), (!header.is_empty()).then_some(7));
    }
}
