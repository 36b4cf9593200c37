//! The connection to the wallet or FISC: a gRPC stream of calls out, and of answers back. Only
//! this file knows the messages of `proto/twqr/backend/v1`; tests implement [`Backend`] themselves.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Status, transport::Endpoint};
use tracing::{info, warn};
use twqr_service::{LogThrottle, SystemClock};
use twqr_tls::ClientTls;
use twqr_types::UnixMs;
use twqr_wire::{
    backend::{
        ExchangeRequest, ExchangeResponse, backend_service_client::BackendServiceClient, exchange_request::Call as Body,
    },
    convert::{BackendAnswer, backend_answer_from, inquiry_out, transfer_out},
};

use crate::{
    call::{Call, Purpose},
    connection::{Addresses, Connection, Handed, Resolver, SystemResolver, with_limits},
    error::Error,
};

/// The shortest time between two log lines about a missing connection, in ms.
const LOG_MS: u64 = 10_000;

/// The stream from which the transport takes the calls. A call that it has taken may arrive.
pub struct Calls(Pin<Box<dyn Stream<Item = ExchangeRequest> + Send>>);

impl Calls {
    pub(crate) fn new(calls: impl Stream<Item = Call> + Send + 'static) -> Self {
        Self(Box::pin(calls.map(|call| match call.purpose {
            Purpose::Transfer => transfer_out(call.id, &call.task),
            Purpose::Inquiry { .. } => inquiry_out(call.id, &call.task),
        })))
    }
}

impl Stream for Calls {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ExchangeRequest>> {
        self.0.as_mut().poll_next(context)
    }
}

/// The answers, in any order.
pub type Answers = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

/// The wallet or FISC.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Opens a stream. When it ends, calls without an answer may or may not have arrived.
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status>;

    /// Logs that there is no connection, and why. It is called for each attempt of each partition,
    /// since each partition has its own connection.
    fn no_connection(&self, status: &Status);
}

/// Opens a stream, and converts its answers. Each is returned with the id of its call.
pub(crate) async fn exchange(
    backend: &dyn Backend,
    calls: Calls,
) -> Result<impl Stream<Item = Result<(u64, BackendAnswer), Status>> + use<>, Status> {
    let answers = backend.exchange(calls).await?;
    Ok(answers.map(|answer| answer.map(backend_answer_from)))
}

/// How long the backend may take to accept a stream of calls, in ms.
const OPEN_MS: u64 = 5_000;
/// gRPC writes so many bytes before each message.
const PREFIX_LEN: usize = 5;

/// A backend over gRPC (`proto/twqr/backend/v1`). Each stream has a connection of its own, to the
/// address whose turn it is.
#[derive(Clone, Debug)]
pub struct GrpcBackend {
    name: &'static str,
    uri: String,
    endpoint: Endpoint,
    addresses: Arc<Addresses>,
    tls: Option<ClientTls>,
    log: Arc<Mutex<LogThrottle>>,
}

impl GrpcBackend {
    /// `name` is for logs; an example of `uri` is `http://127.0.0.1:17061`.
    pub fn new(name: &'static str, uri: String) -> Result<Self, Error> {
        Self::with_resolver(name, uri, Arc::new(SystemResolver))
    }

    /// A backend that uses this resolver instead of the operating system's.
    pub fn with_resolver(name: &'static str, uri: String, resolver: Arc<dyn Resolver>) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(uri.clone()).map_err(|error| Error::Address(error.to_string()))?;
        let host = endpoint.uri().host().ok_or_else(|| Error::Address(format!("{uri} names no host")))?;
        let addresses = Addresses::new(host, endpoint.uri().port_u16().unwrap_or(80), resolver);
        let log = Arc::new(Mutex::new(LogThrottle::every_ms(LOG_MS)));
        Ok(Self { name, uri, endpoint: with_limits(endpoint), addresses: Arc::new(addresses), tls: None, log })
    }

    /// This backend with TLS on every connection, if TLS is given.
    #[must_use]
    pub fn with_tls(self, tls: Option<ClientTls>) -> Self {
        Self { tls, ..self }
    }

    async fn open(&self, calls: Calls) -> Result<Answers, Status> {
        let unresolved = |error| Status::unavailable(format!("its address cannot be found: {error}"));
        let address = self.addresses.next().await.map_err(unresolved)?;
        let connection = Connection::open(&self.endpoint, address, self.tls.clone(), Arc::new(SystemClock)).await?;
        info!(backend = self.name, %address, "a connection was opened");
        let delivery = connection.delivery.clone();
        let calls = calls.inspect(move |call| delivery.hand_over(handed(call)));
        let answers = BackendServiceClient::new(connection.channel.clone()).exchange(calls).await;
        let answers = answers.map_err(without_codes)?;
        let note = move |answer: &Result<ExchangeResponse, Status>| {
            if let Ok(answer) = answer {
                connection.delivery.answered(answer.call_id);
            }
        };
        Ok(Box::pin(answers.into_inner().map(|answer| answer.map_err(without_codes)).inspect(note)))
    }
}

/// A word of this length may be a card token if it has a digit, or a capital behind its first
/// letter.
const CODE_LEN_MIN: usize = 8;
/// Every word of this length may be one.
const ANY_LEN_MIN: usize = 16;

