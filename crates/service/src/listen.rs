//! Accepts connections, for every listener of the product. Each listener limits its open
//! connections: a connection above the limit is closed at once. A failed accept does not end the
//! listener. A connection that sends no request, or only a part of one, is closed after a while, so
//! that it cannot hold a place that others need.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::transport::{
    Server,
    server::{Connected, TcpConnectInfo},
};
use tracing::warn;

use crate::{GatheredWrites, LogThrottle, open_files::open_files_share};

/// The pause after a failed accept (for example with too many open files), in ms.
const PAUSE_MS: u64 = 50;
/// The shortest time between two log lines about refused connections or failed accepts, in ms.
const LOG_MS: u64 = 1_000;
/// How long a new connection may take until its first request, or the beginning of HTTP/2, has
/// arrived, in ms.
const FIRST_WITHIN_MS: u64 = 10_000;
/// How long an HTTP/1 connection may stay open without a new request, in ms. Longer than any answer
/// takes.
const IDLE_MS: u64 = 60_000;
/// The time between two pings on a gRPC connection, in s.
const PING_EVERY_S: u64 = 20;
/// How long the other side of a gRPC connection may take to answer a ping, in s.
const PING_WITHIN_S: u64 = 20;
/// The length of the client's preface and of the header of its SETTINGS frame, in bytes. Once they
/// have arrived, HTTP/2 has begun, and pings detect a connection whose other side is gone.
const HTTP2_BEGINS_BYTES: usize = 24 + 9;

const REFUSED: &str = "twqr_connections_refused_total";

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The listener's name in metrics and logs.
    pub(crate) name: &'static str,
    pub(crate) connections_max: usize,
    /// How long a new connection may take until its first request, or the beginning of HTTP/2, has
    /// arrived.
    pub(crate) first_within: Duration,
    /// How long an HTTP/1 connection may stay open without a new request.
    pub(crate) idle: Duration,
}

impl Limits {
    /// The limits of a public listener: a fifth of the process's open files, at most 16,384
    /// connections.
    pub fn public(name: &'static str) -> Self {
        Self::new(name, open_files_share(20).min(16_384))
    }

    /// The limits of a listener for operators and their tools: a twentieth of the process's open
    /// files, at most 256 connections. Public listeners cannot use them up.
    pub fn operators(name: &'static str) -> Self {
        Self::new(name, open_files_share(5).min(256))
    }

    const fn new(name: &'static str, connections_max: usize) -> Self {
        let (first_within, idle) = (Duration::from_millis(FIRST_WITHIN_MS), Duration::from_millis(IDLE_MS));
        Self { name, connections_max, first_within, idle }
    }
}

/// A gRPC server that pings its connections, so that it notices when the other side is gone.
pub fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(PING_EVERY_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_WITHIN_S)))
}

/// Accepts the connections of a gRPC listener, as a stream without an end.
pub fn connections(
    listener: TcpListener,
    limits: Limits,
) -> impl Stream<Item = io::Result<GatheredWrites<Connection>>> {
    stream::unfold(LimitedListener::new(listener, limits), |mut listener| async move {
        let (stream, permit) = listener.next().await;
        let begin = Some((HTTP2_BEGINS_BYTES, Box::pin(tokio::time::sleep(listener.limits.first_within))));
        let connection = Connection { stream, begin, _permit: permit };
        Some((Ok(GatheredWrites::new(connection)), listener))
    })
}

/// A listener with a limit on its open connections.
pub(crate) struct LimitedListener {
    listener: TcpListener,
    limits: Limits,
    permits: Arc<Semaphore>,
    log: LogThrottle,
}

impl LimitedListener {
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> Self {
        metrics::describe_counter!(
            REFUSED,
            "Connections closed at once because the listener had reached its limit, by listener"
        );
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, limits, permits, log: LogThrottle::every_ms(LOG_MS) }
    }

    /// Accepts the next connection. It counts as open until its permit is dropped.
    pub(crate) async fn next(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        let Limits { name, connections_max, .. } = self.limits;
        loop {
            match self.listener.accept().await {
                Ok((connection, from)) => {
                    if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                        // Without this option the system may hold an answer back to send it with
                        // more data. If the option cannot be set, answers are only slower.
                        drop(connection.set_nodelay(true));
                        return (connection, permit);
                    }
                    metrics::counter!(REFUSED, "listener" => name).increment(1);
                    if let Some(suppressed) = self.log.permit() {
                        warn!(
                            listener = name, %from, suppressed,
                            "a connection was closed at once: {connections_max} connections are open, which is \
                             the limit; raise the limit of open files (ulimit -n) to allow more"
                        );
                    }
                }
                Err(error) => {
                    if let Some(suppressed) = self.log.permit() {
                        warn!(listener = name, %error, suppressed, "a connection could not be accepted; trying again");
                    }
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                }
            }
        }
    }
}

/// A gRPC connection that holds its permit, and fails if HTTP/2 does not begin in time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// How many bytes are missing until HTTP/2 has begun, and the time by which they must arrive;
    /// absent once it has begun.
    begin: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            let arrived = buffer.filled().len() - before;
            self.begin = self
                .begin
                .take()
                .filter(|(missing, _)| *missing > arrived)
                .map(|(missing, until)| (missing - arrived, until));
            return Poll::Ready(read);
        }
        let Some((_, until)) = &mut self.begin else { return Poll::Pending };
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "HTTP/2 did not begin in time")))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
