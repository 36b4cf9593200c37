//! The byte stream of a connection to a backend. Before each write it asks whether anything may be
//! written any more; if not, the write fails, and the connection is closed. It inserts the pings by
//! which the backend confirms what was delivered: those of the HTTP/2 library are sent only while
//! the backend is silent.

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

use super::{
    delivery::Delivery,
    frames::{FrameScanner, PING_FRAME},
};

/// A socket whose writes are checked. Vectored writes are not offered, so that the bytes that were
/// written are known.
pub(super) struct GuardedIo {
    socket: TcpStream,
    delivery: Arc<Delivery>,
    sent: FrameScanner,
    received: FrameScanner,
    /// What is still to be written of a ping.
    ping: &'static [u8],
}

impl GuardedIo {
    pub(super) fn new(socket: TcpStream, delivery: Arc<Delivery>) -> Self {
        Self { socket, delivery, sent: FrameScanner::of_client(), received: FrameScanner::of_server(), ping: &[] }
    }

    /// Writes to the socket, if anything may be written.
    fn poll_checked(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.delivery.check_write().map_err(aborted)?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    /// Writes a ping if one is due. While it is written in part, no other byte may follow.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ping.is_empty() && self.sent.is_between_frames() && self.delivery.take_ping() {
            self.ping = PING_FRAME;
        }
        while !self.ping.is_empty() {
            let taken = ready!(self.poll_checked(context, self.ping))?;
            self.ping = &self.ping[taken..];
        }
        Poll::Ready(Ok(()))
    }
}

fn aborted(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

impl AsyncRead for GuardedIo {
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
        ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
        if this.received.take_ping_answers(&mut buffer.filled_mut()[before..]) > 0 {
            this.delivery.ping_answered();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_ping(context))?;
        let taken = ready!(this.poll_checked(context, bytes))?;
        this.sent.scan(&bytes[..taken]);
        this.delivery.written(this.sent.data());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
