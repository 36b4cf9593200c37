//! Gathers what the tasks of one connection send at the same time into one system call. Many calls
//! share an HTTP/2 connection, and one task writes for all of them. When several answers become
//! ready at once, that task would run after the first of them and write it alone. So that task
//! first lets the other ready tasks run: a busy connection then writes several answers at once, an
//! idle one writes immediately.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::{
    codegen::{Service, http::Uri},
    transport::server::Connected,
};
use twqr_tls::{ClientTls, MaybeTls};

/// A byte stream whose owner lets other ready tasks run before it writes. Vectored writes are not
/// offered, so that small messages are copied together.
#[derive(Debug)]
pub struct GatheredWrites<S> {
    stream: S,
    /// Whether the other tasks have had their turn since the last flush.
    has_waited: bool,
}

impl<S> GatheredWrites<S> {
    /// Wraps a stream.
    pub const fn new(stream: S) -> Self {
        Self { stream, has_waited: false }
    }
}

impl<S: Connected> Connected for GatheredWrites<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatheredWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatheredWrites<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_waited {
            self.has_waited = true;
            // A task that wakes itself is queued behind all that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.has_waited = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Opens a caller's connections, each with [`GatheredWrites`].
#[derive(Clone, Debug, Default)]
pub struct GatheringConnector {
    /// Needed for addresses that begin with `https://`.
    pub tls: Option<ClientTls>,
}

impl Service<Uri> for GatheringConnector {
    type Response = TokioIo<GatheredWrites<MaybeTls<TcpStream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let stream = twqr_tls::open(&uri, tls.as_ref()).await?;
            Ok(TokioIo::new(GatheredWrites::new(stream)))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Counts the tasks that had become ready when it is written to.
    struct Counting {
        ready: Arc<AtomicUsize>,
        seen: Arc<AtomicUsize>,
    }

    impl AsyncWrite for Counting {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.seen.store(self.ready.load(Ordering::SeqCst), Ordering::SeqCst);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn tasks_that_are_ready_run_before_a_write() {
        let (ready, seen) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut stream = GatheredWrites::new(Counting { ready: ready.clone(), seen: seen.clone() });
        let written = tokio::spawn(async move { stream.write_all(b"answer").await });
        for _ in 0..5 {
            let ready = ready.clone();
            tokio::spawn(async move { ready.fetch_add(1, Ordering::SeqCst) });
        }
        written.await.unwrap().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 5);
    }
}
