//! Accepting connections, for every listener of the product: so many at once and no more, answers
//! leave at once instead of waiting for more to send, one failed accept ends nothing, and who says
//! nothing is closed. Half-sent requests must never shut everybody else out.

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

use crate::{Seldom, open_files::open_files_share};

/// The pause after a failed accept (too many open files, say), in ms.
const PAUSE_MS: u64 = 50;
/// How often refused connections and failed accepts are logged at the most, in ms.
const LOG_MS: u64 = 1_000;
/// How long a new connection may take until its first request is there, or the beginning of HTTP/2,
/// in ms.
const FIRST_WITHIN_MS: u64 = 10_000;
/// How long a connection may last without a new request, in ms. Longer than any answer takes.
const IDLE_MS: u64 = 60_000;
/// How often the other side of a gRPC connection is asked whether it is there, and how long it may
/// take to say so, in s.
const PING_EVERY_S: u64 = 20;
const PING_WITHIN_S: u64 = 20;
/// The client's preface and the head of its settings, in bytes: with them HTTP/2 has begun, and
/// pings go out.
const HTTP2_BEGINS_BYTES: usize = 24 + 9;

const REFUSED: &str = "twqr_connections_refused_total";

/// Who is let in at a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The listener's name in metrics and logs.
    pub(crate) name: &'static str,
    pub(crate) connections_max: usize,
    /// How long a new connection may take until its first request is there, or the beginning of
    /// HTTP/2.
    pub(crate) first_within: Duration,
    /// How long a connection of HTTP/1 may last without a new request.
    pub(crate) idle: Duration,
}

impl Limits {
    /// For everybody: a fifth of the open files, at most 16,384 connections.
    pub fn public(name: &'static str) -> Self {
        Self::new(name, open_files_share(20).min(16_384))
    }

    /// For operators and their tools: a twentieth of the open files, at most 256 connections, which
    /// nobody else can take.
    pub fn operators(name: &'static str) -> Self {
        Self::new(name, open_files_share(5).min(256))
    }

    const fn new(name: &'static str, connections_max: usize) -> Self {
        let (first_within, idle) = (Duration::from_millis(FIRST_WITHIN_MS), Duration::from_millis(IDLE_MS));
        Self { name, connections_max, first_within, idle }
    }
}

/// A gRPC server that notices when the other side of a connection is gone.
pub fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(PING_EVERY_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_WITHIN_S)))
}

/// The connections of a gRPC listener, for good.
pub fn connections(listener: TcpListener, limits: Limits) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold(Door::new(listener, limits), |mut door| async move {
        let (stream, place) = door.next().await;
        let begin = Some((HTTP2_BEGINS_BYTES, Box::pin(tokio::time::sleep(door.limits.first_within))));
        Some((Ok(Connection { stream, begin, _place: place }), door))
    })
}

/// A listener and its places.
pub(crate) struct Door {
    listener: TcpListener,
    limits: Limits,
    places: Arc<Semaphore>,
    log: Seldom,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> Self {
        metrics::describe_counter!(
            REFUSED,
            "Connections closed at once because as many as may be were open, by listener"
        );
        let places = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, limits, places, log: Seldom::every_ms(LOG_MS) }
    }

    /// The next connection and its place, which is free again when that is dropped.
    pub(crate) async fn next(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        let Limits { name, connections_max, .. } = self.limits;
        loop {
            match self.listener.accept().await {
                Ok((connection, from)) => {
                    if let Ok(place) = self.places.clone().try_acquire_owned() {
                        // Where that cannot be set, answers are slower.
                        drop(connection.set_nodelay(true));
                        return (connection, place);
                    }
                    metrics::counter!(REFUSED, "listener" => name).increment(1);
                    if let Some(more) = self.log.say() {
                        warn!(listener = name, %from, more, "a connection was closed at once: {connections_max} are open, \
                              no more may be; more may be once the limit of open files (ulimit -n) is higher");
                    }
                }
                Err(error) => {
                    if let Some(more) = self.log.say() {
                        warn!(listener = name, %error, more, "a connection could not be accepted; trying again");
                    }
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                }
            }
        }
    }
}

/// A connection that holds its place, and fails if HTTP/2 does not begin in time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// How many bytes are missing until it has begun, and by when they must be there.
    begin: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
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
            let came = buffer.filled().len() - before;
            self.begin =
                self.begin.take().filter(|(missing, _)| *missing > came).map(|(missing, by)| (missing - came, by));
            return Poll::Ready(read);
        }
        let Some((_, by)) = &mut self.begin else { return Poll::Pending };
        ready!(by.as_mut().poll(cx));
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