/// The status that ends a stream, as it may be logged: a backend's own text may repeat the card
/// token of any call on the stream, so its words that may be one are left out. A status with a
/// cause is of this process' connection.
fn without_codes(status: Status) -> Status {
    if std::error::Error::source(&status).is_some() {
        return status;
    }
    let has_mark = |word: &str| {
        word.bytes().enumerate().any(|(n, byte)| byte.is_ascii_digit() || (n > 0 && byte.is_ascii_uppercase()))
    };
    let may_be_code = |word: &str| word.len() >= ANY_LEN_MIN || (word.len() >= CODE_LEN_MIN && has_mark(word));
    let words = status.message().split_whitespace().map(|word| if may_be_code(word) { "***" } else { word });
    Status::new(status.code(), words.collect::<Vec<_>>().join(" "))
}

/// Describes a call that the transport has taken.
fn handed(call: &ExchangeRequest) -> Handed {
    let send_by = match &call.call {
        Some(Body::Charge(charge)) => Some(charge.send_by_ms),
        Some(Body::Refund(refund)) => Some(refund.send_by_ms),
        Some(Body::Reversal(reversal)) => Some(reversal.send_by_ms),
        Some(Body::Inquiry(_)) | None => None,
    };
    let len = (PREFIX_LEN + call.encoded_len()) as u64;
    Handed { call_id: call.call_id, len, send_by: send_by.map(UnixMs) }
}

#[async_trait]
impl Backend for GrpcBackend {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let opened = tokio::time::timeout(Duration::from_millis(OPEN_MS), self.open(calls)).await;
        opened.map_err(|_| Status::deadline_exceeded("the backend has not accepted the stream of calls in time"))?
    }

    fn no_connection(&self, status: &Status) {
        let Some(suppressed) = self.log.lock().unwrap_or_else(PoisonError::into_inner).permit() else { return };
        let Self { name, uri, .. } = self;
        let code = status.code();
        warn!(backend = name, uri, ?code, why = why(status), suppressed, "no connection to the backend; trying again");
    }
}

/// The status' message and its causes, down to the operating system's error text.
fn why(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{io, net::SocketAddr};

    use tokio::net::TcpListener;

    use super::*;

    /// A name whose addresses a test changes.
    #[derive(Debug, Default)]
    struct ChangingName(Mutex<Vec<SocketAddr>>);

    #[async_trait]
    impl Resolver for ChangingName {
        async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            assert_eq!(host, "wallet.payments.svc");
            Ok(self.0.lock().unwrap().clone())
        }
    }

    #[tokio::test]
    async fn connections_go_in_turn_to_the_addresses_that_the_name_has_when_they_are_opened() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for host in ["127.0.0.2", "127.0.0.3"] {
            listeners.push(TcpListener::bind((host, port)).await.unwrap());
        }
        let address = |at: usize| listeners[at].local_addr().unwrap();
        let name = Arc::new(ChangingName(Mutex::new(vec![address(0), address(1)])));
        let uri = format!("http://wallet.payments.svc:{port}");
        let backend = GrpcBackend::with_resolver("the wallet", uri, name.clone()).unwrap();
        // No address answers, and each attempt is given up as soon as its connection is accepted.
        let reached = async || {
            let accepted = async {
                tokio::select! {
                    Ok((socket, _)) = listeners[0].accept() => socket.local_addr().unwrap(),
                    Ok((socket, _)) = listeners[1].accept() => socket.local_addr().unwrap(),
                    Ok((socket, _)) = listeners[2].accept() => socket.local_addr().unwrap(),
                }
            };
            tokio::select! {
                at = accepted => at,
                _ = backend.exchange(Calls::new(futures::stream::pending())) => unreachable!("no address answers"),
            }
        };
        let (a, b) = (reached().await, reached().await);
        assert!(a != b && [a, b].iter().all(|at| [address(0), address(1)].contains(at)), "{a} {b}");
        *name.0.lock().unwrap() = vec![address(2)];
        assert_eq!(reached().await, address(2));
        name.0.lock().unwrap().clear();
        let Err(status) = backend.exchange(Calls::new(futures::stream::pending())).await else {
            unreachable!("the name has no address")
        };
        assert!(why(&status).contains("wallet.payments.svc has no address"), "{}", why(&status));
    }

    #[test]
    fn the_text_with_which_a_backend_ends_a_stream_is_without_card_tokens() {
        for (text, expected) in [
            ("bad code=22abcdefghijklmnop, HTTP status 502", "bad *** HTTP status 502"),
            ("Unknown code abcdefghijklmnopqr", "Unknown code ***"),
            ("unavailable: abCdefgh", "unavailable: ***"),
            ("Upstream closed 3 connections", "Upstream closed 3 connections"),
        ] {
            let logged = without_codes(Status::invalid_argument(text));
            assert_eq!((logged.code(), logged.message()), (tonic::Code::InvalidArgument, expected));
        }
        let own = without_codes(Status::from_error(Box::new(io::Error::other("10.0.0.17:17061 refused"))));
        assert!(why(&own).contains("10.0.0.17:17061 refused"), "{}", why(&own));
    }

    #[tokio::test]
    async fn a_missing_connection_is_explained_down_to_the_systems_error_text() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let backend = GrpcBackend::new("the wallet", format!("http://{free}")).unwrap();
        let Err(status) = backend.exchange(Calls::new(futures::stream::pending())).await else {
            unreachable!("no process listens there")
        };
        assert!(why(&status).contains("Connection refused"), "{}", why(&status));
        assert_eq!(backend.log.lock().unwrap().permit(), Some(0));
        backend.clone().no_connection(&status);
        backend.no_connection(&status);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_millis(LOG_MS)).await;
        assert_eq!(
            backend.log.lock().unwrap().permit(),
            Some(2),
            "the suppressed lines of all partitions are counted together"
        );
    }
}
