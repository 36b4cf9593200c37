//! The ingress: serves the public API, over gRPC and as the POS HTTP form. It checks a request
//! against all limits and refuses it with every violation listed, or writes it to the order's shard
//! and waits for the router's reply on its own partition of `replies`. A late reply is never
//! reported as a failure: the answer at the deadline is that the order is in progress.

mod admission;
mod answers;
mod api;
mod fairness;
mod grpc;
mod hops;
mod http;
mod metrics;
mod pay;
mod pending_calls;
mod probe;
mod protocol_versions;
mod readiness_probe;
mod refusal;
mod repeats;
mod reply_reader;
mod router_client;
mod validation;
mod watch;

use std::{
    num::{NonZeroU16, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinSet};
use tracing::{info, warn};
use twqr_access::{Access, AccessSettings, CallersFollower};
use twqr_card_keys::CardKeys;
use twqr_consumer::DeadLetters;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_order::PROTOCOL_VERSION_NEWEST;
use twqr_service::{
    BoundSocket, Context, EndsWithConnection, GrpcSettings, Health, Limits, ListenError, Listener, PROTOCOL_PART,
    grpc_health, grpc_server_with_windows, join_background, serve_grpc,
};
use twqr_types::{ShardCount, StatusCode};
use twqr_wire::pos::pos_service_server::PosServiceServer;

pub use crate::metrics::METRICS;
pub use admission::AdmissionSettings;
pub use fairness::{FairnessSettings, UseLimits};
#[doc(hidden)]
pub use http::fuzzing;
pub use http::{HttpSettings, KeysError};

use admission::{Admission, Measurer};
use api::PosApi;
use fairness::Fairness;
use grpc::{Edge, GrpcService, StreamPlaces, unknown_service};
use pending_calls::PendingCalls;
use protocol_versions::ProtocolVersions;
use repeats::Repeats;
use reply_reader::ReplyReader;
use router_client::RouterClient;

/// The settings of an ingress.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this process among the ingresses: unique, and the same after a restart.
    pub member: String,
    /// The POS HTTP form; not served if absent.
    pub http: Option<HttpSettings>,
    /// How long a caller waits for a result at most, in ms: 100 to 60,000. A POS waits 15 s
    /// (`proto/README.md`, section Times).
    pub answer_within_ms: u64,
    /// The StatusCode for orders in progress (`fisc_abnormal`), until the first reply names the one
    /// of the policy.
    pub in_progress_code: StatusCode,
    /// How many calls may be pending at once: 1 to 1,000,000; further ones are refused.
    pub calls_max: usize,
    /// How many calls of a shard may be undecided at once.
    pub admission: AdmissionSettings,
    /// How many streams of payments may be open at once: 1 to 10,000; further ones are refused.
    pub streams_max: usize,
    /// How many payments of one stream may wait for their results, or for the caller to read their
    /// answers: 1 to 65,536. Further ones are not read.
    pub stream_in_flight_max: usize,
    /// How many payments each of the two generations of remembered payments holds.
    pub repeats_size: NonZeroUsize,
    /// How long calls in flight may take at shutdown, in ms.
    pub drain_within_ms: u64,
    /// The age of a gRPC connection at which its caller is asked to reconnect; absent if there is
    /// no such age.
    pub connection_age: Option<Duration>,
    /// The keys under which card tokens are written.
    pub card_keys: CardKeys,
    /// Which callers are let in.
    pub access: AccessSettings,
    /// How much of this ingress one caller and one merchant may use.
    pub fairness: FairnessSettings,
    /// How many inquiries each shard answers before it counts as answering: 0 to 1,000. With 0, no
    /// shard is asked, so each counts as one of the newest protocol version until its first reply.
    pub warm_rounds: u32,
}

/// The reason why the ingress stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed; its error says how.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ingress cannot listen on an address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The merchants' keys are invalid.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The gRPC reflection could not be set up.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The number of shards is out of its range.
    #[error("the journal has {0} partitions of orders; 1 to 65535 are possible")]
    Shards(u32),
}

