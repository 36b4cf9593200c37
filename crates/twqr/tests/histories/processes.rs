//! Starts the processes of a history, and crashes, pauses and replaces them at random.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_card_keys::{CardKeys, KeySet};
use twqr_consumer::ClockMeter;
use twqr_journal_sim::{Sim, SimSession};
use twqr_order::Policy;
use twqr_router::{MemoryStore, ReferenceStore, StateStore};
use twqr_service::{CancellationToken, Clock, Context, Health, MeasuredClock};
use twqr_tracker::MemoryModel;
use twqr_types::UnixMs;
use twqr_worker::Settings;

use crate::{
    key_files::KEY_FILES,
    simulated_issuers::{IssuerConnection, SimulatedIssuers},
};

/// The service that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Router,
    WalletWorker,
    FiscWorker,
    Tracker,
}

/// A process: running, paused, or gone.
struct Process {
    service: Service,
    session: Arc<SimSession>,
    shutdown: CancellationToken,
    clock: Arc<VirtualClock>,
    /// A worker's card keys.
    card_keys: CardKeys,
    /// A router's local store, which a successor may take over.
    store: Arc<MemoryStore>,
    paused: bool,
    /// Whether it crashed or was asked to stop, and a successor was started.
    gone: bool,
}

/// Virtual time as one process sees it. The brokers' clock is never wrong.
pub struct VirtualClock {
    began: tokio::time::Instant,
    skew_ms: AtomicI64,
}

/// How far the clock of a process may be wrong, in ms; each is wrong by up to that.
const SKEW_MS_MAX: u64 = 200;

/// When every history begins: half a minute before an hour ends, and with it its sealing key.
pub const EPOCH_MS: i64 = 1_790_002_770_000;

impl Clock for VirtualClock {
    fn now(&self) -> UnixMs {
        UnixMs(EPOCH_MS + self.skew_ms.load(Ordering::Relaxed))
            .plus(i64::try_from(self.began.elapsed().as_millis()).unwrap())
    }
}

/// All processes that a history has started.
pub struct Processes {
    sim: Sim,
    issuers: SimulatedIssuers,
    first_policy: Policy,
    started: Vec<Process>,
    began: tokio::time::Instant,
    random: ChaCha8Rng,
    /// The clock of the callers and the issuers.
    pub clock: Arc<dyn Clock>,
    /// The number of the newest member; numbers are never reused.
    last_member: Option<NonZeroU64>,
    /// The read model, shared by the trackers that follow each other.
    model: Arc<MemoryModel>,
    /// Whether the local stores of routers refer to the states in `order-states`. Then only one
    /// router may run.
    refers: bool,
}

impl Processes {
    /// No processes yet. A router that finds no policy in the log begins with the first one.
    pub fn new(sim: Sim, issuers: SimulatedIssuers, first_policy: Policy, seed: u64) -> Self {
        let began = tokio::time::Instant::now();
        let random = ChaCha8Rng::seed_from_u64(seed ^ 0x3031);
        let clock = Arc::new(VirtualClock { began, skew_ms: AtomicI64::new(0) });
        let brokers_clock = clock.clone();
        sim.stamp_with(move || brokers_clock.now().0);
        let (started, model) = (Vec::new(), Arc::default());
        Self { sim, issuers, first_policy, started, began, random, clock, last_member: None, model, refers: false }
    }

    /// The local stores of routers refer to the states in `order-states`.
    pub fn with_references(self) -> Self {
        Self { refers: true, ..self }
    }

    /// Starts a process with an empty disk.
    pub fn start(&mut self, service: Service) {
        let store = Arc::new(MemoryStore::default());
        self.start_with(service, store);
    }

    fn start_with(&mut self, service: Service, store: Arc<MemoryStore>) {
        let number = self.last_member.map_or(NonZeroU64::MIN, |number| number.saturating_add(1));
        self.last_member = Some(number);
        let member = format!("{service:?}-{number}");
        let session = self.sim.session(&member);
        let shutdown = CancellationToken::new();
        let skew_ms = AtomicI64::new(self.draw_skew());
        let clock = Arc::new(VirtualClock { began: self.began, skew_ms });
        let measured = MeasuredClock::new(clock.clone(), SKEW_MS_MAX);
        let context = Context { clock: measured.clone(), shutdown: shutdown.clone(), health: Health::default() };
        let card_keys = CardKeys::new(KEY_FILES.rotated(0));
        let journal = session.clone();
        let measuring = {
            let (journal, context, members) = (journal.clone(), context.clone(), vec![member.clone()]);
            async move { ClockMeter::begin(journal, measured, members, &context).await }
        };
        match service {
            Service::Router => {
                let states: Arc<dyn StateStore> = if self.refers {
                    Arc::new(ReferenceStore::new(store.clone(), session.clone()))
                } else {
                    store.clone()
                };
                let settings = twqr_router::Settings {
                    member,
                    policy: self.first_policy.clone(),
                    checkpoint_interval_ms: 200,
                    standby: true,
                    store: states,
                };
                tokio::spawn(measuring.then(|()| twqr_router::run(settings, journal, context)));
            }
            Service::Tracker => {
                let model = self.model.clone();
                tokio::spawn(measuring.then(|()| twqr_tracker::follow(model, journal, context)));
            }
            Service::WalletWorker | Service::FiscWorker => {
                let connection = IssuerConnection {
                    issuers: self.issuers.clone(),
                    session: session.clone(),
                    clock: self.clock.clone(),
                    worker_clock: clock.clone(),
                };
                let configure = if service == Service::WalletWorker { Settings::wallet } else { Settings::fisc };
                let settings =
                    Settings { card_keys: card_keys.clone(), ..configure(member, Arc::new(connection), 800) };
                tokio::spawn(measuring.then(|()| twqr_worker::run(settings, journal, context)));
            }
        }
        let process = Process { service, session, shutdown, clock, card_keys, store, paused: false, gone: false };
        self.started.push(process);
    }

