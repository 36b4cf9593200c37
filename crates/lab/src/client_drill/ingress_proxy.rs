//! The address at which the clients of the drill reach the ingress: a TCP proxy that decides what
//! becomes of their connections while the ingress is down. It only forwards bytes, so TLS is
//! between a client and the ingress.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// The pause before the next attempt to reach the ingress.
const PAUSE: Duration = Duration::from_millis(20);

/// A running proxy; it accepts no connection any more once this is dropped.
pub(super) struct IngressProxy {
    /// The address at which it accepts connections.
    pub(super) address: SocketAddr,
    refuses: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl IngressProxy {
    /// Starts a proxy to this ingress. A connection waits while the ingress is down.
    pub(super) async fn start(ingress: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let refuses = Arc::new(AtomicBool::new(false));
        let refusing = refuses.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, ingress, refusing.clone()));
            }
        });
        Ok(Self { address, refuses, task })
    }

    /// From now on a connection is closed if the ingress is down.
    pub(super) fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }
}

impl Drop for IngressProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards one connection until either side ends it.
async fn forward(mut client: TcpStream, ingress: SocketAddr, refuses: Arc<AtomicBool>) {
    let mut server = loop {
        match TcpStream::connect(ingress).await {
            Ok(server) => break server,
            Err(_) if refuses.load(Ordering::Relaxed) => return,
            Err(_) => sleep(PAUSE).await,
        }
    };
    drop(copy_bidirectional(&mut client, &mut server).await);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::launch::ReservedAddresses;

    #[tokio::test]
    async fn a_connection_waits_for_the_ingress_or_is_closed() {
        let mut reserved = ReservedAddresses::default();
        let [ingress] = reserved.reserve().unwrap();
        let proxy = IngressProxy::start(ingress).await.unwrap();
        let mut waiting = TcpStream::connect(proxy.address).await.unwrap();
        waiting.write_all(b"sent before").await.unwrap();

        let listener = TcpListener::bind(ingress).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut text = [0; 11];
        accepted.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"sent before");

        proxy.refuse();
        drop((accepted, listener));
        assert_eq!(waiting.read(&mut text).await.unwrap_or(0), 0, "the end of the ingress ends the connection");
        let mut closed = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(closed.read(&mut text).await.unwrap_or(0), 0, "it is closed while the ingress is down");
    }
}
