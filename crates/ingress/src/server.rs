//! The gRPC server: the service with health and reflection, and how it stops.

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};
use twqr_service::CancellationToken;
use twqr_wire::{DESCRIPTORS, pos::pos_service_server::PosServiceServer};

use crate::{Error, Settings, api::Api};

/// Idle connections are probed after this, and closed when the probe is not answered in time.
const KEEPALIVE_S: u64 = 30;
const KEEPALIVE_ANSWER_S_MAX: u64 = 10;
/// Of one request's headers.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The service as health checks name it.
const SERVICE: &str = "twqr.pos.v1.PosService";

/// Serves until `stop`, and then until every call has ended or `drain_within` is over.
pub(crate) async fn serve(
    settings: &Settings,
    listener: TcpListener,
    api: Api,
    stop: CancellationToken,
) -> Result<(), Error> {
    let reporter = HealthReporter::new();
    reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    let pos_service = PosServiceServer::new(api).max_decoding_message_size(settings.request_bytes_max);
    let server = Server::builder()
        .max_concurrent_streams(settings.streams_per_connection_max)
        .http2_keepalive_interval(Some(Duration::from_secs(KEEPALIVE_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(KEEPALIVE_ANSWER_S_MAX)))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(reporter.clone()),
        ))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(pos_service);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopping = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            reporter.set_service_status("", ServingStatus::NotServing).await;
            reporter.set_service_status(SERVICE, ServingStatus::NotServing).await;
        }
    };
    bounded(server.serve_with_incoming_shutdown(incoming, stopping), stop, settings.drain_within).await
}

/// Lists this API and the health service, though the descriptors of the bus are in the set too.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(SERVICE)
        .with_service_name("grpc.health.v1.Health")
}

/// Waits for the server to end, but not longer than `drain_within` after `stop`.
async fn bounded(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    drain_within: Duration,
) -> Result<(), Error> {
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_within).await;
    };
    tokio::select! {
        served = serving => served.map_err(Error::Serve),
        () = too_late => {
            tracing::warn!(?drain_within, "calls in flight did not end in time and were cut off");
            Ok(())
        }
    }
}
