//! A TCP relay that stands for a network which holds packets back and delivers them later. What a
//! sender resets meanwhile is never delivered, as on a real network.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// After a release, no more held bytes are expected once none has come for so long, in ms.
const QUIET_MS: u64 = 200;
const BUFFER_LEN: usize = 16_384;

/// A running relay; it ends when this is dropped.
pub struct Relay {
    /// The address at which it accepts connections.
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Connections with a lower number are held back.
    held_below: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay on a free loopback port; `to` is where it connects each connection.
    pub async fn start(to: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (accepted, held_below) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
        let (count, held) = (accepted.clone(), held_below.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(relay(client, to, Gate { number, held_below: held.subscribe() }));
            }
        });
        Ok(Self { address, accepted, held_below, task })
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Holds back what the clients of the present connections send. Later connections are not
    /// affected.
    pub fn hold_back(&self) {
        self.held_below.send_replace(self.accepted());
    }

    /// Delivers what was held back on connections that are not reset.
    pub fn release(&self) {
        self.held_below.send_replace(0);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether one connection is held back.
struct Gate {
    number: usize,
    held_below: watch::Receiver<usize>,
}

impl Gate {
    fn is_held(&self) -> bool {
        self.number < *self.held_below.borrow()
    }

    /// Waits for the next change.
    async fn changed(&mut self) {
        if self.held_below.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn relay(client: TcpStream, to: SocketAddr, gate: Gate) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    for socket in [&client, &server] {
        // The end of either side resets the other one.
        drop(socket.set_nodelay(true).and_then(|()| socket.set_zero_linger()));
    }
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let answers = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    drop(tokio::try_join!(forward(from_client, to_server, gate), answers));
}

/// Forwards what the client sends. An error means that the connection was reset.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Gate) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        if gate.is_held() {
            while gate.is_held() {
                gate.changed().await;
            }
            let (held, has_ended) = read_held(&mut from, &mut buffer).await?;
            to.write_all(&held).await?;
            if has_ended {
                return to.shutdown().await;
            }
        }
        tokio::select! {
            () = gate.changed() => {}
            read = from.read(&mut buffer) => match read? {
                0 => return to.shutdown().await,
                len => to.write_all(&buffer[..len]).await?,
            }
        }
    }
}

/// Reads what was held back, and whether the client has ended the connection. Fails if the client
/// has reset it: then nothing of it may be delivered.
async fn read_held(from: &mut OwnedReadHalf, buffer: &mut [u8]) -> std::io::Result<(Vec<u8>, bool)> {
    let mut held = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(QUIET_MS), from.read(buffer)).await {
            Err(_) => return Ok((held, false)),
            Ok(read) => match read? {
                0 => return Ok((held, true)),
                len => held.extend_from_slice(&buffer[..len]),
            },
        }
    }
}
