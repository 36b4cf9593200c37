//! Loopback addresses: reserving free ones for the processes that a launcher starts, and waiting
//! until a process serves there.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use tonic::transport::{Channel, Endpoint};
use twqr_config::{Config, PeerAddress};
use twqr_service::GatheringConnector;

use super::certificates;

/// How long a process may take until it serves, in attempts of 50 ms.
const CONNECT_ATTEMPTS_MAX: u32 = 1_200;
/// How long a process may take to answer a health check, in ms.
const HEALTH_CHECK_MS_MAX: u64 = 2_000;

/// Loopback addresses that are kept free for the processes of a launcher until this is dropped.
///
/// A socket is bound to each address but does not listen, so the system gives its port to no other
/// launcher and to no outgoing connection. A process that is told the address can listen there,
/// because both sockets allow the reuse of addresses, and a later one can listen there again.
/// Meanwhile connections are refused, as they are where a process has ended.
#[derive(Debug, Default)]
pub struct ReservedAddresses(Vec<TcpSocket>);

impl ReservedAddresses {
    /// Reserves `N` more addresses. Fails if the system has no free port or no free file.
    pub fn reserve<const N: usize>(&mut self) -> anyhow::Result<[SocketAddr; N]> {
        let addresses = (0..N).map(|_| self.reserve_one().context("no free port on loopback"));
        let addresses: Vec<SocketAddr> = addresses.collect::<anyhow::Result<_>>()?;
        addresses.try_into().map_err(|_| anyhow!("{N} addresses were to be reserved"))
    }

    /// Returns the configuration with reserved addresses for everything that listens.
    pub fn assign_to(&mut self, mut config: Config) -> anyhow::Result<Config> {
        [config.grpc, config.pos_http, config.admin, config.operators] = self.reserve()?;
        [config.wallet, config.fisc] = self.reserve()?.map(PeerAddress::from);
        Ok(config)
    }

    fn reserve_one(&mut self) -> std::io::Result<SocketAddr> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // Only after binding: before it, the system could choose a port that another launcher has
        // reserved in the same way.
        socket.set_reuseaddr(true)?;
        let address = socket.local_addr()?;
        self.0.push(socket);
        Ok(address)
    }
}

/// Fails if one of the addresses is in use.
pub(super) fn check_free(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    for address in addresses {
        TcpListener::bind(address)
            .with_context(|| format!("{address} is in use; stop what listens there, or configure another address"))?;
    }
    Ok(())
}

/// An endpoint and its connector, with TLS if this process has certificates.
pub(super) fn endpoint(address: impl Display) -> anyhow::Result<(Endpoint, GatheringConnector)> {
    let scheme = if certificates::are_issued() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?.tcp_nodelay(true);
    let tls = twqr_client::certificates(endpoint.uri())?;
    Ok((endpoint, GatheringConnector { tls }))
}

/// Waits until a gRPC server accepts connections at `address`, at most a minute.
pub async fn connect(address: impl Display) -> anyhow::Result<Channel> {
    let (endpoint, connector) = endpoint(&address)?;
    for _ in 0..CONNECT_ATTEMPTS_MAX {
        if let Ok(channel) = endpoint.connect_with_connector(connector.clone()).await {
            return Ok(channel);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no server accepts connections at {address}")
}

/// Whether a server accepts connections at `address` now.
pub(super) async fn is_listening(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}

/// Whether the process with this admin address answers 200 to `/readyz`.
pub async fn is_ready(admin: SocketAddr) -> bool {
    readiness(admin).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What the process with this admin address answers to `/readyz`, in time.
pub(super) async fn readiness(admin: SocketAddr) -> Option<String> {
    admin_page(admin, "/readyz").await
}

/// What the process with this admin address answers to a path such as `/metrics`, in time.
pub async fn admin_page(admin: SocketAddr, path: &str) -> Option<String> {
    let check = async {
        let mut stream = tokio::net::TcpStream::connect(admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    tokio::time::timeout(Duration::from_millis(HEALTH_CHECK_MS_MAX), check).await.ok()?.ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn launches_side_by_side_never_share_an_address() {
        let launch = || {
            let mut reserved = ReservedAddresses::default();
            let addresses: [SocketAddr; 200] = reserved.reserve().unwrap();
            // The processes of the launch listen, and some of them end.
            let listeners: Vec<TcpListener> =
                addresses.iter().map(|address| TcpListener::bind(address).unwrap()).collect();
            (addresses, reserved, listeners.into_iter().step_by(2).collect::<Vec<_>>())
        };
        let launches: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..8).map(|_| scope.spawn(launch)).collect();
            running.into_iter().map(|launch| launch.join().unwrap()).collect()
        });
        let addresses: BTreeSet<SocketAddr> = launches.iter().flat_map(|(addresses, ..)| addresses).copied().collect();
        assert_eq!(addresses.len(), 8 * 200);
    }

    #[test]
    fn an_address_stays_reserved_while_its_process_starts_ends_and_starts_again() {
        let mut reserved = ReservedAddresses::default();
        let [address] = reserved.reserve().unwrap();
        let other_launcher = || TcpSocket::new_v4().unwrap().bind(address);
        for _ in 0..3 {
            assert!(other_launcher().is_err());
            assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens yet");
            let process = TcpListener::bind(address).unwrap();
            assert!(other_launcher().is_err());
            assert!(TcpListener::bind(address).is_err(), "the address has its process");
            drop(std::net::TcpStream::connect(address).unwrap());
            drop(process.accept().unwrap());
        }
        drop(reserved);
        check_free(&[address]).unwrap();
    }
}
