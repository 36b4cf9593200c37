//! The processes of a history, and what happens to them.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal::Topic;
use twqr_journal_sim::{Sim, SimSession};
use twqr_router::MemoryStore;
use twqr_service::{CancellationToken, Clock, Context, Health};
use twqr_tracker::MemoryModel;
use twqr_types::UnixMs;
use twqr_worker::Lanes;

use crate::{
    bank::{Line, SimBank},
    rules::policy,
};

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Router,
    WalletWorker,
    FiscWorker,
    Tracker,
}

/// A process that runs, stands still, or is gone.
struct Process {
    kind: Kind,
    session: Arc<SimSession>,
    shutdown: CancellationToken,
    /// A router's local store: it outlives the process, or is lost with it.
    store: Arc<MemoryStore>,
    paused: bool,
    gone: bool,
}

/// Virtual time, which each process sees a little differently.
pub struct VirtualClock {
    began: tokio::time::Instant,
    skew_ms: i64,
}

const EPOCH_MS: i64 = 1_790_000_000_000;

impl Clock for VirtualClock {
    fn now(&self) -> UnixMs {
        UnixMs(EPOCH_MS + self.skew_ms).plus(i64::try_from(self.began.elapsed().as_millis()).unwrap())
    }
}

/// Everything that runs.
pub struct World {
    sim: Sim,
    bank: SimBank,
    processes: Vec<Process>,
    began: tokio::time::Instant,
    random: ChaCha8Rng,
    pub clock: Arc<dyn Clock>,
    members: Option<NonZeroU64>,
    model: Arc<MemoryModel>,
}

impl World {
    pub fn new(sim: Sim, bank: SimBank, seed: u64) -> Self {
        let began = tokio::time::Instant::now();
        let random = ChaCha8Rng::seed_from_u64(seed ^ 0x3031);
        let clock = Arc::new(VirtualClock { began, skew_ms: 0 });
        Self { sim, bank, processes: Vec::new(), began, random, clock, members: None, model: Arc::default() }
    }

    /// Another process of this kind joins, with nothing on its disk.
    pub fn start(&mut self, kind: Kind) {
        let store = Arc::new(MemoryStore::default());
        self.start_with(kind, store);
    }

    fn start_with(&mut self, kind: Kind, store: Arc<MemoryStore>) {
        let number = self.members.map_or(NonZeroU64::MIN, |number| number.saturating_add(1));
        self.members = Some(number);
        let member = format!("{kind:?}-{number}");
        let session = self.sim.session(&member);
        let shutdown = CancellationToken::new();
        let clock = Arc::new(VirtualClock { began: self.began, skew_ms: self.random.random_range(-100..=100) });
        let context = Context { clock, shutdown: shutdown.clone(), health: Health::default() };
        let journal = session.clone();
        match kind {
            Kind::Router => {
                let settings = twqr_router::Settings {
                    member,
                    policy: policy(),
                    checkpoint_interval_ms: 200,
                    store: store.clone(),
                };
                tokio::spawn(twqr_router::run(settings, journal, context));
            }
            Kind::Tracker => drop(tokio::spawn(twqr_tracker::follow(self.model.clone(), journal, context))),
            Kind::WalletWorker | Kind::FiscWorker => {
                let topic = if kind == Kind::WalletWorker { Topic::WalletTasks } else { Topic::FiscTasks };
                let line = Line { bank: self.bank.clone(), session: session.clone(), clock: self.clock.clone() };
                let settings = twqr_worker::Settings {
                    topic,
                    member,
                    backend: Arc::new(line),
                    call_timeout_ms: 800,
                    lanes: Arc::new(Lanes::default()),
                };
                tokio::spawn(twqr_worker::run(settings, journal, context));
            }
        }
        self.processes.push(Process { kind, session, shutdown, store, paused: false, gone: false });
    }

    /// Something happens to one of them.
    pub fn trouble(&mut self, random: &mut ChaCha8Rng) {
        let here: Vec<usize> = (0..self.processes.len()).filter(|i| !self.processes[*i].gone).collect();
        let Some(chosen) = here.choose(random).copied() else { return };
        let process = &mut self.processes[chosen];
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

    /// A process leaves, in good order if it can, and another one of its kind comes, with what the
    /// first had on its disk or without.
    fn replace(&mut self, index: usize, keeps_disk: bool) {
        let process = &mut self.processes[index];
        process.gone = true;
        process.shutdown.cancel();
        let (kind, session) = (process.kind, process.session.clone());
        let store = if keeps_disk { process.store.clone() } else { Arc::new(MemoryStore::default()) };
        // Whoever left in good order has left the group soon after.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            session.crash();
        });
        self.start_with(kind, store);
    }

    /// Nothing happens any more: who stands still goes on, so that every zombie has its say.
    pub fn calm(&mut self) {
        for process in &mut self.processes {
            process.paused = false;
            process.session.resume();
        }
    }
}
