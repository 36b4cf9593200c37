//! Serves HTTP/1 on one listener. A connection that does not complete a request in time is closed,
//! so that unfinished requests cannot use up the listener's connections. At shutdown, calls in
//! flight are given time to finish.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::time::Instant;
use tracing::debug;

use crate::{
    CallerConnection, CancellationToken, Limits, Listener,
    listen::{Accepted, Begun, serve_each, until_untrusted},
};

/// The size of a request's head (request line and headers) in bytes beyond which no more of it is
/// read; what one read adds may double it.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How many headers a request may have.
const HEADERS_MAX: usize = 100;

/// Serves until shutdown, then waits at most `drain` for calls in flight. Returns how many
/// connections were still open after that, and were cut off.
pub async fn serve_http(
    listener: impl Into<Listener>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    drain: Duration,
) -> usize {
    let serve = |accepted: Accepted| {
        let (router, shutdown) = (router.clone(), shutdown.clone());
        async move {
            if let Some(begun) = accepted.begin(&shutdown).await {
                serve_connection(begun, router, limits, shutdown).await;
            }
        }
    };
    serve_each(listener.into(), limits, &shutdown, drain, serve).await
}

/// Serves one connection until it ends, or until it has been idle for too long.
async fn serve_connection(connection: Begun, router: Router, limits: Limits, shutdown: CancellationToken) {
    let Begun { stream, certificate, address, permit: _permit, begin_by } = connection;
    let names = certificate.as_ref().map(|certificate| certificate.names().clone());
    let begun = Arc::new(AtomicU64::new(0));
    let (requests, service) = (begun.clone(), TowerToHyperService::new(router));
    let caller = CallerConnection::new(shutdown.clone(), names, address);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        requests.fetch_add(1, Ordering::Relaxed);
        service.call(request)
    });
    // A client may shut down its writing side after the request, and still waits for the answer.
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut is_leaving = false;
    let idle = until_idle(&begun, begin_by, limits);
    let untrusted = until_untrusted(certificate, limits.name);
    tokio::pin!(idle, untrusted);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut untrusted, if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut idle => return,
        }
    }
}

/// Returns when the first request is late, or when no new request has begun for the idle time.
/// `begun` counts the requests whose head has arrived.
async fn until_idle(begun: &AtomicU64, begin_by: Instant, limits: Limits) {
    tokio::time::sleep_until(begin_by).await;
    let mut counted = 0;
    loop {
        let now = begun.load(Ordering::Relaxed);
        if now == counted {
            return;
        }
        counted = now;
        tokio::time::sleep(limits.idle).await;
    }
}

#[cfg(test)]
mod tests;
