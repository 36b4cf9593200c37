//! Tests that a listener closes connections above its limit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tokio::{io::AsyncReadExt, net::TcpListener};

use super::*;

const LIMITS: Limits =
    Limits { name: "test", connections_max: 2, first_within: Duration::from_secs(1), idle: Duration::from_secs(2) };

#[tokio::test]
async fn a_connection_above_the_limit_is_closed_at_once_until_another_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = LimitedListener::new(listener.into(), LIMITS);
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
