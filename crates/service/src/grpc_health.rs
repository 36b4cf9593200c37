//! The gRPC health service of a listener (`grpc.health.v1.Health`): SERVING while the process is
//! ready, as `/readyz` says.

use std::{pin::Pin, time::Duration};

use futures::{Stream, stream};
use tonic::{Request, Response, Status, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthOverGrpc, HealthServer},
};

use crate::{EndsWithConnection, Health};

/// The longest time until a watcher hears of a change, in ms. It hears at once that the process
/// leaves.
const CHECK_MS: u64 = 200;

/// The health of the process, for callers of the service `S`.
pub fn grpc_health<S: NamedService>(health: &Health) -> EndsWithConnection<HealthServer<ServedHealth>> {
    EndsWithConnection(HealthServer::new(ServedHealth { health: health.clone(), service: S::NAME }))
}

/// Answers health checks for the process as a whole, and for one service.
#[derive(Debug)]
pub struct ServedHealth {
    health: Health,
    service: &'static str,
}

impl ServedHealth {
    fn check_name(&self, request: &HealthCheckRequest) -> Result<(), Status> {
        let is_known = request.service.is_empty() || request.service == self.service;
        if is_known { Ok(()) } else { Err(Status::not_found("this listener has no such service")) }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn status(health: &Health) -> ServingStatus {
    if health.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl HealthOverGrpc for ServedHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.check_name(request.get_ref())?;
        Ok(Response::new(response(status(&self.health))))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.check_name(request.get_ref())?;
        let changes = stream::unfold((self.health.clone(), None), |(health, last)| async move {
            let now = next_status(&health, last).await;
            Some((Ok(response(now)), (health, Some(now))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// Waits until the status is another than `last`.
async fn next_status(health: &Health, last: Option<ServingStatus>) -> ServingStatus {
    loop {
        let now = status(health);
        if Some(now) != last {
            return now;
        }
        tokio::select! {
            () = health.until_leaving(), if !health.is_leaving() => {}
            () = tokio::time::sleep(Duration::from_millis(CHECK_MS)) => {}
        }
    }
}