/// The part of an ingress in the health report. It alone decides whether the process is ready,
/// because it asks the others itself.
pub const HEALTH_PART: &str = "ingress";

/// How large a request may be, in bytes. The limits of all fields together are far below that.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How much of a stream, and of all streams of a connection, may arrive before it is read, in
/// bytes. So streams of payments that are not read do not stop the other calls on their connection.
/// h2 ends a connection with many small frames that are not read: a frame costs 256 bytes less its
/// own length, and all may cost half of the connection's window. With these numbers 80 streams of
/// messages of 100 bytes may be full.
const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The sockets on which callers connect.
#[derive(Debug)]
pub struct Sockets {
    /// The socket of the gRPC API.
    pub grpc: BoundSocket,
    /// The socket of the POS HTTP form, which is served only if `settings.http` is present, too.
    pub http: Option<BoundSocket>,
}

/// Serves on the sockets until `context.shutdown` fires. Then it accepts no new calls, ends
/// watches, and lets the calls in flight end.
pub async fn run(
    sockets: Sockets,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
) -> Result<(), Error> {
    metrics::register();
    let form = match &settings.http {
        Some(http) => Some(http::HttpForm::open(http, &context.health).await?),
        None => None,
    };
    // Callers wait from here on, and are served as soon as the shards answer.
    let (grpc, http) = (sockets.grpc.listen()?, sockets.http.map(BoundSocket::listen).transpose()?);
    let part = context.health.deciding_part(HEALTH_PART);
    let shards = shard_count(&*journal)?;
    let hold = journal.hold_replies(&settings.member).await?;
    let (admission, to_measure) = Admission::new(settings.admission, shards);
    let (partition, calls_max) = (hold.partition.index, settings.calls_max);
    let versions = ProtocolVersions::new(shards, settings.card_keys.clone(), settings.warm_rounds == 0);
    let pending = PendingCalls::new(partition, versions, calls_max, settings.in_progress_code, admission.clone());
    let repeats = Repeats::new(settings.repeats_size);
    let mut tasks = JoinSet::new();
    let (access, http_access, callers) = open_access(settings.access, &journal, &context, &mut tasks);
    let dead_letters = DeadLetters::new(journal.clone(), &context, metrics::DEAD_LETTERS);
    let replies = ReplyReader {
        journal: journal.clone(),
        partition: hold.partition,
        pending: pending.clone(),
        repeats: repeats.clone(),
        dead_letters,
        part: part.clone(),
        member: settings.member,
    };
    let clock = context.clock.clone();
    let router = RouterClient { journal, shards, pending, admission, clock, card_keys: settings.card_keys };
    tasks.spawn(report_unknown_protocol(router.pending.clone(), context.health.clone()));
    let (first_probe, probed) = oneshot::channel();
    tasks.spawn(replies.run(first_probe));
    tasks.spawn(Measurer { router: router.clone(), shards: to_measure }.run());
    let (gate, may_serve) = oneshot::channel();
    let ask_shards = readiness_probe::run(router.clone(), part.clone(), settings.warm_rounds, gate);
    tasks.spawn(async move {
        drop(probed.await);
        callers.await;
        ask_shards.await;
    });
    // Dropping it ends the tasks.
    let mut background = JoinSet::new();
    let watched = part.clone();
    background.spawn(async move { join_background(&mut tasks, &watched).await });
    tokio::select! {
        _ = may_serve => {}
        () = context.shutdown.cancelled() => return Ok(()),
    }
    let drain = Duration::from_millis(settings.drain_within_ms);
    let api = Arc::new(PosApi {
        router,
        repeats,
        access,
        fairness: Fairness::new(settings.fairness),
        answer_within: Duration::from_millis(settings.answer_within_ms),
        shutdown: context.shutdown.clone(),
    });
    let streams = StreamPlaces::new(settings.streams_max, settings.stream_in_flight_max);
    let service = GrpcService { api: api.clone(), streams };
    let connections = GrpcSettings { limits: Limits::public("pos_grpc"), age: settings.connection_age, drain };
    let served = tokio::try_join!(serve(grpc, service, &context, connections), async {
        let Some((form, listener)) = form.zip(http) else { return Ok(()) };
        form.serve(listener, (api, http_access), context.shutdown.clone(), drain).await;
        Ok(())
    });
    drop(background);
    part.not_ready("shutting down");
    drop(hold);
    served.map(|_| ())
}

