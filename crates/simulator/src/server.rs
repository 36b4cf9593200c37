//! Serves `twqr.backend.v1` on two addresses, the wallet's and FISC's, and perhaps the same wallet
//! and issuers over HTTP on a third one. No call has a task or thread to itself.

use std::{net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;
use twqr_service::{
    BoundSocket, Context, GrpcSettings, Limits, ListenError, grpc_health, grpc_server, serve_grpc, serve_http,
};
use twqr_tls::{FileFault, ServerFiles, ServerTls};
use twqr_wire::backend::{
    ExchangeRequest, ExchangeResponse, ListEntriesRequest, ListEntriesResponse,
    backend_service_server::{BackendService, BackendServiceServer},
    ledger_service_server::{LedgerService, LedgerServiceServer},
};

use crate::{
    Bank, Ledger, LedgerError, Script, http,
    teller::{Teller, TellerTask, run_timer},
};

/// The simulator's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which the wallet listens.
    pub wallet_address: SocketAddr,
    /// The address on which FISC listens.
    pub fisc_address: SocketAddr,
    /// The address of the HTTP form, if it is served (`src/http.rs`).
    pub http_address: Option<SocketAddr>,
    /// The certificates of both; without them they serve plain text.
    pub tls: Option<ServerFiles>,
    /// The folder of the ledger.
    pub data_dir: PathBuf,
    /// The faults of the wallet and the issuers.
    pub script: Script,
}

/// The reason why the simulator stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be opened or read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An address cannot be bound.
    #[error("{0}; free the address or set another one")]
    Listen(#[from] ListenError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] FileFault),
    /// The operating system refused the teller's thread.
    #[error("cannot start the ledger's thread: {0}")]
    Teller(std::io::Error),
}

/// The number of calls that may wait for the teller; beyond it, streams are not read.
const QUEUED_CALLS_MAX: usize = 16_384;

/// Serves until `context.shutdown` fires.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let tls = settings.tls.map(ServerTls::start).transpose()?;
    let wallet = BoundSocket::bind("wallet", settings.wallet_address)?.with_tls(tls.clone());
    let fisc = BoundSocket::bind("fisc", settings.fisc_address)?.with_tls(tls);
    let http = settings.http_address.map(|address| BoundSocket::bind("http", address)).transpose()?;
    let ledger = Arc::new(Ledger::open(&settings.data_dir)?);
    let bank = Bank::new(settings.script, ledger.entries()?);
    let (work, queue) = mpsc::channel(QUEUED_CALLS_MAX);
    let (later, timer) = mpsc::unbounded_channel();
    let teller = Teller { bank, ledger: ledger.clone(), clock: context.clock.clone(), later };
    std::thread::Builder::new().name("teller".to_owned()).spawn(move || teller.run(queue)).map_err(Error::Teller)?;
    tokio::spawn(run_timer(timer, work.clone()));
    let part = context.health.part("simulator");
    let service = SimulatorService { work: work.clone(), ledger };
    let (wallet, fisc) = (wallet.listen()?, fisc.listen()?);
    let http = http.map(BoundSocket::listen).transpose()?;
    info!(wallet = %settings.wallet_address, fisc = %settings.fisc_address, "simulator serves");
    part.ready();
    let serve = |listener, name| {
        let router = grpc_server()
            .add_service(BackendServiceServer::new(service.clone()))
            .add_service(LedgerServiceServer::new(service.clone()))
            .add_service(grpc_health::<BackendServiceServer<SimulatorService>>(&context.health));
        let settings = GrpcSettings { limits: Limits::public(name), age: None, drain: DRAIN };
        serve_grpc(listener, router, settings, context.shutdown.clone())
    };
    let serve_http_form = async {
        if let Some(listener) = http {
            serve_http(listener, http::router(work), Limits::public("http"), context.shutdown.clone(), DRAIN).await;
        }
    };
    tokio::join!(serve(wallet, "wallet"), serve(fisc, "fisc"), serve_http_form);
    Ok(())
}

/// The time that open streams have to end after a shutdown.
const DRAIN: Duration = Duration::from_millis(300);

/// The gRPC service, shared by both addresses.
#[derive(Clone)]
struct SimulatorService {
    work: mpsc::Sender<TellerTask>,
    ledger: Arc<Ledger>,
}

#[tonic::async_trait]
impl BackendService for SimulatorService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut calls = request.into_inner();
        let (answers, responses) = mpsc::unbounded_channel();
        let work = self.work.clone();
        tokio::spawn(async move {
            while let Some(Ok(call)) = calls.next().await {
                if work.send(TellerTask::Call(Box::new(call), answers.clone())).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }
}

/// The number of entries that are buffered for a slow reader of the ledger.
const LISTED_ENTRIES_MAX: usize = 256;

#[tonic::async_trait]
impl LedgerService for SimulatorService {
    type ListEntriesStream = ReceiverStream<Result<ListEntriesResponse, Status>>;

    async fn list_entries(&self, _: Request<ListEntriesRequest>) -> Result<Response<Self::ListEntriesStream>, Status> {
        let entries = self.ledger.entries().map_err(|error| Status::internal(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(LISTED_ENTRIES_MAX);
        tokio::spawn(async move {
            for entry in entries {
                if sender.send(Ok(ListEntriesResponse { entry: Some(entry) })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
