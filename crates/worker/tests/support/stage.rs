//! Workers over the simulated journal, in virtual time, and an issuer that remembers every number
//! and whose silence a test chooses.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use twqr_card_keys::CardKeys;
use twqr_consumer::ClockMeter;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
use twqr_order::{Command, MovementOutcome, Task, TaskResult};
use twqr_service::{CancellationToken, Clock, Context, Health, MeasuredClock};
use twqr_types::UnixMs;
use twqr_wire::{
    backend::{
        Approved, Declined, ExchangeRequest, ExchangeResponse, Refunded, Reversed, TradeUnknown, declined,
        exchange_request::Call, exchange_response::Answer, inquiry::Subject,
    },
    convert::{HopTimes, TaskRecord, decode_record, decode_record_with_hops, encode_task_record, with_hops},
    pos::PaymentType,
};
use twqr_worker::{Answers, Backend, Calls, Settings, run};

/// When every test begins.
pub const BEGAN: UnixMs = UnixMs(1_700_000_000_000);
/// How long a call may take.
pub const CALL_TIMEOUT_MS: u64 = 500;
/// How far a measured clock may be wrong.
pub const SKEW_MAX_MS: u64 = 200;
/// How long the issuer takes to answer.
pub const LATENCY_MS: u64 = 20;
const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };

/// One issuer, or several behind FISC.
#[derive(Default)]
pub struct TestIssuer {
    state: Mutex<IssuerState>,
    broken: Notify,
}

/// What an issuer has seen, and how it behaves.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fault of its own, which a test switches on")]
pub struct IssuerState {
    /// The calls that arrived, such as `charge 1`, in their order.
    pub calls: Vec<String>,
    /// The card tokens of the charges that arrived.
    pub card_tokens: Vec<String>,
    /// The institutions that take transfers but do not answer them; the wallet is empty.
    pub silent: BTreeSet<String>,
    /// Whether transfers are lost on their way to every issuer.
    pub loses_transfers: bool,
    /// Whether charges are declined with a text that repeats their card token, also when they are
    /// inquired about.
    pub repeats_tokens: bool,
    /// Whether no connection can be opened.
    pub is_unreachable: bool,
    /// Whether new connections take no calls from the worker for the time being.
    pub is_congested: bool,
    /// How many transfers are being answered, and the most that were at once.
    in_progress: usize,
    pub most_in_progress: usize,
    known: BTreeSet<String>,
}

impl TestIssuer {
    pub fn state(&self) -> MutexGuard<'_, IssuerState> {
        self.state.lock().unwrap()
    }

    /// Breaks every open connection.
    pub fn break_connections(&self) {
        self.broken.notify_waiters();
    }

    /// The answer to a call that arrives; `None` if it gets none.
    fn handle(&self, call: &ExchangeRequest) -> Option<Answer> {
        let mut state = self.state();
        if let Call::Charge(charge) = call.call.as_ref()? {
            state.card_tokens.push(charge.card_token.clone());
        }
        let (what, number, answer) = match call.call.as_ref()? {
            Call::Charge(charge) if state.repeats_tokens => ("charge", &charge.trade_no, repeats(&charge.card_token)),
            Call::Charge(charge) => ("charge", &charge.trade_no, approved()),
            Call::Refund(refund) => ("refund", &refund.refund_trade_no, Answer::Refunded(Refunded::default())),
            Call::Reversal(reversal) => ("reversal", &reversal.trade_no, Answer::Reversed(Reversed::default())),
            Call::Inquiry(inquiry) => {
                state.calls.push(format!("inquiry {}", short(&inquiry.trade_no)));
                let token = state.card_tokens.last().filter(|_| state.repeats_tokens);
                let (what, answer) = match inquiry.subject() {
                    Subject::Unspecified | Subject::Charge => {
                        ("charge", token.map_or_else(approved, |token| repeats(token)))
                    }
                    Subject::Refund => ("refund", Answer::Refunded(Refunded::default())),
                    Subject::Reversal => ("reversal", Answer::Reversed(Reversed::default())),
                };
                let is_known = state.known.contains(&format!("{what} {}", inquiry.trade_no));
                return Some(if is_known { answer } else { Answer::TradeUnknown(TradeUnknown {}) });
            }
        };
        state.calls.push(format!("{what} {}", short(number)));
        if state.loses_transfers {
            return None;
        }
        state.known.insert(format!("{what} {number}"));
        (!state.silent.contains(&call.institution)).then_some(answer)
    }
}

