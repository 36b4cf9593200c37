//! What a listener does with connections that are too many, or say nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LIMITS: Limits =
    Limits { name: "test", connections_max: 2, first_within: Duration::from_secs(1), idle: Duration::from_secs(2) };

#[tokio::test]
async fn one_too_many_is_closed_at_once_and_a_place_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut door = Door::new(listener, LIMITS);
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(TcpStream::connect(address).await.unwrap());
    }
    let (first, _second) = (door.next().await, door.next().await);
    let third = tokio::time::timeout(Duration::from_millis(200), door.next()).await;
    assert!(third.is_err(), "no place");
    assert_eq!(callers[2].read(&mut [0; 8]).await.unwrap(), 0, "closed at once");
    drop(first);
    let _fourth = TcpStream::connect(address).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), door.next()).await.is_ok());
}

/// A server that reads a connection to its end; how it ended.
async fn read_all(listener: TcpListener) -> io::Result<usize> {
    let accepted = connections(listener, LIMITS);
    tokio::pin!(accepted);
    let mut connection = accepted.next().await.unwrap()?;
    connection.read_to_end(&mut Vec::new()).await
}

#[tokio::test]
async fn where_http2_does_not_begin_the_connection_fails_and_where_it_does_it_may_rest() {
    for (sent, is_begun) in [(0, false), (HTTP2_BEGINS_BYTES - 1, false), (HTTP2_BEGINS_BYTES, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(read_all(listener));
        caller.write_all(&vec![b'P'; sent]).await.unwrap();
        if is_begun {
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
async fn whoever_begins_grpc_is_not_cut_off() {
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
