//! Calls that never reach a handler, or whose caller does not wait: they are refused with a code of
//! the public API, and counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use metrics_exporter_prometheus::PrometheusBuilder;
use stage::{Stage, payment, settings};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

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
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(message);
    if is_compressed {
        request.metadata_mut().insert("grpc-encoding", "zstd".parse().unwrap());
    }
    let path = PathAndQuery::from_static("/twqr.pos.v1.PosService/Pay");
    client.unary(request, path, Raw).await.unwrap_err()
}

#[tokio::test]
async fn undecodable_requests_are_refused_as_invalid_and_counted_and_so_are_callers_that_leave() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let stage = Stage::open(settings()).await;
    let bad_utf8 = Bytes::from_static(&[0x0a, 2, 0xff, 0xfe]);
    let cut_off = Bytes::from_static(&[0x0a, 200, 1]);
    let cases = [
        ("UTF-8", bad_utf8, false),
        ("valid protobuf", cut_off, false),
        ("64 KiB", Bytes::from(vec![0; 65 * 1024]), false),
        ("compressed", Bytes::new(), true),
    ];
    for (expected, message, is_compressed) in cases {
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
