//! The sockets of a process's listeners. A process binds all of them before it connects to
//! anything: an outgoing connection may take any free port. It starts to listen once it can serve.
//! Until then connections are refused, so that callers try another process instead of waiting.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};
use twqr_tls::ServerTls;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// An address that belongs to this process, and where nothing listens yet.
#[derive(Debug)]
pub struct BoundSocket {
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
    tls: Option<ServerTls>,
}

/// A listener with or without TLS.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<ServerTls>,
}

impl Listener {
    /// The address on which it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// A process cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("{key} cannot listen on {address}: {error}")]
pub struct ListenError {
    /// The key of the address in the configuration.
    key: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl BoundSocket {
    /// Binds the address of a key of the configuration; port 0 is any free port.
    pub fn bind(key: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Connections of a process that has just ended may still hold the port.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = bind().map_err(|error| ListenError { key, address, error })?;
        Ok(Self { key, address, socket, tls: None })
    }

    /// This socket with TLS required on every connection, if TLS is given.
    #[must_use]
    pub fn with_tls(self, tls: Option<ServerTls>) -> Self {
        Self { tls, ..self }
    }

    /// Binds any free port on loopback, for tests.
    pub fn on_loopback(key: &'static str) -> Result<Self, ListenError> {
        Self::bind(key, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The address that is bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen.
    pub fn listen(self) -> Result<Listener, ListenError> {
        let Self { key, address, socket, tls } = self;
        let socket = socket.listen(BACKLOG).map_err(|error| ListenError { key, address, error })?;
        Ok(Listener { socket, tls })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bound_address_is_taken_at_once_and_refuses_callers_until_it_listens() {
        let socket = BoundSocket::on_loopback("grpc").unwrap();
        let address = socket.address();
        assert!(std::net::TcpListener::bind(address).is_err() || std::net::TcpStream::connect(address).is_err());
        assert_eq!(std::net::TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let _listener = socket.listen().unwrap();
        std::net::TcpStream::connect(address).unwrap();
        let error = BoundSocket::bind("admin", address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("admin cannot listen on {address}: ")), "{error}");
    }
}
