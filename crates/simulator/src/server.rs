//! Serves the backend contract on two addresses, the wallet's and FISC's. One teller thread decides
//! and syncs for all streams, in batches; one timer task sends what is due later. No task and no
//! thread belongs to a call.

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, info};
use twqr_service::{Clock, Context, Limits, connections, grpc_server};
use twqr_wire::backend::{
    ExchangeRequest, ExchangeResponse, ListEntriesRequest, ListEntriesResponse,
    backend_service_server::{BackendService, BackendServiceServer},
    ledger_service_server::{LedgerService, LedgerServiceServer},
};

use crate::{Bank, Ledger, LedgerError, Reaction, Script};

/// What the simulator needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the wallet listens.
    pub wallet_address: SocketAddr,
    /// Where FISC listens.
    pub fisc_address: SocketAddr,
    /// Where the ledger is.
    pub data_dir: PathBuf,
    /// What goes wrong.
    pub script: Script,
}

/// Why the simulator stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A server failed.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
    /// The operating system gave no thread.
    #[error("cannot start the teller: {0}")]
    Teller(std::io::Error),
}

/// How many calls one sync covers at the most.
const BATCH_CALLS_MAX: usize = 1024;
/// How many calls may wait for the teller before streams wait.
const QUEUED_CALLS_MAX: usize = 16_384;

type Answers = mpsc::UnboundedSender<Result<ExchangeResponse, Status>>;

/// Something for the teller.
enum Work {
    Call(Box<ExchangeRequest>, Answers),
    Land(Box<ExchangeRequest>),
}

/// Something for the timer.
enum Later {
    Answer(ExchangeResponse, Answers),
    Land(Box<ExchangeRequest>),
}

/// Runs until `context.shutdown` fires.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let ledger = Arc::new(Ledger::open(&settings.data_dir)?);
    let bank = Bank::new(settings.script, ledger.entries()?);
    let (work, queue) = mpsc::channel(QUEUED_CALLS_MAX);
    let (later, timer) = mpsc::unbounded_channel();
    let teller = Teller { bank, ledger: ledger.clone(), clock: context.clock.clone(), later };
    std::thread::Builder::new().name("teller".to_owned()).spawn(move || teller.run(queue)).map_err(Error::Teller)?;
    tokio::spawn(keep_time(timer, work.clone()));
    let part = context.health.part("simulator");
    let service = Counter { work, ledger };
    let wallet = bind(settings.wallet_address).await?;
    let fisc = bind(settings.fisc_address).await?;
    info!(wallet = %settings.wallet_address, fisc = %settings.fisc_address, "simulator serves");
    part.ready();
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<BackendServiceServer<Counter>>().await;
    let serve = |listener, limits| {
        let shutdown = context.shutdown.clone();
        grpc_server()
            .add_service(BackendServiceServer::new(service.clone()))
            .add_service(LedgerServiceServer::new(service.clone()))
            .add_service(health_service.clone())
            .serve_with_incoming_shutdown(connections(listener, limits), async move { shutdown.cancelled().await })
    };
    let (wallet, fisc) = (serve(wallet, Limits::public("wallet")), serve(fisc, Limits::public("fisc")));
    tokio::select! {
        served = futures::future::try_join(wallet, fisc) => served.map(|_| ()).map_err(Error::from),
        () = async { context.shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

/// How long open streams may take to end.
const DRAIN: Duration = Duration::from_millis(300);

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen { address, error })
}

/// Decides, records, and only then lets answers go.
struct Teller {
    bank: Bank,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    later: mpsc::UnboundedSender<(Instant, Later)>,
}

impl Teller {
    fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut batch = Vec::new();
        while queue.blocking_recv_many(&mut batch, BATCH_CALLS_MAX) > 0 {
            let mut entries = Vec::new();
            let mut answers = Vec::new();
            let now = self.clock.now().0;
            for work in batch.drain(..) {
                let (reactions, to) = match work {
                    Work::Call(request, to) => (self.bank.handle(*request, now), Some(to)),
                    Work::Land(request) => (self.bank.land(&request, now), None),
                };
                for reaction in reactions {
                    match reaction {
                        Reaction::Record(entry) => entries.push(entry),
                        Reaction::Answer { after_ms, response } => {
                            answers.extend(to.clone().map(|to| (after_ms, Later::Answer(response, to))));
                        }
                        Reaction::Land { after_ms, request } => answers.push((after_ms, Later::Land(request))),
                    }
                }
            }
            if let Err(failure) = self.ledger.add(&entries) {
                error!(%failure, "the ledger cannot write; the simulator answers nothing more");
                return;
            }
            for (after_ms, later) in answers {
                self.pass_on(after_ms, later);
            }
        }
    }

    fn pass_on(&self, after_ms: u64, later: Later) {
        match later {
            Later::Answer(response, to) if after_ms == 0 => drop(to.send(Ok(response))),
            Later::Answer(..) | Later::Land(_) => {
                drop(self.later.send((Instant::now() + Duration::from_millis(after_ms), later)));
            }
        }
    }
}

/// Sends what is due later, when it is due.
async fn keep_time(mut incoming: mpsc::UnboundedReceiver<(Instant, Later)>, work: mpsc::Sender<Work>) {
    let mut due: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut waiting = std::collections::HashMap::new();
    let mut number = 0_u64;
    loop {
        let next = due.peek().map(|Reverse((at, _))| *at);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some(Reverse((_, id))) = due.pop() else { continue };
                match waiting.remove(&id) {
                    Some(Later::Answer(response, to)) => drop(to.send(Ok(response))),
                    Some(Later::Land(request)) => drop(work.send(Work::Land(request)).await),
                    None => {}
                }
            }
            received = incoming.recv() => {
                let Some((at, later)) = received else { return };
                number += 1;
                due.push(Reverse((at, number)));
                waiting.insert(number, later);
            }
        }
    }
}

/// Where the streams come in.
#[derive(Clone)]
struct Counter {
    work: mpsc::Sender<Work>,
    ledger: Arc<Ledger>,
}

#[tonic::async_trait]
impl BackendService for Counter {
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
                if work.send(Work::Call(Box::new(call), answers.clone())).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }
}

/// How many entries are on their way to a slow reader of the ledger.
const LISTED_ENTRIES_MAX: usize = 256;

#[tonic::async_trait]
impl LedgerService for Counter {
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
