//! Serving HTTP/1 on one listener. Who sends no whole request in time is closed, so that unfinished
//! ones keep no place; at shutdown, calls in flight may end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tracing::debug;

use crate::{CancellationToken, Limits, listen::Door};

/// How large the head of a request may be, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Serves until shutdown, and then for as long as calls in flight may take. How many connections
/// were cut off after that.
pub async fn serve_http(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    drain: Duration,
) -> usize {
    let mut door = Door::new(listener, limits);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            (stream, place) = door.next() => {
                let conversation = converse(stream, router.clone(), limits, shutdown.clone());
                open.spawn(async move { conversation.await; drop(place); });
            }
            Some(_) = open.join_next() => {}
        }
    }
    drop(door);
    let drained = async { while open.join_next().await.is_some() {} };
    drop(tokio::time::timeout(drain, drained).await);
    open.len()
}

/// One connection, until its end, or until no new request has come for too long.
async fn converse(stream: TcpStream, router: Router, limits: Limits, shutdown: CancellationToken) {
    let begun = Arc::new(AtomicU64::new(0));
    let (requests, service) = (begun.clone(), TowerToHyperService::new(router));
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::Relaxed);
        service.call(request)
    });
    let connection = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut leaving = false;
    let idle = until_idle(&begun, limits);
    tokio::pin!(idle);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended");
                }
                return;
            }
            () = shutdown.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut idle => return,
        }
    }
}

/// Until the first request is late, or no other has come in a while.
async fn until_idle(begun: &AtomicU64, limits: Limits) {
    tokio::time::sleep(limits.first_within).await;
    let mut seen = 0;
    loop {
        let now = begun.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
        tokio::time::sleep(limits.idle).await;
    }
}

#[cfg(test)]
mod tests;
