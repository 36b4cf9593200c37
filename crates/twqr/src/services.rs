//! Wiring: the services of one process on their journal, started so that what is called is there
//! before its callers, and stopped in the opposite order.

mod journal;
mod settings;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::task::{JoinError, JoinSet};
use twqr_config::Config;
use twqr_journal::Journal;
use twqr_service::{CancellationToken, Context, Health, SystemClock};

use crate::admin;

/// A service of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ingress,
    Router,
    WalletWorker,
    FiscWorker,
    Tracker,
}

impl Service {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Router, Self::Tracker, Self::WalletWorker, Self::FiscWorker, Self::Ingress];

    /// Who stops first: callers before those whom they call.
    const fn tier(self) -> usize {
        match self {
            Self::Ingress => 0,
            Self::WalletWorker | Self::FiscWorker => 1,
            Self::Router | Self::Tracker => 2,
        }
    }

    /// Its name, as the subcommand.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router",
            Self::WalletWorker => "wallet-worker",
            Self::FiscWorker => "fisc-worker",
            Self::Tracker => "tracker",
        }
    }

    /// How the names of its parts begin in the health report.
    const fn part(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router/",
            Self::WalletWorker => "wallet-tasks/",
            Self::FiscWorker => "fisc-tasks/",
            Self::Tracker => "tracker/",
        }
    }
}

/// How long the other services may take until they are ready before callers are let in, in ms.
const READY_WAIT_MS: u64 = 60_000;

/// How long a process in which something is dead may take to end in good order, in ms.
const END_WITHIN_MS: u64 = 8_000;

/// Checks that the files that the configuration names can be read and hold what they must.
pub(crate) fn check_files(config: &Config) -> anyhow::Result<()> {
    settings::pos_http(config).check_keys().context("merchant_keys_file")?;
    config.kafka.settings().map(drop)
}

type Running = JoinSet<anyhow::Result<()>>;

/// What is started in one process.
struct Process {
    config: Config,
    journal: Arc<dyn Journal>,
    health: Health,
    /// By tier: the word to stop, and what runs.
    tiers: [(CancellationToken, Running); 3],
}

/// Runs these services until `stop` fires or one of them fails.
pub(crate) async fn run(services: &[Service], config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let health = Health::default();
    let tiers = [(); 3].map(|()| (CancellationToken::new(), Running::new()));
    let admin = admin::serve(config.admin, health.clone(), tiers[2].0.clone());
    let opening = journal::open(services, &config, health.part("journal"));
    let mut admin = tokio::spawn(admin);
    let journal = tokio::select! {
        journal = opening => journal?,
        ended = &mut admin => return failure(ended),
        () = stop.cancelled() => return Ok(()),
    };
    let mut process = Process { config, journal, health, tiers };
    process.tiers[2].1.spawn(async move { admin.await? });
    let result = process.run(services, &stop).await;
    for (token, running) in &mut process.tiers {
        token.cancel();
        while running.join_next().await.is_some() {}
    }
    process.journal.close().await;
    result
}

impl Process {
    /// Callers are let in once everybody else here is ready.
    async fn run(&mut self, services: &[Service], stop: &CancellationToken) -> anyhow::Result<()> {
        let (front, back): (Vec<Service>, Vec<Service>) = services.iter().partition(|service| service.tier() == 0);
        for service in &back {
            self.start(*service)?;
        }
        let health = self.health.clone();
        tokio::select! {
            failed = self.ended() => return failed,
            ready = wait_ready(&health, &back) => ready?,
            () = stop.cancelled() => return Ok(()),
        }
        for service in front {
            self.start(service)?;
        }
        let health = self.health.clone();
        tokio::select! {
            failed = self.ended() => failed,
            dead = health.until_dead() => {
                end_surely();
                anyhow::bail!("{dead}; ending, so that whoever supervises this process starts it anew")
            }
            () = stop.cancelled() => Ok(()),
        }
    }

    fn start(&mut self, service: Service) -> anyhow::Result<()> {
        let (token, running) = &mut self.tiers[service.tier()];
        let context = Context { clock: Arc::new(SystemClock), shutdown: token.clone(), health: self.health.clone() };
        let (config, journal) = (&self.config, self.journal.clone());
        match service {
            Service::Ingress => {
                running.spawn(named("ingress", twqr_ingress::run(settings::ingress(config)?, journal, context)))
            }
            Service::Router => {
                running.spawn(named("router", twqr_router::run(settings::router(config)?, journal, context)))
            }
            Service::WalletWorker => {
                let settings = settings::wallet_worker(config);
                running.spawn(named("wallet-worker", twqr_wallet_worker::run(settings, journal, context)))
            }
            Service::FiscWorker => {
                let settings = settings::fisc_worker(config);
                running.spawn(named("fisc-worker", twqr_fisc_worker::run(settings, journal, context)))
            }
            Service::Tracker => {
                running.spawn(named("tracker", twqr_tracker::run(settings::tracker(config), journal, context)))
            }
        };
        Ok(())
    }

    /// Waits until a service ends although nobody told it to.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let [(_, a), (_, b), (_, c)] = &mut self.tiers;
        let ended = tokio::select! {
            Some(ended) = a.join_next() => ended,
            Some(ended) = b.join_next() => ended,
            Some(ended) = c.join_next() => ended,
        };
        failure(ended)
    }
}

/// A process that must end does, also where something that is broken stands in the way of ending in
/// good order.
fn end_surely() {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(END_WITHIN_MS));
        eprintln!("twqr: not ended in good order within {END_WITHIN_MS} ms; ending now");
        std::process::exit(1);
    });
}

fn failure(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended?.and_then(|()| anyhow::bail!("a service ended on its own"))
}

async fn named<E>(name: &'static str, service: impl Future<Output = Result<(), E>>) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    service.await.context(name)
}

async fn wait_ready(health: &Health, services: &[Service]) -> anyhow::Result<()> {
    for _ in 0..READY_WAIT_MS / 10 {
        let report = health.report();
        let begun = |service: &Service| report.keys().any(|name| name.starts_with(service.part()));
        if services.is_empty() || (services.iter().all(begun) && health.is_ready()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("not ready after {READY_WAIT_MS} ms: {:?}", health.report())
}
