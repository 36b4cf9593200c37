//! The wallet and the issuers behind FISC, as the simulator's own code implements them. Workers
//! reach them over connections that are slow, that break, and that stop while their process is
//! paused.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use twqr_journal_sim::SimSession;
use twqr_service::Clock;
use twqr_simulator::{Bank, Faults, IssuerKind, KindChoice, Reaction, Script};
use twqr_types::Issuer;
use twqr_wire::backend::{ExchangeRequest, ExchangeResponse, LedgerEntry, exchange_request::Call};
use twqr_worker::{Answers, Backend, Calls};

/// The longest time in ms from sending a call to its arrival; shorter than every issuer's window.
const TRANSIT_MS_MAX: u64 = 400;

/// The faults of the wallet and of each issuer, as in the simulator's script files.
const SCRIPT: &str = "
[wallet]
latency_ms = 20
lose_requests = 0.03
lose_answers = 0.03
answer_late = 0.03
late_ms = 1500
land_after_inquiry = 0.03
bad_carrier = 0.2
unmasked_card = 0.2
[issuers.392]
land_after_inquiry = 0.4
window_ms = 2000
refuse_reversals_once = 0.5
[issuers.389]
latency_ms = 350
lose_requests = 0.2
answer_late = 0.2
late_ms = 2500
answer_twice = 0.2
refuse_reversals_once = 0.5
[issuers.390]
refuse_refunds = 0.3
refuse_reversals = 0.5
carrier = true
[issuers.004]
refuse_refunds = 0.1
refuse_reversals_once = 0.8
lose_answers = 0.3
[issuers.812]
maintenance = true
";

/// The wallet and the issuers with their ledger. A clone is another handle to the same issuers.
#[derive(Clone)]
pub struct SimulatedIssuers(Arc<Mutex<State>>);

struct State {
    bank: Bank,
    script: Script,
    ledger: Vec<LedgerEntry>,
    random: ChaCha8Rng,
    /// Whether connections break at random.
    connections_break: bool,
}

impl SimulatedIssuers {
    /// Issuers of these kinds; those that `kinds` does not name have the kind of the script.
    pub fn new(seed: u64, kinds: &[KindChoice]) -> Self {
        Self::with_script(Script { seed, ..Script::parse(SCRIPT).unwrap() }.with_kinds(kinds), true)
    }

    /// Issuers without faults, over connections that do not break.
    pub fn without_faults(seed: u64) -> Self {
        Self::with_script(Script { seed, ..Script::default() }, false)
    }

    /// Issuers that forget what they refused, and refuse half of the charges at first. They have no
    /// other faults.
    pub fn forgetful(seed: u64) -> Self {
        let kind = Some(IssuerKind::ForgetsRefusals);
        let wallet = Faults { refuse_first: 0.5, ..Faults::default() };
        Self::with_script(Script { seed, kind, wallet, ..Script::default() }, false)
    }

    fn with_script(script: Script, connections_break: bool) -> Self {
        let random = ChaCha8Rng::seed_from_u64(script.seed ^ 0xba4c);
        let bank = Bank::new(script.clone(), []);
        Self(Arc::new(Mutex::new(State { bank, script, ledger: Vec::new(), random, connections_break })))
    }

    /// The kind of an issuer.
    pub fn kind(&self, issuer: Issuer) -> IssuerKind {
        self.0.lock().unwrap().script.kind(issuer)
    }

    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.0.lock().unwrap().ledger.clone()
    }

    fn connection_breaks(&self) -> bool {
        self.draw_below(200) == 0 && self.0.lock().unwrap().connections_break
    }

    fn draw_below(&self, limit: u64) -> u64 {
        self.0.lock().unwrap().random.random_range(0..limit)
    }

    /// Delivers a call after its transit, and carries out what the simulator decides.
    async fn deliver(
        self,
        call: ExchangeRequest,
        answers: mpsc::UnboundedSender<Result<ExchangeResponse, Status>>,
        clock: Arc<dyn Clock>,
    ) {
        tokio::time::sleep(Duration::from_millis(self.draw_below(TRANSIT_MS_MAX))).await;
        let reactions = self.0.lock().unwrap().bank.handle(call, clock.now().0);
        for reaction in reactions {
            self.react(reaction, &answers, &clock);
        }
    }

    fn react(
        &self,
        reaction: Reaction,
        answers: &mpsc::UnboundedSender<Result<ExchangeResponse, Status>>,
        clock: &Arc<dyn Clock>,
    ) {
        match reaction {
            Reaction::Record(entry) => self.0.lock().unwrap().ledger.push(entry),
            Reaction::Answer { after_ms, response } => {
                let answers = answers.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    drop(answers.send(Ok(response)));
                });
            }
            Reaction::Release { after_ms, request } => {
                let (issuers, answers, clock) = (self.clone(), answers.clone(), clock.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    let reactions = issuers.0.lock().unwrap().bank.release(&request, clock.now().0);
                    for reaction in reactions {
                        issuers.react(reaction, &answers, &clock);
                    }
                });
            }
        }
    }
}

/// The time after which a call must not be sent any more (protocol rule P6); `None` for an inquiry,
/// which may always be sent.
fn send_by_ms(call: &ExchangeRequest) -> Option<i64> {
    match &call.call {
        Some(Call::Charge(charge)) => Some(charge.send_by_ms),
        Some(Call::Refund(refund)) => Some(refund.send_by_ms),
        Some(Call::Reversal(reversal)) => Some(reversal.send_by_ms),
        Some(Call::Inquiry(_)) | None => None,
    }
}

/// The connection of one worker process.
pub struct IssuerConnection {
    pub issuers: SimulatedIssuers,
    pub session: Arc<SimSession>,
    /// The issuers' clock, without the skew of the worker's.
    pub clock: Arc<dyn Clock>,
    /// The worker's clock.
    pub worker_clock: Arc<dyn Clock>,
}

#[async_trait]
impl Backend for IssuerConnection {
    async fn exchange(&self, mut calls: Calls) -> Result<Answers, Status> {
        let (sender, answers) = mpsc::unbounded_channel();
        let (issuers, session, clock) = (self.issuers.clone(), self.session.clone(), self.clock.clone());
        let worker_clock = self.worker_clock.clone();
        tokio::spawn(async move {
            while session.until_running().await {
                let Some(call) = calls.next().await else { break };
                // The process may have been paused while it waited for a call: on resuming it
                // checks the time again, as a worker's connection does.
                let runs = session.until_running().await;
                let late = send_by_ms(&call).is_some_and(|send_by| worker_clock.now().0 > send_by);
                if !runs || late {
                    continue;
                }
                tokio::spawn(issuers.clone().deliver(call, sender.clone(), clock.clone()));
                if issuers.connection_breaks() {
                    drop(sender.send(Err(Status::unavailable("the connection broke"))));
                    break;
                }
            }
        });
        Ok(Box::pin(UnboundedReceiverStream::new(answers)))
    }

    fn no_connection(&self, _: &Status) {}
}