fn shard_count(journal: &dyn Journal) -> Result<ShardCount, Error> {
    let count = journal.partitions(Topic::Orders);
    let shards = u16::try_from(count).ok().and_then(NonZeroU16::new).ok_or(Error::Shards(count))?;
    Ok(ShardCount(shards))
}

/// How often it is checked whether this build knows the protocol version of every shard.
const PROTOCOL_CHECK: Duration = Duration::from_secs(1);

/// Makes the process unready once a shard decides by a protocol version that this build does not
/// know: it may misread the replies.
async fn report_unknown_protocol(pending: Arc<PendingCalls>, health: Health) {
    loop {
        if let Some(version) = pending.versions.unknown() {
            let newest = format!("this build knows only versions up to {PROTOCOL_VERSION_NEWEST}: use a newer build");
            health.side_part(PROTOCOL_PART).not_ready(format!("protocol version {version} is in force, but {newest}"));
            return;
        }
        tokio::time::sleep(PROTOCOL_CHECK).await;
    }
}

/// Which callers are let in over gRPC and at the POS HTTP form, and what ends once they have been
/// read.
fn open_access(
    settings: AccessSettings,
    journal: &Arc<dyn Journal>,
    context: &Context,
    tasks: &mut JoinSet<()>,
) -> (Access, Access, impl Future<Output = ()> + use<>) {
    let AccessSettings { required, key_and_certificate, pos_http_required, callers } = settings;
    let mut view = (required || pos_http_required).then(|| {
        let (follower, view) = CallersFollower::new(journal.clone(), &context.health, callers);
        tasks.spawn(follower.run());
        view
    });
    let access = |listener, is_required, needs_both| match &view {
        Some(view) if is_required && needs_both => {
            Access::callers_with_both(listener, view.clone(), context.clock.clone())
        }
        Some(view) if is_required => Access::callers(listener, view.clone(), context.clock.clone()),
        Some(_) | None => Access::open(listener),
    };
    let grpc = access("grpc", required, key_and_certificate);
    let http = access("pos_http", pos_http_required, false);
    let read = async move {
        if let Some(view) = &mut view {
            view.read().await;
        }
    };
    (grpc, http, read)
}

/// Serves gRPC until shutdown, and then until the calls in flight have ended, for at most the time
/// of the drain.
async fn serve(
    listener: Listener,
    service: GrpcService,
    context: &Context,
    settings: GrpcSettings,
) -> Result<(), Error> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving the public API over gRPC");
    }
    // Strangers get nothing but health, which probes need.
    let reflected = !service.api.access.is_required();
    let reflection = || {
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(twqr_wire::POS_DESCRIPTORS)
    };
    let router = grpc_server_with_windows(STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, unknown_service)
        .add_service(Edge::new(service))
        .add_service(grpc_health::<PosServiceServer<GrpcService>>(&context.health))
        .add_optional_service(reflected.then(|| reflection().build_v1()).transpose()?.map(EndsWithConnection))
        .add_optional_service(reflected.then(|| reflection().build_v1alpha()).transpose()?.map(EndsWithConnection));
    let cut_off = serve_grpc(listener, router, settings, context.shutdown.clone()).await;
    if cut_off > 0 {
        let drain_ms = settings.drain.as_millis() as u64;
        warn!(cut_off, drain_ms, "calls were still in flight at the end of the drain; their connections are closed");
    }
    Ok(())
}