/// The number of the task in a TradeNo that [`Stage::task`] has made: its offset.
fn short(trade_no: &str) -> String {
    twqr_types::TradeNo::parse(trade_no).unwrap().offset().to_string()
}

fn approved() -> Answer {
    Answer::Approved(Approved { payment_type: PaymentType::StoredValue.into(), debit_amount: 1, ..Approved::default() })
}

fn repeats(card_token: &str) -> Answer {
    let reason = format!("the code {card_token} has expired");
    Answer::Declined(Declined { kind: declined::Kind::Wallet.into(), code: "906".into(), reason })
}

/// The connection of one worker.
struct Connection {
    issuer: Arc<TestIssuer>,
    session: Arc<SimSession>,
}

#[async_trait]
impl Backend for Connection {
    async fn exchange(&self, mut calls: Calls) -> Result<Answers, Status> {
        if self.issuer.state().is_unreachable {
            return Err(Status::unavailable("unreachable"));
        }
        let (sender, answers) = mpsc::unbounded_channel();
        let (issuer, session) = (self.issuer.clone(), self.session.clone());
        tokio::spawn(async move {
            let broken = issuer.broken.notified();
            tokio::pin!(broken);
            while session.until_running().await {
                while issuer.state().is_congested {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let call = tokio::select! {
                    () = &mut broken => {
                        drop(sender.send(Err(Status::unavailable("broken"))));
                        return;
                    }
                    call = calls.next() => call,
                };
                let Some(call) = call else { return };
                let Some(answer) = issuer.handle(&call) else { continue };
                let (issuer, sender) = (issuer.clone(), sender.clone());
                let is_transfer = usize::from(!matches!(call.call, Some(Call::Inquiry(_))));
                {
                    let mut state = issuer.state();
                    state.in_progress += is_transfer;
                    state.most_in_progress = state.most_in_progress.max(state.in_progress);
                }
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(LATENCY_MS)).await;
                    issuer.state().in_progress -= is_transfer;
                    drop(sender.send(Ok(ExchangeResponse { call_id: call.call_id, answer: Some(answer) })));
                });
            }
        });
        Ok(Box::pin(UnboundedReceiverStream::new(answers)))
    }

    fn no_connection(&self, _: &Status) {}
}

/// The clock of one worker, which may be wrong.
pub struct WorkerClock {
    began: Instant,
    skew_ms: AtomicI64,
}

impl WorkerClock {
    /// Sets it ahead of the brokers' clock by so many ms.
    pub fn set_skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for WorkerClock {
    fn now(&self) -> UnixMs {
        BEGAN.plus(elapsed_ms(self.began) + self.skew_ms.load(Ordering::Relaxed))
    }
}

fn elapsed_ms(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_millis()).unwrap()
}

/// A worker that was started.
pub struct RunningWorker {
    pub session: Arc<SimSession>,
    pub clock: Arc<WorkerClock>,
    pub health: Health,
}

/// The journal, the issuer, and the router that appends tasks.
pub struct Stage {
    topic: Topic,
    began: Instant,
    sim: Sim,
    router: Arc<SimSession>,
    /// The card keys of every worker.
    pub card_keys: CardKeys,
    pub issuer: Arc<TestIssuer>,
}

impl Stage {
    /// A stage for the workers of this topic, of which it has one partition.
    pub fn new(topic: Topic) -> Self {
        let faults = Faults { session_timeout_ms: 200, ..Faults::default() };
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
        let (router, began) = (sim.session("router-0"), Instant::now());
        sim.stamp_with(move || BEGAN.0 + elapsed_ms(began));
        let card_keys = CardKeys::in_memory(BEGAN, 1);
        Self { topic, began, sim, router, card_keys, issuer: Arc::default() }
    }

    /// Starts a worker; the returned session can crash.
    pub fn start_worker(&self, member: &str) -> Arc<SimSession> {
        let session = self.sim.session(member);
        let clock = Arc::new(WorkerClock { began: self.began, skew_ms: AtomicI64::new(0) });
        let context = Context { clock, shutdown: CancellationToken::new(), health: Health::default() };
        self.run_worker(member, &session, context);
        session
    }

