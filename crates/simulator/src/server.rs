//! Serves `twqr.backend.v1` on two addresses, the wallet's and FISC's. One thread, the teller,
//! decides the calls of all streams in batches, and writes each batch to the ledger with one sync.
//! One timer task sends the delayed answers. No call has a task or thread to itself.

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, info};
use twqr_service::{
    BoundSocket, Clock, Context, GrpcSettings, Limits, ListenError, grpc_health, grpc_server, serve_grpc,
};
use twqr_wire::backend::{
    ExchangeRequest, ExchangeResponse, ListEntriesRequest, ListEntriesResponse,
    backend_service_server::{BackendService, BackendServiceServer},
    ledger_service_server::{LedgerService, LedgerServiceServer},
};

use crate::{Bank, Ledger, LedgerError, Reaction, Script};

/// The simulator's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which the wallet listens.
    pub wallet_address: SocketAddr,
    /// The address on which FISC listens.
    pub fisc_address: SocketAddr,
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
    /// The operating system refused the teller's thread.
    #[error("cannot start the teller's thread: {0}")]
    Teller(std::io::Error),
}

/// The largest number of calls that one sync covers.
const BATCH_CALLS_MAX: usize = 1024;
/// The number of calls that may wait for the teller; beyond it, streams are not read.
const QUEUED_CALLS_MAX: usize = 16_384;

type Answers = mpsc::UnboundedSender<Result<ExchangeResponse, Status>>;

/// A task for the teller.
enum TellerTask {
    Call(Box<ExchangeRequest>, Answers),
    Release(Box<ExchangeRequest>),
}

/// A task that the timer performs after a delay.
enum DelayedTask {
    Answer(ExchangeResponse, Answers),
    Release(Box<ExchangeRequest>),
}

/// Serves until `context.shutdown` fires.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let wallet = BoundSocket::bind("wallet", settings.wallet_address)?;
    let fisc = BoundSocket::bind("fisc", settings.fisc_address)?;
    let ledger = Arc::new(Ledger::open(&settings.data_dir)?);
    let bank = Bank::new(settings.script, ledger.entries()?);
    let (work, queue) = mpsc::channel(QUEUED_CALLS_MAX);
    let (later, timer) = mpsc::unbounded_channel();
    let teller = Teller { bank, ledger: ledger.clone(), clock: context.clock.clone(), later };
    std::thread::Builder::new().name("teller".to_owned()).spawn(move || teller.run(queue)).map_err(Error::Teller)?;
    tokio::spawn(run_timer(timer, work.clone()));
    let part = context.health.part("simulator");
    let service = SimulatorService { work, ledger };
    let (wallet, fisc) = (wallet.listen()?, fisc.listen()?);
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
    tokio::join!(serve(wallet, "wallet"), serve(fisc, "fisc"));
    Ok(())
}

/// The time that open streams have to end after a shutdown.
const DRAIN: Duration = Duration::from_millis(300);

/// Decides calls, records the entries, and only then sends the answers.
struct Teller {
    bank: Bank,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    later: mpsc::UnboundedSender<(Instant, DelayedTask)>,
}

impl Teller {
    fn run(mut self, mut queue: mpsc::Receiver<TellerTask>) {
        let mut batch = Vec::new();
        while queue.blocking_recv_many(&mut batch, BATCH_CALLS_MAX) > 0 {
            let mut entries = Vec::new();
            let mut answers = Vec::new();
            let now = self.clock.now().0;
            for work in batch.drain(..) {
                let (reactions, to) = match work {
                    TellerTask::Call(request, to) => (self.bank.handle(*request, now), Some(to)),
                    TellerTask::Release(request) => (self.bank.release(&request, now), None),
                };
                for reaction in reactions {
                    match reaction {
                        Reaction::Record(entry) => entries.push(entry),
                        Reaction::Answer { after_ms, response } => {
                            answers.extend(to.clone().map(|to| (after_ms, DelayedTask::Answer(response, to))));
                        }
                        Reaction::Release { after_ms, request } => {
                            answers.push((after_ms, DelayedTask::Release(request)));
                        }
                    }
                }
            }
            if let Err(failure) = self.ledger.add(&entries) {
                error!(%failure, "the ledger cannot be written; the simulator answers no further call: free disk space or check the disk, then restart it");
                return;
            }
            for (after_ms, later) in answers {
                self.send(after_ms, later);
            }
        }
    }

    fn send(&self, after_ms: u64, later: DelayedTask) {
        match later {
            DelayedTask::Answer(response, to) if after_ms == 0 => drop(to.send(Ok(response))),
            DelayedTask::Answer(..) | DelayedTask::Release(_) => {
                drop(self.later.send((Instant::now() + Duration::from_millis(after_ms), later)));
            }
        }
    }
}

/// Performs delayed tasks when they are due.
async fn run_timer(mut incoming: mpsc::UnboundedReceiver<(Instant, DelayedTask)>, work: mpsc::Sender<TellerTask>) {
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
                    Some(DelayedTask::Answer(response, to)) => drop(to.send(Ok(response))),
                    Some(DelayedTask::Release(request)) => drop(work.send(TellerTask::Release(request)).await),
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
