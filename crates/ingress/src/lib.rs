//! The ingress: the public gRPC API. Parses once, refuses at the edge with every violation listed, writes the request to the order's
//! shard, and waits for the answer on its own partition of `replies`. Nobody is told "failed" because an answer is late.

mod answers;
mod desk;
mod refusals;
mod service;

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tracing::info;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::Context;
use twqr_types::ShardCount;
use twqr_wire::{DESCRIPTORS, pos::pos_service_server::PosServiceServer};

use desk::Desk;
use service::PosApi;

/// What the ingress needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process among the ingresses: unique, and stable over restarts.
    pub member: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long a caller waits for a result at the most, in ms: 100 to 60,000. The POS waits 15 s (POS API, section 4).
    pub answer_within_ms: u64,
    /// The StatusCode of an answer that is not known yet (`fisc_abnormal`).
    pub in_progress_code: String,
    /// How many calls wait at once at the most: 1 to 1,000,000; further ones are shed.
    pub calls_max: usize,
}

/// Why the ingress stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address cannot be listened on.
    #[error("ingress cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
    /// Reflection cannot be set up.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The journal has no shard to write to.
    #[error("the journal has {0} partitions of orders, 1 to 65535 are possible")]
    Shards(u32),
}

/// How large a request may be, in bytes: the form's limits leave no need for more.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Runs until `context.shutdown` fires; then takes no new calls and lets those in flight end.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let part = context.health.part("ingress");
    let count = journal.partitions(Topic::Orders);
    let shards = u16::try_from(count).ok().and_then(std::num::NonZeroU16::new).ok_or(Error::Shards(count))?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| Error::Listen { address: settings.listen, error })?;
    let desk = Desk::open(journal, ShardCount(shards), &settings).await?;
    let reader = tokio::spawn(desk.clone().read_replies(context.shutdown.clone()));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<PosServiceServer<PosApi>>().await;
    let api = PosApi::new(desk, context.clock.clone(), settings.clone());
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let router = Server::builder()
        .tcp_nodelay(true)
        .add_service(PosServiceServer::new(api).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    info!(address = %settings.listen, "ingress serves");
    part.ready();
    let shutdown = context.shutdown.clone();
    let served = router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
        shutdown.cancelled().await;
    });
    let ended = served.await;
    part.not_ready("shutting down");
    reader.abort();
    ended.map_err(Error::from)
}
