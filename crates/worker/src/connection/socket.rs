//! Opens the socket of a connection to a backend. Its options limit how long the kernel keeps
//! undelivered bytes: while the process runs or is stopped, and after it has died.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tonic::codegen::{Service, http::Uri};
use twqr_tls::{ClientTls, MaybeTls};

use super::{
    delivery::Delivery,
    guarded_io::{CheckedSocket, GuardedIo},
};

/// How long bytes may stay without an acknowledgement of the backend's kernel, in ms.
pub(super) const USER_TIMEOUT_MS: u32 = 2_500;
/// The size of the kernel's buffer of bytes to send: small, so that few of them can wait.
const SEND_BUFFER_LEN: usize = 65_536;
/// An idle connection is probed after this time, and again after as long, in s.
const KEEPALIVE_S: u64 = 1;
/// An idle connection is closed after so many probes without an answer.
const KEEPALIVE_PROBES: u32 = 2;

/// Opens one connection for tonic.
pub(super) struct Connector {
    address: SocketAddr,
    tls: Option<ClientTls>,
    delivery: Arc<Delivery>,
}

impl Connector {
    pub(super) fn new(address: SocketAddr, tls: Option<ClientTls>, delivery: Arc<Delivery>) -> Self {
        Self { address, tls, delivery }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<GuardedIo>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<GuardedIo>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (address, tls, delivery) = (self.address, self.tls.clone(), self.delivery.clone());
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            bound(&socket)?;
            let socket = CheckedSocket::new(socket, delivery.clone());
            let stream = match tls {
                Some(tls) => tls.connect(twqr_tls::host(&uri), socket).await?,
                None => MaybeTls::Plain(socket),
            };
            Ok(TokioIo::new(GuardedIo::new(stream, delivery)))
        })
    }
}

/// Sets the options of the socket.
fn bound(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // Closing the socket, also by the death of the process, discards what is not delivered, and
    // resets the connection.
    socket.set_zero_linger()?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS)?;
    let keepalive = Duration::from_secs(KEEPALIVE_S);
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, keepalive)?;
    sockopt::set_tcp_keepintvl(socket, keepalive)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER_LEN)?;
    Ok(())
}
