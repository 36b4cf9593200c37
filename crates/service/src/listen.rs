//! Accepting connections: answers leave at once instead of waiting for more to send, and one failed accept ends nothing.

use std::{io, time::Duration};

use futures::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// The pause after a failed accept (too many open files, say), in ms.
const PAUSE_MS: u64 = 50;

/// The connections of a listener, for good.
pub fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await.and_then(|(connection, _)| connection.set_nodelay(true).map(|()| connection))
            {
                Ok(connection) => return Some((Ok(connection), listener)),
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                }
            }
        }
    })
}
