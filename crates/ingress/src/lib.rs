//! The ingress: the public API, over gRPC and as the POS HTTP form. Parses once, refuses at the
//! edge with every violation listed, writes the request to the order's shard, and waits for the
//! answer on its own partition of `replies`. Nobody is told "failed" because an answer is late.

mod answers;
mod api;
mod ask;
mod desk;
mod http;
mod metrics;
mod pay;
mod refusals;
mod repeats;
mod replies;
mod service;
mod warm;
mod watch;

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::oneshot};
use tracing::{info, warn};
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::{Context, Limits, connections, grpc_server};
use twqr_types::{ShardCount, StatusCode};
use twqr_wire::pos::pos_service_server::PosServiceServer;

pub use http::{HttpSettings, KeysError};

use api::PosApi;
use desk::Desk;
use repeats::Repeats;
use replies::Replies;

/// What the ingress needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process among the ingresses: unique, and stable over restarts.
    pub member: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The POS HTTP form; none: it is not served.
    pub http: Option<HttpSettings>,
    /// How long a caller waits for a result at the most, in ms: 100 to 60,000. The POS waits 15 s
    /// (POS API, section 4).
    pub answer_within_ms: u64,
    /// The StatusCode of an answer that is not known yet (`fisc_abnormal`), until the first reply
    /// says which one holds.
    pub in_progress_code: StatusCode,
    /// How many calls wait at once at the most: 1 to 1,000,000; further ones are shed.
    pub calls_max: usize,
    /// How many payments each of the two generations of the cache of repeats holds.
    pub repeats_size: NonZeroUsize,
    /// How long calls in flight may take to end at shutdown, in ms.
    pub drain_within_ms: u64,
    /// How many questions each shard must have answered before the first call is let in: 0 to
    /// 1,000.
    pub warm_rounds: u32,
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
    /// The merchants' keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
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

/// Where callers come in.
#[derive(Debug)]
pub struct Listeners {
    /// The gRPC API.
    pub grpc: TcpListener,
    /// The POS HTTP form, served if `settings.http` says so, too.
    pub http: Option<TcpListener>,
}

/// Listens as `settings` says; see [`run_on`].
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let grpc = bind(settings.listen).await?;
    let http = match &settings.http {
        Some(http) => Some(bind(http.listen).await?),
        None => None,
    };
    run_on(Listeners { grpc, http }, settings, journal, context).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen { address, error })
}

/// Serves on listeners until `context.shutdown` fires; then takes no new calls, lets those in
/// flight end, and ends watches.
pub async fn run_on(
    listeners: Listeners,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
) -> Result<(), Error> {
    metrics::describe();
    let form = settings.http.as_ref().map(http::Form::open).transpose()?;
    let part = context.health.part("ingress");
    let count = journal.partitions(Topic::Orders);
    let shards = u16::try_from(count).ok().and_then(NonZeroU16::new).ok_or(Error::Shards(count))?;
    let hold = journal.hold_replies(&settings.member).await?;
    let (calls_max, code) = (settings.calls_max, settings.in_progress_code);
    let desk = Desk::new(journal.clone(), ShardCount(shards), hold.partition, calls_max, code);
    let (ready, probed) = oneshot::channel();
    let repeats = Repeats::new(settings.repeats_size);
    let replies = Replies {
        journal,
        repeats: repeats.clone(),
        partition: hold.partition,
        desk: desk.clone(),
        clock: context.clock.clone(),
        part: part.clone(),
    };
    let reader = tokio::spawn(replies.run(ready));
    tokio::select! {
        () = async { drop(probed.await); warm::up(&desk, &context, &part, settings.warm_rounds).await } => {}
        () = context.shutdown.cancelled() => {
            reader.abort();
            return Ok(());
        }
    }
    let address = listeners.grpc.local_addr().unwrap_or(settings.listen);
    info!(%address, "ingress serves");
    let drain = Duration::from_millis(settings.drain_within_ms);
    let api =
        Arc::new(PosApi { desk, repeats, clock: context.clock.clone(), settings, shutdown: context.shutdown.clone() });
    let form = form.zip(listeners.http);
    let served = tokio::try_join!(serve(listeners.grpc, api.clone(), &context, drain), async {
        let Some((form, listener)) = form else { return Ok(()) };
        form.serve(listener, api, context.shutdown.clone(), drain).await;
        Ok(())
    });
    part.not_ready("shutting down");
    reader.abort();
    drop(hold);
    served.map(|_| ())
}

/// Until shutdown, and then for as long as calls in flight may take.
async fn serve(listener: TcpListener, api: Arc<PosApi>, context: &Context, drain: Duration) -> Result<(), Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<PosServiceServer<PosApi>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(twqr_wire::POS_DESCRIPTORS)
    };
    let router = grpc_server()
        .add_service(PosServiceServer::from_arc(api).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let shutdown = context.shutdown.clone();
    let callers = connections(listener, Limits::public("pos_grpc"));
    let served = router.serve_with_incoming_shutdown(callers, async move { shutdown.cancelled().await });
    tokio::select! {
        served = served => served.map_err(Error::from),
        () = async { context.shutdown.cancelled().await; tokio::time::sleep(drain).await } => {
            warn!(drain_ms = drain.as_millis() as u64, "calls were still in flight at the end of the drain; their connections are closed");
            Ok(())
        }
    }
}
