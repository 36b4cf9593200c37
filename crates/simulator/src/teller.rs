//! The teller: one thread that decides the calls of all streams in batches, and writes each batch
//! to the ledger with one sync. One timer task sends the delayed answers.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tonic::Status;
use tracing::error;
use twqr_service::Clock;
use twqr_wire::backend::{ExchangeRequest, ExchangeResponse};

use crate::{Bank, Ledger, Reaction};

pub(crate) type Answers = mpsc::UnboundedSender<Result<ExchangeResponse, Status>>;

/// A task for the teller.
pub(crate) enum TellerTask {
    Call(Box<ExchangeRequest>, Answers),
    Release(Box<ExchangeRequest>),
}

/// A task that the timer performs after a delay.
pub(crate) enum DelayedTask {
    Answer(ExchangeResponse, Answers),
    Release(Box<ExchangeRequest>),
}

/// The largest number of calls that one sync covers.
const BATCH_CALLS_MAX: usize = 1024;
/// Decides calls, records the entries, and only then sends the answers.
pub(crate) struct Teller {
    pub(crate) bank: Bank,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) later: mpsc::UnboundedSender<(Instant, DelayedTask)>,
}

impl Teller {
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<TellerTask>) {
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
pub(crate) async fn run_timer(
    mut incoming: mpsc::UnboundedReceiver<(Instant, DelayedTask)>,
    work: mpsc::Sender<TellerTask>,
) {
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
