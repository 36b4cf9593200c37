//! The processes that `twqr run` and `twqr bench` start from the own binary: the simulator, and all
//! services; ended whatever happens.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
};
use tonic::transport::{Channel, Endpoint};

use crate::{config::Config, run_dir};

/// How long a process may take until it serves, in attempts of 50 ms.
const CONNECT_ATTEMPTS_MAX: u32 = 600;
/// How long a process may take to end after SIGTERM, in s.
const END_S_MAX: u64 = 15;

/// Simulator and services, each a process; killed when this is dropped.
pub(crate) struct Processes {
    services: Child,
    simulator: Child,
    /// The configuration that both were started with.
    pub(crate) config: Config,
}

impl Processes {
    /// Empties `dir`, and starts both with their data in it. `script` is the simulator's fault
    /// script.
    pub(crate) async fn start(dir: &Path, script: Option<&Path>, config: &Config) -> anyhow::Result<Self> {
        for address in [config.grpc, config.pos_http, config.admin, config.operators, config.wallet, config.fisc] {
            let free = TcpListener::bind(address).await;
            free.with_context(|| {
                format!("{address} is not free; end what listens there, or configure another address")
            })?;
        }
        run_dir::empty(dir)?;
        let config = Config { data_dir: dir.join("data"), simulator_data_dir: dir.join("simulator"), ..config.clone() };
        let file = run_dir::write_config(dir, &config)?;
        let mut arguments: Vec<&OsStr> = vec!["simulator".as_ref()];
        arguments.extend(script.into_iter().flat_map(|script| ["--script".as_ref(), script.as_os_str()]));
        let simulator = own_process(Some(&file), &arguments)?.spawn().context("cannot start the simulator")?;
        connect(config.wallet).await?;
        let services = own_process(Some(&file), &["up".as_ref()])?.spawn().context("cannot start the services")?;
        connect(config.grpc).await?;
        Ok(Self { services, simulator, config })
    }

    /// The process of all services.
    pub(crate) fn services_id(&self) -> Option<u32> {
        self.services.id()
    }

    /// The process of the simulator.
    pub(crate) fn simulator_id(&self) -> Option<u32> {
        self.simulator.id()
    }

    /// SIGTERM to each, and a bounded wait.
    pub(crate) async fn end(&mut self) {
        end(&mut self.services).await;
        end(&mut self.simulator).await;
    }
}

/// SIGTERM and a bounded wait.
pub(crate) async fn end(child: &mut Child) {
    if let Some(id) = child.id() {
        drop(Command::new("kill").arg(id.to_string()).status().await);
    }
    if tokio::time::timeout(Duration::from_secs(END_S_MAX), child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}

/// The own binary with these arguments; killed when it is dropped.
pub(crate) fn own_process(config: Option<&PathBuf>, arguments: &[&OsStr]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Waits until somebody serves gRPC there.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    for _ in 0..CONNECT_ATTEMPTS_MAX {
        if let Ok(channel) = endpoint.connect().await {
            return Ok(channel);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nobody serves at {address}")
}

/// Whether the process with this admin address says that it is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
    matches!(answer, Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200"))
}

/// Ports that no system gives to outgoing connections by itself, so that one that is free stays so
/// while its process is started anew.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// How many ports are tried.
const PORT_ATTEMPTS_MAX: u32 = 1_000;

/// Loopback addresses that are free now.
pub(crate) fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let mut listeners: Vec<std::net::TcpListener> = Vec::with_capacity(N);
    for _ in 0..PORT_ATTEMPTS_MAX {
        if listeners.len() == N {
            break;
        }
        let port = rand::rng().random_range(PORTS);
        listeners.extend(std::net::TcpListener::bind(("127.0.0.1", port)));
    }
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("no free ports between {} and {}", PORTS.start, PORTS.end))
}
