//! HTTP/2 as an attacker writes it: more streams than a connection may have, streams that are
//! reset at once, headers without end, and bytes that are no frames. Each connection is bounded or
//! closed, and a caller on another connection is answered meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::time::Duration;

use support::{Stage, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;
use twqr_wire::pos::PayRequest;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an attacked connection may take to react.
const PATIENCE: Duration = Duration::from_secs(10);

/// The types of frames (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The flag of the last frame with headers.
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header that is not in a table, by HPACK.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [&[0], &text(name)[..], &text(value)].concat()
}

/// The headers of a Pay whose message never follows.
fn pay_headers() -> Vec<u8> {
    let path = "/twqr.pos.v1.PosService/Pay";
    let path = [&[4, path.len() as u8], path.as_bytes()].concat();
    [&[0x83, 0x86][..], &path, &literal(":authority", "pos"), &literal("content-type", "application/grpc")].concat()
}

async fn attack(stage: &Stage, frames: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    // A closed connection may refuse the rest.
    drop(stream.write_all(frames).await);
    stream
}

/// Reads frames until one has this type, or the connection is closed. Returns its payload.
async fn until_frame(stream: &mut TcpStream, kind: u8) -> Option<Vec<u8>> {
    let reading = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.ok()?;
            if head[3] == kind {
                return Some(payload);
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no frame of type {kind}, and no end"))
}

/// A caller on another connection is answered: its request is refused for its fields.
async fn assert_answers_others(stage: &Stage) {
    let refusal = stage.client().await.pay(PayRequest::default()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_streams() {
    let stage = Stage::open(settings()).await;
    let streams: Vec<u8> =
        (0..6_000_u32).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &pay_headers())).collect();
    let mut stream = attack(&stage, &streams).await;
    let refused = until_frame(&mut stream, RESET).await.unwrap();
    assert_eq!(refused, 7_u32.to_be_bytes(), "REFUSED_STREAM");
    assert_answers_others(&stage).await;
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let stage = Stage::open(settings()).await;
    let cancel = 8_u32.to_be_bytes();
    let one = |n: u32| [frame(HEADERS, END_HEADERS, 2 * n + 1, &pay_headers()), frame(RESET, 0, 2 * n + 1, &cancel)];
    let streams: Vec<u8> = (0..20_000_u32).flat_map(one).flatten().collect();
    let mut stream = attack(&stage, &streams).await;
    if let Some(last) = until_frame(&mut stream, GO_AWAY).await {
        assert_eq!(last[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }
    assert_answers_others(&stage).await;
}

#[tokio::test]
async fn headers_without_end_and_bytes_that_are_no_frames_end_the_connection() {
    let stage = Stage::open(settings()).await;
    let mut endless = frame(HEADERS, 0, 1, &pay_headers());
    for n in 0..20_000 {
        endless.extend(frame(CONTINUATION, 0, 1, &literal(&format!("h{n}"), &"x".repeat(100))));
    }
    for frames in [endless, vec![0xff; 64 * 1024], frame(HEADERS, END_HEADERS, 1, &[0xff; 64])] {
        let mut stream = attack(&stage, &frames).await;
        drop(until_frame(&mut stream, GO_AWAY).await);
        assert_answers_others(&stage).await;
    }
}
