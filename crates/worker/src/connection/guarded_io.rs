//! The byte stream of a connection to a backend. Before each write to the socket it checks whether
//! data may still be written; if not, the write fails, and the connection is closed. TLS is a layer
//! above this stream: data that TLS buffers is checked when it is written to the socket, and does
//! not count as written before. The stream also inserts the pings by which the backend confirms the
//! delivery: those of the HTTP/2 library are sent only while the backend is silent.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use twqr_tls::MaybeTls;

use super::{
    delivery::Delivery,
    frames::{FrameScanner, PING_FRAME},
};

/// A socket whose writes are checked. Vectored writes are not offered, so that the bytes that were
/// written are known.
pub(super) struct CheckedSocket<S = TcpStream> {
    socket: S,
    delivery: Arc<Delivery>,
}

impl<S> CheckedSocket<S> {
    pub(super) fn new(socket: S, delivery: Arc<Delivery>) -> Self {
        Self { socket, delivery }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CheckedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.delivery.check_write().map_err(aborted)?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// The stream of HTTP/2 frames on a connection, with the pings.
pub(super) struct GuardedIo<S = TcpStream> {
    stream: MaybeTls<CheckedSocket<S>>,
    delivery: Arc<Delivery>,
    sent: FrameScanner,
    received: FrameScanner,
    /// The bytes of a ping that are not written yet.
    ping: &'static [u8],
    /// Whether TLS may keep bytes that it has taken.
    is_kept: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> GuardedIo<S> {
    pub(super) fn new(stream: MaybeTls<CheckedSocket<S>>, delivery: Arc<Delivery>) -> Self {
        let (sent, received) = (FrameScanner::of_client(), FrameScanner::of_server());
        Self { stream, delivery, sent, received, ping: &[], is_kept: false }
    }

    /// Waits until the socket has taken all bytes.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_kept {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_kept = false;
            self.delivery.written(self.sent.data());
        }
        Poll::Ready(Ok(()))
    }

    /// Hands bytes to the socket, with or without TLS. Before that, it has taken all earlier ones.
    fn poll_hand_over(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(context))?;
        let taken = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.is_kept = true;
        Poll::Ready(Ok(taken))
    }

    /// Writes a ping if one is due. While it is written in part, no other byte may follow.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(context))?;
        if self.ping.is_empty() && self.sent.is_between_frames() && self.delivery.take_ping() {
            self.ping = PING_FRAME;
        }
        while !self.ping.is_empty() {
            let taken = ready!(self.poll_hand_over(context, self.ping))?;
            self.ping = &self.ping[taken..];
        }
        self.poll_written(context)
    }
}

fn aborted(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.delivery.check_usable(context.waker()).map_err(aborted)?;
        if let Poll::Ready(Err(error)) = this.poll_ping(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if this.received.take_ping_answers(&mut buffer.filled_mut()[before..]) > 0 {
            this.delivery.ping_answered();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_ping(context))?;
        let taken = ready!(this.poll_hand_over(context, bytes))?;
        this.sent.scan(&bytes[..taken]);
        // What is still kept is written by the next flush, which the HTTP/2 library asks for.
        match this.poll_written(context)? {
            Poll::Ready(()) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
