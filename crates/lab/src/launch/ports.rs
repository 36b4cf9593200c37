//! Loopback addresses: finding free ones, and waiting until a process serves there.

use std::{
    net::{SocketAddr, TcpListener},
    ops::Range,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};
use twqr_config::Config;

/// Ports that Linux does not give to outgoing connections by default, so that a free one stays
/// free while its process is restarted.
const PORTS: Range<u16> = 12_000..32_000;
/// How many ports are tried.
const PORT_ATTEMPTS_MAX: u32 = 1_000;
/// How long a process may take until it serves, in attempts of 50 ms.
const CONNECT_ATTEMPTS_MAX: u32 = 1_200;
/// How long a process may take to answer a health check, in ms.
const HEALTH_CHECK_MS_MAX: u64 = 2_000;

/// Returns loopback addresses that are free now.
pub fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(N);
    for _ in 0..PORT_ATTEMPTS_MAX {
        if listeners.len() == N {
            break;
        }
        let port = rand::rng().random_range(PORTS);
        listeners.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    let addresses: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow!("no free ports between {} and {}", PORTS.start, PORTS.end))
}

/// Returns the configuration with free loopback addresses for everything that listens.
pub fn on_free_ports(mut config: Config) -> anyhow::Result<Config> {
    [config.grpc, config.pos_http, config.admin, config.operators, config.wallet, config.fisc] = free_addresses()?;
    Ok(config)
}

/// Fails if one of the addresses is in use.
pub(super) fn check_free(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    for address in addresses {
        TcpListener::bind(address)
            .with_context(|| format!("{address} is in use; stop what listens there, or configure another address"))?;
    }
    Ok(())
}

/// Waits until a gRPC server accepts connections at `address`, at most a minute.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    for _ in 0..CONNECT_ATTEMPTS_MAX {
        if let Ok(channel) = endpoint.connect().await {
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
    let check = async {
        let mut stream = tokio::net::TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_millis(HEALTH_CHECK_MS_MAX), check).await;
    matches!(answer, Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200"))
}
