//! Calls that never reach a handler, or whose caller does not wait: they are refused with a code of
//! the public API, and counted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use metrics_exporter_prometheus::PrometheusBuilder;
use prost::Message;
use stage::{Stage, order, paid, payment, settings};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_types::StatusExt;
use twqr_wire::pos::{PayStreamRequest, PayStreamResponse, pay_stream_response::Result as Answer};

/// Sends and receives messages as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

async fn pay(channel: Channel, message: Bytes, is_compressed: bool) -> Status {
    call(channel, "/twqr.pos.v1.PosService/Pay", message, is_compressed).await
}

async fn call(channel: Channel, path: &'static str, message: Bytes, is_compressed: bool) -> Status {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(message);
    if is_compressed {
        request.metadata_mut().insert("grpc-encoding", "zstd".parse().unwrap());
    }
    client.unary(request, PathAndQuery::from_static(path), Raw).await.unwrap_err()
}

/// Messages that cannot be decoded, each with a part of the text that says why.
fn undecodable() -> [(&'static str, Bytes); 3] {
    let bad_utf8 = Bytes::from_static(&[0x0a, 2, 0xff, 0xfe]);
    let cut_off = Bytes::from_static(&[0x0a, 200, 1]);
    [("UTF-8", bad_utf8), ("valid protobuf", cut_off), ("64 KiB", Bytes::from(vec![0; 65 * 1024]))]
}

#[tokio::test]
async fn undecodable_requests_are_refused_as_invalid_and_counted_and_so_are_callers_that_leave() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let stage = Stage::open(settings()).await;
    let cases = undecodable().map(|(expected, message)| (expected, message, false));
    for (expected, message, is_compressed) in cases.into_iter().chain([("compressed", Bytes::new(), true)]) {
        let refusal = pay(stage.channel().await, message, is_compressed).await;
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
        assert!(refusal.message().contains(expected), "{refusal:?}");
    }
    assert!(metrics.render().contains("twqr_ingress_calls_total{method=\"Pay\",code=\"InvalidArgument\"} 4"));
    let mut client = stage.client().await;
    let call = tokio::spawn(async move { client.pay(payment("1")).await });
    stage.requests(0, 1).await;
    call.abort();
    let is_counted = || metrics.render().contains("twqr_ingress_calls_total{method=\"Pay\",code=\"Cancelled\"} 1");
    while !is_counted() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.orders_end().await, 1, "only the last call was accepted");
}

#[tokio::test]
async fn a_call_of_an_unknown_service_or_method_is_refused_with_its_reason() {
    let stage = Stage::open(settings()).await;
    for path in [
        "/twqr.pos.v1.PosService/Charge",
        "/twqr.pos.v1.PosService/x/Pay",
        "/twqr.pos.v2.PosService/Pay",
        "/twqr.ops.v1.OperatorService/GetStatus",
    ] {
        let refusal = call(stage.channel().await, path, Bytes::new(), false).await;
        let info = refusal.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo at {path}: {refusal:?}"));
        let said = [&info.reason, &info.domain, &info.metadata["retryable"], &info.metadata["charged"]];
        assert_eq!(refusal.code(), Code::Unimplemented, "{path}: {refusal:?}");
        assert_eq!(said.map(String::as_str), ["UNKNOWN_METHOD", "twqr.pos.v1", "false", "no"], "{path}: {refusal:?}");
    }
    assert_eq!(stage.orders_end().await, 0, "nothing was accepted");
}

#[tokio::test]
async fn a_stream_ends_at_an_undecodable_request_once_those_before_it_are_answered() {
    for (expected, message) in undecodable() {
        let stage = Stage::open(settings()).await;
        let mut client = Grpc::new(stage.channel().await);
        client.ready().await.unwrap();
        let request = PayStreamRequest { request_id: 7, payment: Some(payment("1")), ..PayStreamRequest::default() };
        let (requests, receiver) = tokio::sync::mpsc::channel(3);
        for message in [request.encode_to_vec().into(), message, request.encode_to_vec().into()] {
            requests.send(message).await.unwrap();
        }
        let path = PathAndQuery::from_static("/twqr.pos.v1.PosService/PayStream");
        let stream = client.streaming(Request::new(ReceiverStream::new(receiver)), path, Raw).await.unwrap();
        let mut answers = stream.into_inner();
        let taken = stage.pay_requests(1).await;
        stage.reply(&taken[0].reply_to, order("1", paid()), false).await;
        let answer = PayStreamResponse::decode(answers.message().await.unwrap().unwrap()).unwrap();
        assert!(answer.request_id == 7 && matches!(answer.result, Some(Answer::Response(_))), "{answer:?}");
        let end = answers.message().await.unwrap_err();
        assert_eq!(end.code(), Code::InvalidArgument, "{end:?}");
        assert!(end.message().contains(expected) && end.message().contains("not accepted"), "{end:?}");
        assert_eq!(stage.pay_requests(0).await.len(), 1, "nothing behind it is taken");
    }
}