    /// Draws how far the clock of a process is wrong, within the bound.
    fn draw_skew(&mut self) -> i64 {
        let max_ms = SKEW_MS_MAX.cast_signed();
        self.random.random_range(-max_ms..=max_ms)
    }

    /// Sets the clock of one process of this service wrong by so many ms.
    pub fn set_clock_of_one(&mut self, service: Service, skew_ms: i64, random: &mut ChaCha8Rng) {
        let of_service: Vec<_> = self.started.iter().filter(|process| process.service == service).collect();
        let Some(chosen) = of_service.choose(random) else { return };
        chosen.clock.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// Sets the clocks of all processes right, within the bound.
    pub fn set_clocks_right(&mut self) {
        for at in 0..self.started.len() {
            let skew_ms = self.draw_skew();
            self.started[at].clock.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
    }

    /// Takes from a worker all card keys or the one of the second hour, or gives it all of them
    /// back.
    pub fn change_keys_of_one(&mut self, random: &mut ChaCha8Rng) {
        let is_worker = |process: &&Process| {
            !process.gone && matches!(process.service, Service::WalletWorker | Service::FiscWorker)
        };
        let workers: Vec<_> = self.started.iter().filter(is_worker).collect();
        let Some(chosen) = workers.choose(random) else { return };
        chosen.card_keys.replace(match random.random_range(0..4) {
            0 => KeySet::default(),
            1 => KEY_FILES.early(),
            _ => KEY_FILES.rotated(0),
        });
    }

    /// Gives every worker all card keys.
    pub fn give_all_keys(&mut self) {
        for process in &self.started {
            process.card_keys.replace(KEY_FILES.rotated(0));
        }
    }

    /// Crashes, pauses, resumes or replaces one process at random.
    pub fn disturb_one(&mut self, random: &mut ChaCha8Rng) {
        let present: Vec<usize> = (0..self.started.len()).filter(|i| !self.started[*i].gone).collect();
        let Some(chosen) = present.choose(random).copied() else { return };
        let process = &mut self.started[chosen];
        match random.random_range(0..6) {
            _ if process.paused => {
                process.paused = false;
                process.session.resume();
            }
            0..3 => {
                process.session.crash();
                self.replace(chosen, random.random_bool(0.5));
            }
            3..5 => {
                process.paused = true;
                process.session.pause();
            }
            _ => self.replace(chosen, true),
        }
    }

    /// Crashes one process of this service, and starts its successor at once, with its disk or an
    /// empty one.
    pub fn crash_one_of(&mut self, service: Service, keeps_disk: bool, random: &mut ChaCha8Rng) {
        let is_present = |i: &usize| !self.started[*i].gone && self.started[*i].service == service;
        let present: Vec<usize> = (0..self.started.len()).filter(is_present).collect();
        let Some(chosen) = present.choose(random).copied() else { return };
        self.started[chosen].session.crash();
        self.replace(chosen, keeps_disk);
    }

    /// Asks a process to stop, if it still runs, and starts a successor, which gets its disk or an
    /// empty one.
    fn replace(&mut self, index: usize, keeps_disk: bool) {
        let process = &mut self.started[index];
        process.gone = true;
        process.shutdown.cancel();
        let (service, session) = (process.service, process.session.clone());
        let store = if keeps_disk { process.store.clone() } else { Arc::new(MemoryStore::default()) };
        // A process that stops in an orderly way has 5 s to leave its group.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            session.crash();
        });
        self.start_with(service, store);
    }

    /// Resumes all paused processes. So those whose partitions were reassigned during the pause
    /// also act once more.
    pub fn resume_all(&mut self) {
        for process in &mut self.started {
            process.paused = false;
            process.session.resume();
        }
    }
}
