//! A gRPC connection of a caller. It fails if HTTP/2 does not begin in time, and tells the calls on
//! it when they must end.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Sleep,
};
use tokio_util::sync::DropGuard;
use tonic::{Extensions, transport::server::Connected};
use twqr_tls::MaybeTls;

use crate::{CancellationToken, PeerCertificate, listen::Begun};

/// The length of the client's preface and of the header of its SETTINGS frame, in bytes. Once they
/// have arrived, HTTP/2 has begun, and pings detect a connection whose other side is dead.
const HTTP2_BEGINS_BYTES: usize = 24 + 9;

/// The connection of a call, in the extensions of its request, over gRPC and over HTTP.
#[derive(Clone, Debug)]
pub struct CallerConnection(Arc<Known>);

/// The state of a connection.
#[derive(Debug)]
struct Known {
    leaving: CancellationToken,
    certificate: Option<PeerCertificate>,
    address: IpAddr,
    is_untrusted: AtomicBool,
}

impl CallerConnection {
    /// A connection that is asked to end by `leaving`, of a caller with this certificate, from this
    /// address.
    pub fn new(leaving: CancellationToken, certificate: Option<PeerCertificate>, address: IpAddr) -> Self {
        Self(Arc::new(Known { leaving, certificate, address, is_untrusted: AtomicBool::new(false) }))
    }

    /// Reports that the certificate of the caller is no longer accepted: its streams end, and each
    /// further call is refused.
    pub fn end_trust(&self) {
        self.0.is_untrusted.store(true, Ordering::Relaxed);
        self.0.leaving.cancel();
    }

    /// Whether the certificate of the caller whose request has these extensions is no longer
    /// accepted.
    pub fn is_untrusted(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(|connection| connection.0.is_untrusted.load(Ordering::Relaxed))
    }

    /// Fires when a stream of this connection must take no more requests, and end once it has
    /// answered those that it took. `None` if the connection is not from [`crate::serve_grpc`] or
    /// [`crate::serve_http`].
    pub fn leaving(extensions: &Extensions) -> Option<CancellationToken> {
        extensions.get::<Self>().map(|connection| connection.0.leaving.clone())
    }

    /// The verified certificate of the caller whose request has these extensions; `None` if it has
    /// shown none, and without TLS.
    pub fn certificate(extensions: &Extensions) -> Option<PeerCertificate> {
        extensions.get::<Self>().and_then(|connection| connection.0.certificate.clone())
    }

    /// The address from which the request with these extensions came: that of the last proxy, if
    /// there is one. `None` if the connection is not from [`crate::serve_grpc`] or
    /// [`crate::serve_http`].
    pub fn address(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|connection| connection.0.address)
    }
}

/// The progress of a gRPC connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionEnds {
    /// Fires when its streams must end.
    pub(crate) leaving: CancellationToken,
    /// Fires when it is closed.
    pub(crate) closed: CancellationToken,
}

/// A gRPC connection that holds its permit, and fails if HTTP/2 does not begin in time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: MaybeTls<TcpStream>,
    /// How many bytes are missing until HTTP/2 has begun, and the time by which they must arrive;
    /// absent once it has begun.
    begin: Option<(usize, Pin<Box<Sleep>>)>,
    pub(crate) caller: CallerConnection,
    _closed: DropGuard,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(crate) fn new(accepted: Begun, ends: &ConnectionEnds) -> Self {
        let begin = Some((HTTP2_BEGINS_BYTES, Box::pin(tokio::time::sleep_until(accepted.begin_by))));
        let ConnectionEnds { leaving, closed } = ends.clone();
        let certificate = accepted.certificate.as_ref().map(|certificate| certificate.names().clone());
        let caller = CallerConnection::new(leaving, certificate, accepted.address);
        Self { stream: accepted.stream, begin, caller, _closed: closed.drop_guard(), _permit: accepted.permit }
    }
}

impl Connected for Connection {
    type ConnectInfo = CallerConnection;

    fn connect_info(&self) -> CallerConnection {
        self.caller.clone()
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
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{Limits, listen::LimitedListener};

    const LIMITS: Limits =
        Limits { name: "test", connections_max: 2, first_within: Duration::from_secs(1), idle: Duration::from_secs(2) };

    /// Accepts one connection and reads it to its end; returns how many bytes arrived, or the
    /// error.
    async fn read_all(listener: TcpListener) -> io::Result<usize> {
        let accepted = LimitedListener::new(listener.into(), LIMITS).next().await;
        let ends = ConnectionEnds { leaving: CancellationToken::new(), closed: CancellationToken::new() };
        let begun = accepted.begin(&ends.leaving).await.unwrap();
        let mut connection = Connection::new(begun, &ends);
        connection.read_to_end(&mut Vec::new()).await
    }

    #[test]
    fn the_certificate_and_the_address_of_a_caller_are_in_the_extensions_of_its_requests() {
        let address = IpAddr::from([10, 0, 0, 7]);
        let certificate = PeerCertificate::new(vec!["pos.example".into()], vec!["spiffe://example/pos".into()]);
        let mut extensions = Extensions::new();
        assert_eq!(CallerConnection::certificate(&extensions), None);
        extensions.insert(CallerConnection::new(CancellationToken::new(), Some(certificate.clone()), address));
        assert_eq!(CallerConnection::certificate(&extensions), Some(certificate));
        assert_eq!(CallerConnection::address(&extensions), Some(address));
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
}
