//! `twqr up`, and each service alone: opens the journal, starts the services, and drains them in order at the end.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tracing::info;
use twqr_journal::{Journal, embedded::EmbeddedJournal};
use twqr_service::{CancellationToken, Context, Health, SystemClock};

use crate::{
    admin,
    config::Config,
    signals::Signals,
    supervise::{Running, supervise},
};

/// A service on the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ingress,
    WalletWorker,
    FiscWorker,
    Router,
}

impl Service {
    /// All of them, in the order in which they drain: first nothing comes in, then what is under way ends.
    pub(crate) const ALL: [Self; 4] = [Self::Ingress, Self::WalletWorker, Self::FiscWorker, Self::Router];

    /// Starts it.
    fn start(self, config: &Config, journal: Arc<dyn Journal>, health: &Health) -> anyhow::Result<Running> {
        let (stop, context) = context(health);
        let member = &config.runtime.member;
        Ok(match self {
            Self::Ingress => {
                let settings = config.ingress.settings(member, &config.policy);
                Running::start("ingress", stop, twqr_ingress::run(settings, journal, context))
            }
            Self::WalletWorker => {
                let settings = config.wallet_worker.settings(member);
                Running::start("wallet-worker", stop, twqr_wallet_worker::run(settings, journal, context))
            }
            Self::FiscWorker => {
                let settings = config.fisc_worker.settings(member, &config.policy);
                Running::start("fisc-worker", stop, twqr_fisc_worker::run(settings, journal, context))
            }
            Self::Router => {
                let settings = config.router.settings(member, config.policy.rules(), &config.journal.dir)?;
                Running::start("router", stop, twqr_router::run(settings, journal, context))
            }
        })
    }
}

/// Its own word to stop, so that each service drains in its turn.
fn context(health: &Health) -> (CancellationToken, Context) {
    let stop = CancellationToken::new();
    (stop.clone(), Context { clock: Arc::new(SystemClock), shutdown: stop, health: health.clone() })
}

/// Runs the services until a signal comes, or until one of them fails.
pub(crate) async fn run(config: Config, services: &[Service]) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let metrics = admin::record_metrics()?;
    let listener = admin::bind(config.admin.listen).await?;
    let health = Health::default();
    let journal = EmbeddedJournal::open(config.journal.settings())?;
    let mut running = Vec::new();
    for service in services {
        running.push(service.start(&config, journal.clone(), &health)?);
    }
    let (stop, _) = context(&health);
    let serve = admin::serve(listener, metrics, health, stop.clone());
    running.push(Running::start("admin", stop, serve));
    info!(admin = %config.admin.listen, data = %config.journal.dir.display(), "starting");
    let ended = supervise(running, signals, Duration::from_millis(config.runtime.drain_ms_max)).await;
    tokio::task::spawn_blocking(move || journal.close()).await.context("the journal could not be closed")?;
    ended
}

/// Runs the simulator until a signal comes, or until it fails.
pub(crate) async fn run_simulator(config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let settings = config.simulator.settings().map_err(anyhow::Error::msg)?;
    let (stop, context) = context(&Health::default());
    let running = vec![Running::start("simulator", stop, twqr_simulator::run(settings, context))];
    supervise(running, signals, Duration::from_millis(config.runtime.drain_ms_max)).await
}
