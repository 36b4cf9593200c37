//! Waits until a process serves.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::{net::SocketAddr, time::Duration};

use tonic::transport::{Channel, Endpoint};

/// A connection to whoever serves there, or will within a minute.
pub async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    for _ in 0..1_200 {
        if let Ok(channel) = endpoint.connect().await {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody serves at {address}");
}
