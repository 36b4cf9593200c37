//! Tests that idle connections and those with half-sent requests are closed, and that calls in
//! flight finish at shutdown.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

const LIMITS: Limits =
    Limits { name: "test", connections_max: 4, first_within: Duration::from_secs(2), idle: Duration::from_secs(3) };
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a server that answers each request after `takes`.
async fn server(takes: Duration, drain: Duration) -> (SocketAddr, CancellationToken, JoinHandle<usize>) {
    let answer = move || async move {
        tokio::time::sleep(takes).await;
        "here"
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = Router::new().route("/", get(answer));
    (address, stop.clone(), tokio::spawn(serve_http(listener, router, LIMITS, stop, drain)))
}

async fn connect_and_send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Returns everything that arrives until the connection is closed.
async fn read_until_closed(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    assert!(read.is_ok(), "the connection was not closed");
    String::from_utf8(received).unwrap()
}

/// Some clients shut down their writing side once the request is sent.
#[tokio::test]
async fn a_client_that_shuts_down_its_writing_side_is_answered() {
    let (address, _stop, _server) = server(Duration::from_millis(200), PATIENCE).await;
    let mut stream = connect_and_send(address, REQUEST).await;
    stream.shutdown().await.unwrap();
    assert!(read_until_closed(&mut stream).await.ends_with("here"));
}

#[tokio::test]
async fn half_sent_requests_do_not_block_later_connections() {
    let (address, _stop, _server) = server(Duration::ZERO, PATIENCE).await;
    let mut half = Vec::new();
    for _ in 0..LIMITS.connections_max {
        half.push(connect_and_send(address, b"POST / HTTP/1.1\r\nHost: te").await);
    }
    for stream in &mut half {
        assert_eq!(read_until_closed(stream).await, "");
    }
    let mut complete = connect_and_send(address, REQUEST).await;
    assert!(
        read_until_closed(&mut complete).await.ends_with("here"),
        "it must be answered, and closed after its idle time"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_headers_is_refused() {
    let (address, _stop, _server) = server(Duration::ZERO, PATIENCE).await;
    let many = "A: b\r\n".repeat(101);
    let large = format!("A: {}\r\n", "b".repeat(65 * 1024));
    for (what, headers) in [("many", many), ("large", large)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before it has read all.
        drop(stream.write_all(format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n").as_bytes()).await);
        let mut received = Vec::new();
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await.unwrap());
        let answer = String::from_utf8(received).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_in_use_is_kept() {
    let (address, _stop, _server) = server(Duration::ZERO, PATIENCE).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..8 {
        stream.write_all(REQUEST).await.unwrap();
        let mut received = [0; 1024];
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut received)).await.unwrap().unwrap();
        assert!(received[..count].ends_with(b"here"));
        tokio::time::sleep(LIMITS.idle / 8).await;
    }
}

#[tokio::test]
async fn at_shutdown_calls_in_flight_finish_and_new_connections_are_refused() {
    let (address, stop, server) = server(Duration::from_millis(300), PATIENCE).await;
    let mut stream = connect_and_send(address, REQUEST).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(read_until_closed(&mut stream).await.ends_with("here"));
    assert_eq!(server.await.unwrap(), 0, "no connection was cut off");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn calls_still_in_flight_after_the_drain_are_cut_off() {
    let (address, stop, server) = server(PATIENCE * 3, Duration::from_millis(200)).await;
    let mut stream = connect_and_send(address, REQUEST).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert_eq!(tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap(), 1);
    assert_eq!(read_until_closed(&mut stream).await, "");
}
