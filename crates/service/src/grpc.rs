//! Serves gRPC on one listener. Callers keep their connections, and would never find processes that
//! start later; so a connection that has become old is asked to end. Streams that would not end by
//! themselves are ended at shutdown.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rand::Rng;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
    service::Routes,
    transport::{Server, server::Router},
};
use tracing::debug;

use crate::{
    CallerConnection, CancellationToken, GatheredWrites, Limits, Listener,
    connection::{Connection, ConnectionEnds},
    listen::{Accepted, serve_each, until_untrusted},
    read_whole,
};

/// The time between two pings on a gRPC connection, in s.
const PING_EVERY_S: u64 = 20;
/// How long the other side of a gRPC connection may take to answer a ping, in s.
const PING_WITHIN_S: u64 = 20;
/// How many streams of a connection may be open at once; a client that needs more waits, or opens
/// another connection.
const STREAMS_MAX: u32 = 4_096;
/// The greatest size of a call's headers, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How many streams may be reset by the caller before they are handled; then the connection ends.
const RESETS_MAX: usize = 20;
/// How many streams may be reset or refused, over the life of a connection, for what the caller did
/// wrong; then it ends. The library has no such limit unless it is set, and each reset waits until
/// the caller reads it.
const ERRORS_MAX: usize = 1_024;
/// An age is changed at random by at most this share of it, so that connections that began together
/// do not end together.
const AGE_JITTER: f64 = 0.1;

/// How a gRPC listener treats its connections.
#[derive(Clone, Copy, Debug)]
pub struct GrpcSettings {
    /// How many connections may be open.
    pub limits: Limits,
    /// The age at which a caller is asked to reconnect, plus or minus a tenth; absent if there is
    /// no such age. Calls in progress continue, and streams may stay for as long again.
    pub age: Option<Duration>,
    /// How long calls in flight may take at shutdown.
    pub drain: Duration,
}

/// What a call of a service that a listener does not have is told.
pub const NO_SUCH_SERVICE: &str =
    "this listener has no such service: check the address, and compare the name of the service with the contract";

/// What a call of a method that a service does not have is told.
pub const NO_SUCH_METHOD: &str =
    "the service has no such method: compare its name with the contract, and the contract with the build";

/// A gRPC server that pings its connections, so that it notices when the other side is dead, and
/// bounds what one of them may take. Services are added to it; it refuses the calls of others.
pub fn grpc_server() -> Router {
    grpc_server_refusing(|| Status::unimplemented(NO_SUCH_SERVICE))
}

/// The same, with the refusal of a call of another service.
pub fn grpc_server_refusing(refusal: fn() -> Status) -> Router {
    refusing_others(bounded_server(), refusal)
}

/// The same, with how much of a stream, and of all streams of a connection, may arrive before it is
/// read, in bytes.
pub fn grpc_server_with_windows(stream: u32, connection: u32, refusal: fn() -> Status) -> Router {
    let server = bounded_server();
    refusing_others(server.initial_stream_window_size(stream).initial_connection_window_size(connection), refusal)
}

fn bounded_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(PING_EVERY_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_WITHIN_S)))
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(ERRORS_MAX))
}

/// A router that refuses the calls of services that it does not have. The library would not read
/// their messages.
fn refusing_others(mut server: Server, refusal: fn() -> Status) -> Router {
    let refuse = move |request: axum::extract::Request| refused(request, refusal);
    server.add_routes(Routes::from(axum::Router::new().fallback(refuse)))
}

fn refused(request: axum::extract::Request, refusal: fn() -> Status) -> Ready<axum::response::Response> {
    drop(read_whole(request.map(Body::new)));
    ready(refusal().into_http())
}

/// Serves until shutdown, then waits at most `drain` for calls in flight. Returns how many
/// connections were still open after that, and were cut off.
pub async fn serve_grpc(
    listener: impl Into<Listener>,
    router: Router,
    settings: GrpcSettings,
    shutdown: CancellationToken,
) -> usize {
    let GrpcSettings { limits, age, drain } = settings;
    let serve = |accepted: Accepted| {
        let ends = ConnectionEnds { leaving: shutdown.child_token(), closed: CancellationToken::new() };
        let (router, age, name) = (router.clone(), age.map(with_jitter), limits.name);
        async move {
            if let Some(begun) = accepted.begin(&ends.leaving).await {
                let untrusted = until_untrusted(begun.certificate.clone(), name);
                serve_connection(Connection::new(begun, &ends), ends, router, age, untrusted).await;
            }
        }
    };
    serve_each(listener.into(), limits, &shutdown, drain, serve).await
}

fn with_jitter(age: Duration) -> Duration {
    age.mul_f64(1.0 + rand::rng().random_range(-AGE_JITTER..=AGE_JITTER))
}

/// Serves one connection until it ends. From `age` on its caller is asked to reconnect; its streams
/// end, too, once its certificate is `untrusted`.
async fn serve_connection(
    connection: Connection,
    ends: ConnectionEnds,
    router: Router,
    age: Option<Duration>,
    untrusted: impl Future<Output = ()>,
) {
    let (leaving, caller) = (ends.leaving.clone(), connection.caller.clone());
    let until_asked = async move {
        tokio::select! {
            () = ends.leaving.cancelled() => {}
            () = ends.closed.cancelled() => {}
            () = after(age) => {}
        }
    };
    // The library serves connections until this stream ends.
    let only = stream::iter([Ok::<_, io::Error>(GatheredWrites::new(connection))]).chain(stream::pending());
    let serving = router.serve_with_incoming_shutdown(only, until_asked);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = after(age.map(|age| age * 2)) => {
            leaving.cancel();
            serving.await
        }
        () = untrusted => {
            caller.end_trust();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection ended");
    }
}

/// Returns after this time; never, if there is none.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A gRPC service whose streams have no end of their own, such as reflection: they end with their
/// connection, with the code UNAVAILABLE.
#[derive(Clone, Debug)]
pub struct EndsWithConnection<S>(pub S);

impl<S: NamedService> NamedService for EndsWithConnection<S> {
    const NAME: &'static str = S::NAME;
}

type Answered = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<S> Service<http::Request<Body>> for EndsWithConnection<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answered {
        let request = read_whole(request);
        let Some(leaving) = CallerConnection::leaving(request.extensions()) else {
            return Box::pin(self.0.call(request));
        };
        // The service may read its requests for as long as the caller sends any.
        let calling = self.0.call(request.map(|body| ending(body, leaving.clone(), None)));
        Box::pin(async move {
            let response = calling.await?;
            Ok(response.map(|body| ending(body, leaving, Some(is_leaving()))))
        })
    }
}

/// This body, ended when the connection ends and nothing is ready: with these trailers, if there
/// are any.
fn ending(body: Body, leaving: CancellationToken, last: Option<http::HeaderMap>) -> Body {
    let frames = stream::unfold(Some((body, leaving, last)), |unended| async move {
        let (mut body, leaving, last) = unended?;
        tokio::select! {
            biased;
            frame = body.frame() => frame.map(|frame| (frame, Some((body, leaving, last)))),
            () = leaving.cancelled() => last.map(|last| (Ok(Frame::trailers(last)), None)),
        }
    });
    Body::new(StreamBody::new(frames))
}

fn is_leaving() -> http::HeaderMap {
    let status = http::HeaderValue::from(Code::Unavailable as i32);
    let message = http::HeaderValue::from_static("this process does not serve this connection any more");
    [("grpc-status", status), ("grpc-message", message)]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value))
        .collect()
}

#[cfg(test)]
mod tests;