    /// Starts a worker that measures its clock, which is ahead by so many ms.
    pub async fn start_measured_worker(&self, member: &str, skew_ms: i64) -> RunningWorker {
        let session = self.sim.session(member);
        let clock = Arc::new(WorkerClock { began: self.began, skew_ms: AtomicI64::new(skew_ms) });
        let measured = MeasuredClock::new(clock.clone(), SKEW_MAX_MS);
        let health = Health::default();
        let context = Context { clock: measured.clone(), shutdown: CancellationToken::new(), health: health.clone() };
        ClockMeter::begin(session.clone(), measured, vec![member.to_owned()], &context).await;
        self.run_worker(member, &session, context);
        RunningWorker { session, clock, health }
    }

    fn run_worker(&self, member: &str, session: &Arc<SimSession>, context: Context) {
        let connection = Arc::new(Connection { issuer: self.issuer.clone(), session: session.clone() });
        let configure = if self.topic == Topic::WalletTasks { Settings::wallet } else { Settings::fisc };
        let settings = configure(member.to_owned(), connection, CALL_TIMEOUT_MS);
        let settings = Settings { card_keys: self.card_keys.clone(), ..settings };
        drop(tokio::spawn(run(settings, session.clone(), context)));
    }

    /// Appends tasks in one batch.
    pub async fn append(&self, tasks: impl IntoIterator<Item = Task>) {
        let entry = |task| Entry::plain(encode_task_record(&TaskRecord::Task(Box::new(task))));
        let partition = Partition { topic: self.topic, index: 0 };
        self.router.append(partition, tasks.into_iter().map(entry).collect()).await.unwrap();
    }

    /// Appends a task whose call asks for its hops.
    pub async fn append_with_hops(&self, task: Task) {
        let times = HopTimes::new(task.id.offset, (BEGAN.0 + elapsed_ms(self.began)) * 1_000);
        let record = encode_task_record(&TaskRecord::Task(Box::new(task)));
        let partition = Partition { topic: self.topic, index: 0 };
        self.router.append(partition, vec![Entry::plain(with_hops(&record, &times))]).await.unwrap();
    }

    /// The hops of each outcome so far, with the number of its task.
    pub fn outcome_hops(&self) -> Vec<(u64, Option<HopTimes>)> {
        let outcome = |record: twqr_journal::Record| {
            let (record, hops) = decode_record_with_hops(record.entry.value.unwrap()).unwrap();
            let Command::Outcome(outcome) = record.command else { return None };
            Some((outcome.task.offset, hops))
        };
        self.sim.records(ORDERS).into_iter().filter_map(outcome).collect()
    }

    /// Waits until so many ms after the beginning.
    pub async fn until(&self, ms: u64) {
        tokio::time::sleep_until(self.began + Duration::from_millis(ms)).await;
    }

    /// The outcomes so far, such as `1: done`, each with its time in ms since the beginning.
    pub fn outcomes(&self) -> Vec<(String, i64)> {
        let outcome = |record: twqr_journal::Record| {
            let record = decode_record(record.entry.value.unwrap()).unwrap();
            let Command::Outcome(outcome) = record.command else { return None };
            Some((format!("{}: {}", outcome.task.offset, name(&outcome.movement)), record.at.since(BEGAN)))
        };
        self.sim.records(ORDERS).into_iter().filter_map(outcome).collect()
    }

    /// Whether a record of the orders contains this text.
    pub fn orders_contain(&self, text: &str) -> bool {
        let has_text = |value: &[u8]| value.windows(text.len()).any(|part| part == text.as_bytes());
        let mut values = self.sim.records(ORDERS).into_iter().filter_map(|record| record.entry.value);
        values.any(|value| has_text(&value))
    }

    /// The calls that arrived at the issuer.
    pub fn calls(&self) -> Vec<String> {
        self.issuer.state().calls.clone()
    }
}

fn name(movement: &MovementOutcome) -> &'static str {
    fn result<A>(result: &TaskResult<A>) -> &'static str {
        match result {
            TaskResult::Done(_) => "done",
            TaskResult::Declined(_) => "declined",
            TaskResult::NotSent(_) => "not sent",
            TaskResult::Unknown(_) => "unknown",
            TaskResult::Absent => "absent",
        }
    }
    match movement {
        MovementOutcome::Charge(of) => result(of),
        MovementOutcome::Refund(_, of) => result(of),
        MovementOutcome::Reversal(of) => result(of),
    }
}
