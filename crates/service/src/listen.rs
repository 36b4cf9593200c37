//! Accepts connections, for every listener of the product. Each listener limits its open
//! connections: a connection above the limit is closed at once. A failed accept does not end the
//! listener. A connection that sends no request, or only a part of one, is closed after a while, so
//! that it does not use up the limit. A TLS handshake counts towards both the limit and the time.

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, warn};
use twqr_tls::{HANDSHAKE_FAULTS, MaybeTls, ServerTls, VerifiedCertificate, handshake_fault};

use crate::{
    CancellationToken, Listener, LogThrottle,
    metrics::{CONNECTIONS_REFUSED, CONNECTIONS_UNTRUSTED, HANDSHAKES_FAILED},
    open_files::open_files_share,
};

/// The pause after a failed accept (for example with too many open files), in ms.
const PAUSE_MS: u64 = 50;
/// The shortest time between two log lines about refused connections or failed accepts, in ms.
const LOG_MS: u64 = 1_000;
/// How long a new connection may take until its first request, or the beginning of HTTP/2, has
/// arrived, in ms.
const FIRST_WITHIN_MS: u64 = 10_000;
/// How long an HTTP/1 connection may stay open without a new request, in ms. Longer than any answer
/// takes.
const IDLE_MS: u64 = 60_000;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The listener's name in metrics and logs.
    pub(crate) name: &'static str,
    pub(crate) connections_max: usize,
    /// How long a new connection may take until its first request, or the beginning of HTTP/2, has
    /// arrived.
    pub(crate) first_within: Duration,
    /// How long an HTTP/1 connection may stay open without a new request.
    pub(crate) idle: Duration,
}

impl Limits {
    /// The limits of a public listener: a fifth of the process's open files, at most 16,384
    /// connections.
    pub fn public(name: &'static str) -> Self {
        Self::new(name, open_files_share(20).min(16_384))
    }

    /// The limits of a listener for operators and their tools: a twentieth of the process's open
    /// files, at most 256 connections. Public listeners cannot use them up.
    pub fn operators(name: &'static str) -> Self {
        Self::new(name, open_files_share(5).min(256))
    }

    const fn new(name: &'static str, connections_max: usize) -> Self {
        let (first_within, idle) = (Duration::from_millis(FIRST_WITHIN_MS), Duration::from_millis(IDLE_MS));
        Self { name, connections_max, first_within, idle }
    }
}

/// Accepts connections until shutdown and serves each, then waits at most `drain` for those that
/// are open. Returns how many were still open after that, and were cut off.
pub(crate) async fn serve_each<F>(
    listener: Listener,
    limits: Limits,
    shutdown: &CancellationToken,
    drain: Duration,
    serve: impl Fn(Accepted) -> F,
) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = LimitedListener::new(listener, limits);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.next() => {
                open.spawn(serve(accepted));
            }
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while open.join_next().await.is_some() {} };
    drop(tokio::time::timeout(drain, drained).await);
    open.len()
}

/// A connection that was accepted. It counts as open until its permit is dropped.
pub(crate) struct Accepted {
    stream: TcpStream,
    address: IpAddr,
    tls: Option<ServerTls>,
    limits: Limits,
    permit: OwnedSemaphorePermit,
    /// The time by which its first request, or the beginning of HTTP/2, must have arrived.
    begin_by: Instant,
}

/// A connection on which TLS has begun, if the listener has it.
pub(crate) struct Begun {
    pub(crate) stream: MaybeTls<TcpStream>,
    pub(crate) certificate: Option<VerifiedCertificate>,
    /// The address of the other side.
    pub(crate) address: IpAddr,
    pub(crate) permit: OwnedSemaphorePermit,
    /// The time by which its first request, or the beginning of HTTP/2, must have arrived.
    pub(crate) begin_by: Instant,
}

impl Accepted {
    /// Begins TLS, if the listener has it. `None` if it does not begin in time, or before shutdown.
    pub(crate) async fn begin(self, shutdown: &CancellationToken) -> Option<Begun> {
        let Self { stream, address, tls, limits, permit, begin_by } = self;
        let Some(tls) = tls else {
            return Some(Begun { stream: MaybeTls::Plain(stream), certificate: None, address, permit, begin_by });
        };
        let why = tokio::select! {
            () = shutdown.cancelled() => return None,
            shaken = tokio::time::timeout_at(begin_by, tls.accept(stream)) => match shaken {
                Ok(Ok((stream, certificate))) => return Some(Begun { stream, certificate, address, permit, begin_by }),
                Ok(Err(error)) => {
                    debug!(listener = limits.name, %error, "a connection ended before TLS had begun");
                    handshake_fault(&error)
                }
                Err(_) => LATE,
            },
        };
        HANDSHAKES_FAILED.counter(&[limits.name, why]).increment(1);
        None
    }
}

/// Waits until the certificate of a connection's caller is no longer accepted; for ever, if the
/// caller has shown none. `name` is that of the listener.
pub(crate) async fn until_untrusted(certificate: Option<VerifiedCertificate>, name: &'static str) {
    let Some(certificate) = certificate else { return std::future::pending().await };
    let error = certificate.refused().await;
    CONNECTIONS_UNTRUSTED.counter(&[name]).increment(1);
    debug!(listener = name, %error, "a connection ends: the certificate of its caller is no longer accepted");
}

/// The reason of a handshake that did not end in time, in metrics.
const LATE: &str = "late";

/// A listener with a limit on its open connections.
pub(crate) struct LimitedListener {
    listener: Listener,
    limits: Limits,
    permits: Arc<Semaphore>,
    log: LogThrottle,
}

impl LimitedListener {
    pub(crate) fn new(listener: Listener, limits: Limits) -> Self {
        CONNECTIONS_REFUSED.describe();
        CONNECTIONS_REFUSED.touch(&[limits.name]);
        CONNECTIONS_UNTRUSTED.describe();
        CONNECTIONS_UNTRUSTED.touch(&[limits.name]);
        HANDSHAKES_FAILED.describe();
        for why in HANDSHAKE_FAULTS.iter().chain([&LATE]) {
            HANDSHAKES_FAILED.touch(&[limits.name, why]);
        }
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, limits, permits, log: LogThrottle::every_ms(LOG_MS) }
    }

    /// Accepts the next connection.
    pub(crate) async fn next(&mut self) -> Accepted {
        let Limits { name, connections_max, .. } = self.limits;
        loop {
            match self.listener.socket.accept().await {
                Ok((stream, from)) => {
                    if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                        // Without this option the system may hold an answer back to send it with
                        // more data. If the option cannot be set, answers are only slower.
                        drop(stream.set_nodelay(true));
                        let (tls, begin_by) = (self.listener.tls.clone(), Instant::now() + self.limits.first_within);
                        let address = from.ip().to_canonical();
                        return Accepted { stream, address, tls, limits: self.limits, permit, begin_by };
                    }
                    CONNECTIONS_REFUSED.counter(&[name]).increment(1);
                    if let Some(suppressed) = self.log.permit() {
                        warn!(
                            listener = name, %from, suppressed,
                            "a connection was closed at once: {connections_max} connections are open, which is \
                             the limit; raise the limit of open files (ulimit -n) to allow more"
                        );
                    }
                }
                Err(error) => {
                    if let Some(suppressed) = self.log.permit() {
                        warn!(listener = name, %error, suppressed, "a connection could not be accepted; trying again");
                    }
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
