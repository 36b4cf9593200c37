//! Sends one HTTP request, once. A connection carries one request at a time and is used again for a
//! short time. No code here repeats a request: after a failure it is unknown whether the request
//! arrived.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use twqr_service::Clock;

use crate::{calls::Outgoing, config::Backend};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

type Connection = http1::SendRequest<Full<Bytes>>;

/// What became of a request.
pub(crate) enum Sent {
    /// The HTTP status and the body of the answer.
    Answered(u16, Bytes),
    /// Nothing was sent, because `send_by` had passed.
    TooLate,
    /// It may or may not have arrived, for this reason.
    Unknown(&'static str),
}

/// Sends requests to one HTTP backend.
pub(crate) struct Sender {
    backend: Backend,
    clock: Arc<dyn Clock>,
    /// Connections that wait for a next request, with the time of their last answer.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Sender {
    pub(crate) fn new(backend: Backend, clock: Arc<dyn Clock>) -> Self {
        Self { backend, clock, idle: Mutex::default() }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn send(&self, outgoing: &Outgoing<'_>) -> Sent {
        let answer_within = Duration::from_millis(self.backend.answer_ms);
        // Once the time is over, the connection is dropped: its answer would be another call's.
        timeout(answer_within, self.exchange(outgoing)).await.unwrap_or(Sent::Unknown("no answer in time"))
    }

    async fn exchange(&self, outgoing: &Outgoing<'_>) -> Sent {
        let Some(request) = self.request(outgoing) else { return Sent::Unknown("the request cannot be written") };
        let Some(mut connection) = self.connection().await else { return Sent::Unknown("no connection") };
        // The last moment at which the call can still be held back.
        if outgoing.send_by_ms.is_some_and(|send_by| self.clock.now().0 > send_by) {
            return Sent::TooLate;
        }
        let Ok(response) = connection.send_request(request).await else {
            return Sent::Unknown("the connection broke");
        };
        let status = response.status().as_u16();
        let Ok(body) = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await else {
            return Sent::Unknown("the answer is incomplete or too long");
        };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
        Sent::Answered(status, body.to_bytes())
    }

    fn request(&self, outgoing: &Outgoing<'_>) -> Option<Request<Full<Bytes>>> {
        let host = self.backend.host.clone().unwrap_or_else(|| self.backend.address.to_string());
        let mut request = Request::post(outgoing.path).header("host", host).header("content-type", "application/json");
        for (name, value) in &self.backend.headers.0 {
            request = request.header(name, value);
        }
        if let Some(name) = &self.backend.idempotency_header
            && !outgoing.number.is_empty()
        {
            request = request.header(name, outgoing.number);
        }
        request.body(Full::new(Bytes::from(outgoing.body.to_string()))).ok()
    }

    /// A fresh connection that waits, or a new one.
    async fn connection(&self) -> Option<Connection> {
        while let Some(mut connection) = self.waiting() {
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
        let connecting = TcpStream::connect(self.backend.address);
        let stream = timeout(Duration::from_millis(self.backend.connect_ms), connecting).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        // What is not delivered when the connection is dropped is discarded, not sent later.
        stream.set_zero_linger().ok()?;
        let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // It ends with the connection; its error reaches the request that waits.
        tokio::spawn(async move { drop(driver.await) });
        connection.ready().await.ok()?;
        Some(connection)
    }

    fn waiting(&self) -> Option<Connection> {
        let fresh = Duration::from_millis(self.backend.idle_ms);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(connection, since)| since.elapsed() < fresh && !connection.is_closed());
        idle.pop().map(|(connection, _)| connection)
    }
}
