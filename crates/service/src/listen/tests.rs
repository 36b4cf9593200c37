//! Tests that a listener closes connections above its limit, and those on which HTTP/2 does not
//! begin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LIMITS: Limits =
    Limits { name: "test", connections_max: 2, first_within: Duration::from_secs(1), idle: Duration::from_secs(2) };

#[tokio::test]
async fn a_connection_above_the_limit_is_closed_at_once_until_another_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = LimitedListener::new(listener, LIMITS);
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(TcpStream::connect(address).await.unwrap());
    }
    let (first, _second) = (listener.next().await, listener.next().await);
    let third = tokio::time::timeout(Duration::from_millis(200), listener.next()).await;
    assert!(third.is_err(), "the limit is reached");
    assert_eq!(callers[2].read(&mut [0; 8]).await.unwrap(), 0, "closed at once");
    drop(first);
    let _fourth = TcpStream::connect(address).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), listener.next()).await.is_ok());
}

/// Accepts one connection and reads it to its end; returns how many bytes arrived, or the error.
async fn read_all(listener: TcpListener) -> io::Result<usize> {
    let accepted = connections(listener, LIMITS);
    tokio::pin!(accepted);
    let mut connection = accepted.next().await.unwrap()?;
    connection.read_to_end(&mut Vec::new()).await
}

#[tokio::test]
async fn a_connection_fails_if_http2_does_not_begin_in_time_and_may_be_idle_afterwards() {
    for (sent, has_begun) in [(0, false), (HTTP2_BEGINS_BYTES - 1, false), (HTTP2_BEGINS_BYTES, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(read_all(listener));
        caller.write_all(&vec![b'P'; sent]).await.unwrap();
        if has_begun {
            tokio::time::sleep(3 * LIMITS.first_within).await;
            drop(caller);
            assert_eq!(server.await.unwrap().unwrap(), sent);
        } else {
            let ended = tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut, "{sent} bytes");
        }
    }
}

#[tokio::test]
async fn a_grpc_client_is_not_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = grpc_server().add_routes(tonic::service::Routes::default());
    let server = tokio::spawn(router.serve_with_incoming(connections(listener, LIMITS)));
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    tokio::time::sleep(3 * LIMITS.first_within).await;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    server.abort();
}
