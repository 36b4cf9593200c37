//! HTTP/2 as an attacker writes it: more streams than a connection may have, streams that are
//! reset at once, headers without end, frames for streams that have ended, and bytes that are no
//! frames. Each connection is bounded or closed, and a caller on another connection is answered
//! meanwhile. A flood of calls that are refused is none of these.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::time::Duration;

use prost::Message;
use support::{Stage, payment, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;
use twqr_access::AccessSettings;
use twqr_ingress::Settings;
use twqr_wire::pos::{PayRequest, PayStreamRequest};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an attacked connection may take to react.
const PATIENCE: Duration = Duration::from_secs(10);

/// The path of a Pay.
const PAY: &str = "/twqr.pos.v1.PosService/Pay";

/// The types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// The flag of the last frame with headers.
const END_HEADERS: u8 = 4;
/// The flag of an acknowledgement.
const ACK: u8 = 1;
/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;

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
    headers(PAY)
}

/// The headers of a call of this path.
fn headers(path: &str) -> Vec<u8> {
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

#[tokio::test]
async fn frames_for_streams_that_have_ended_end_the_connection() {
    let stage = Stage::open(settings()).await;
    let mut stream = attack(&stage, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &pay_headers())).await;
    until_frame(&mut stream, HEADERS).await.unwrap();
    let late: Vec<u8> = (0..20_000).flat_map(|_| frame(DATA, 0, 1, b"late")).collect();
    drop(stream.write_all(&late).await);
    if let Some(last) = until_frame(&mut stream, GO_AWAY).await {
        assert_eq!(last[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }
    assert_answers_others(&stage).await;
}

/// How many calls a flood makes, more than a connection may have frames for ended streams, and how
/// many of them at once.
const CALLS: u32 = 2_000;
const AT_ONCE: u32 = 100;

/// Makes [`CALLS`] calls of this path, and sends the message of each only after its answer. Returns
/// how many were answered; 0 if the connection ended after all.
async fn answered_before_their_messages(stage: &Stage, path: &str) -> u32 {
    let mut stream = attack(stage, &[]).await;
    let headers = headers(path);
    for first in (0..CALLS).step_by(AT_ONCE as usize) {
        let ids = (first..first + AT_ONCE).map(|n| 2 * n + 1);
        let calls: Vec<u8> = ids.clone().flat_map(|id| frame(HEADERS, END_HEADERS, id, &headers)).collect();
        let messages: Vec<u8> = ids.flat_map(|id| frame(DATA, END_STREAM, id, &[0; 5])).collect();
        drop(stream.write_all(&calls).await);
        for n in 0..AT_ONCE {
            if until_frame(&mut stream, HEADERS).await.is_none() {
                return first + n;
            }
        }
        drop(stream.write_all(&messages).await);
    }
    drop(stream.write_all(&frame(PING, 0, 0, &[0; 8])).await);
    until_frame(&mut stream, PING).await.map_or(0, |_| CALLS)
}

#[tokio::test]
async fn a_flood_of_refused_calls_ends_no_connection_and_each_is_answered() {
    for (path, required) in [
        (PAY, true),
        ("/twqr.pos.v1.PosService/Other", true),
        ("/twqr.pos.v1.PosService/Other", false),
        ("/twqr.pos.v1.OtherService/Pay", true),
        ("/twqr.pos.v1.OtherService/Pay", false),
        ("/other", false),
        ("/grpc.health.v1.Health/Other", true),
        ("/grpc.reflection.v1.ServerReflection/Other", false),
    ] {
        let access = AccessSettings { required, ..AccessSettings::default() };
        let stage = Stage::open(Settings { access, ..settings() }).await;
        let answered = answered_before_their_messages(&stage, path).await;
        assert_eq!(answered, CALLS, "{path}, access.required = {required}");
    }
}

/// The number of bytes that may be sent on a stream before the server reads it, by its settings
/// (RFC 9113, section 6.5).
async fn stream_window(stream: &mut TcpStream) -> usize {
    let settings = until_frame(stream, SETTINGS).await.unwrap();
    let window = settings.chunks_exact(6).find(|setting| setting[..2] == [0, 4]).unwrap();
    u32::from_be_bytes(window[2..].try_into().unwrap()) as usize
}

#[tokio::test]
async fn many_small_messages_of_streams_that_are_not_read_end_no_connection() {
    /// As many full streams as `CONNECTION_WINDOW_BYTES` leaves room for.
    const STREAMS: usize = 80;
    /// What h2 adds up for each frame that is not read, less the frame's own bytes.
    const FRAME_COST: usize = 256;
    let stage = Stage::open(Settings { streams_max: STREAMS, stream_in_flight_max: 1, ..settings() }).await;
    let payment = PayRequest { remark: "r".repeat(40), extra1: "x".repeat(20), ..payment("T1") };
    let request = PayStreamRequest { payment: Some(payment), ..PayStreamRequest::default() }.encode_to_vec();
    let message = [&[0], &(request.len() as u32).to_be_bytes()[..], &request].concat();
    let mut stream = attack(&stage, &frame(SETTINGS, ACK, 0, &[])).await;
    let messages = stream_window(&mut stream).await / message.len();
    until_frame(&mut stream, WINDOW_UPDATE).await.unwrap();
    let cost = STREAMS * messages * (FRAME_COST - message.len());
    assert!(cost > 3 * 1024 * 1024, "too few small messages to be an attack: {cost}");
    let headers = headers("/twqr.pos.v1.PosService/PayStream");
    for id in (0..STREAMS as u32).map(|n| 2 * n + 1) {
        // Many clients send each message in a frame of its own.
        let messages = (0..messages).flat_map(|_| frame(DATA, 0, id, &message));
        let bytes: Vec<u8> = frame(HEADERS, END_HEADERS, id, &headers).into_iter().chain(messages).collect();
        drop(stream.write_all(&bytes).await);
    }
    drop(stream.write_all(&frame(PING, 0, 0, &[0; 8])).await);
    assert!(
        until_frame(&mut stream, PING).await.is_some(),
        "the connection ended; each of {STREAMS} streams had {messages} messages of {} bytes",
        message.len()
    );
}
