//! Starts and stops the services of one process. A service starts after the services that it calls,
//! and stops before them. When the process is asked to stop, it becomes unready at once; then it
//! refuses new calls, finishes those in flight, lets others take over its partitions, and ends.

mod card_keys;
mod journal;
mod journal_care;
mod settings;
mod sockets;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use rustix::{fs::Mode, process::umask};
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::warn;
use twqr_card_keys::{CardKeys, Hour};
use twqr_config::Config;
use twqr_consumer::{ClockMeter, group_part};
use twqr_files::print_error_line;
use twqr_journal::{Journal, Topic, embedded::EmbeddedJournal};
use twqr_service::{BoundSocket, CancellationToken, Clock, Context, Health, MeasuredClock, PartState, SystemClock};

use crate::{admin, metrics::Exposition};
use sockets::Sockets;

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
    /// All services, in the order in which they start.
    pub(crate) const ALL: [Self; 5] =
        [Self::Router, Self::Tracker, Self::WalletWorker, Self::FiscWorker, Self::Ingress];

    /// The tier in which the service stops, from 0: callers stop before the services that they
    /// call.
    const fn tier(self) -> usize {
        match self {
            Self::Ingress => 0,
            Self::WalletWorker | Self::FiscWorker => 1,
            Self::Router | Self::Tracker => 2,
        }
    }

    /// The name, which is also the subcommand.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router",
            Self::WalletWorker => "wallet-worker",
            Self::FiscWorker => "fisc-worker",
            Self::Tracker => "tracker",
        }
    }

    /// By which name the service of this process is known to the others.
    fn member(self, config: &Config) -> String {
        format!("{}-{}", self.name(), config.member)
    }

    /// The part that reports that it has not started, until it has.
    fn first_part(self) -> String {
        match self {
            Self::Ingress => twqr_ingress::HEALTH_PART.to_owned(),
            Self::Router => group_part(Topic::Orders),
            Self::WalletWorker => group_part(Topic::WalletTasks),
            Self::FiscWorker => group_part(Topic::FiscTasks),
            Self::Tracker => twqr_tracker::HEALTH_PART.to_owned(),
        }
    }

    /// The prefix of its parts' names in the health report.
    const fn part(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router/shard-",
            Self::WalletWorker => "wallet-tasks/",
            Self::FiscWorker => "fisc-tasks/",
            Self::Tracker => "tracker/",
        }
    }
}

/// How long the ingress waits for routers and workers of the same process before it starts, in ms.
/// It starts without those that are not ready then, and asks every shard itself.
const READY_WAIT_MS: u64 = 10_000;

/// How long a process with a dead part may take to shut down, in ms. Then it exits at once.
const END_WITHIN_MS: u64 = 8_000;

/// The missing card keys of those that the configuration needs; `None` if none is missing.
pub(crate) fn missing_card_keys(config: &Config) -> Option<String> {
    card_keys::missing(config, Hour::of(SystemClock.now()))
}

/// Checks that the files which the configuration names can be read and are valid.
pub(crate) fn check_files(config: &Config) -> anyhow::Result<()> {
    settings::pos_http(config).check_keys().context("merchant_keys_file")?;
    config.tls.check_files()?;
    settings::check_access(config)?;
    config.kafka.settings().map(drop)
}

type Running = JoinSet<anyhow::Result<()>>;

/// The running services of this process, with the journal and health report that they share.
struct Process {
    config: Config,
    journal: Arc<dyn Journal>,
    /// The same journal, if it is the embedded one.
    embedded: Option<Arc<EmbeddedJournal>>,
    clock: Arc<dyn Clock>,
    card_keys: CardKeys,
    health: Health,
    /// The sockets of services that have not started.
    ingress: Option<twqr_ingress::Sockets>,
    operators: Option<BoundSocket>,
    /// For each tier, the token that stops it and its running services.
    tiers: [(CancellationToken, Running); 3],
    /// The same for the listener of `admin`, which serves until the end.
    admin: (CancellationToken, Running),
}

/// Runs these services until `stop` fires or one of them fails.
pub(crate) async fn run(services: &[Service], config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    // What the services store is for their user alone, whatever umask they were started with.
    umask(Mode::RWXG | Mode::RWXO);
    let health = starting(services);
    let metrics = Exposition::install(health.clone(), config.data_dir.clone())?;
    // Before anything is opened: an outgoing connection may take a free port.
    let sockets = Sockets::bind(services, &config)?;
    let mut tiers = [(); 3].map(|()| (CancellationToken::new(), Running::new()));
    let mut admin = (CancellationToken::new(), Running::new());
    let listener = sockets.admin.listen()?;
    admin.1.spawn(admin::serve(listener, health.clone(), metrics, admin.0.clone()));
    let opening = journal::open(services, &config, health.part("journal"));
    let opened = tokio::select! {
        opened = opening => opened?,
        Some(ended) = admin.1.join_next() => return failure(ended),
        () = stop.cancelled() => return Ok(()),
    };
    let spans = settings::telemetry(&config)?.as_ref().map(twqr_telemetry::start).transpose()?;
    let members = services.iter().map(|service| service.member(&config)).collect();
    let clock = measured_clock(&config, &opened.journal, members, &health, &tiers[2].0).await;
    let tier = (tiers[2].0.clone(), &mut tiers[2].1);
    let card_keys = card_keys::open(services, &config, clock.clone(), &health, tier).await?;
    let (ingress, operators) = (sockets.ingress, sockets.operators);
    let journal::Opened { journal, embedded } = opened;
    let mut process = Process { config, journal, embedded, clock, card_keys, health, ingress, operators, tiers, admin };
    if let Some(embedded) = process.embedded.clone() {
        let kept_ms = i64::from(process.config.journal_retention_hours) * 3_600_000;
        let care = journal_care::take_care(embedded, process.health.clone(), kept_ms);
        let (stop, running) = &mut process.tiers[2];
        let stopped = stop.clone();
        running.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => Ok(()),
                never = care => match never {},
            }
        });
    }
    let result = process.run(services, &stop).await;
    process.end(result.is_ok()).await;
    if let Some(spans) = spans {
        spans.finish().await;
    }
    result
}

/// The health of a process whose services have not started.
fn starting(services: &[Service]) -> Health {
    let health = Health::default();
    if services.contains(&Service::Ingress) {
        health.deciding_part(twqr_ingress::HEALTH_PART).not_ready("waiting for the other services");
    }
    for service in services.iter().filter(|service| **service != Service::Ingress) {
        health.part(service.first_part());
    }
    health
}

impl Process {
    /// Ends in order: unready at once, and after a delay tier by tier. The listener of `admin`
    /// tells that the process is unready until nothing else runs.
    async fn end(mut self, was_asked: bool) {
        self.health.leave();
        if was_asked {
            tokio::time::sleep(Duration::from_millis(self.config.drain_delay_ms)).await;
        }
        for (token, running) in &mut self.tiers {
            end_all(token, running).await;
        }
        self.journal.close().await;
        end_all(&self.admin.0, &mut self.admin.1).await;
    }

    /// Starts the services; the ingress starts once those that it calls are ready, or
    /// [`READY_WAIT_MS`] are over.
    async fn run(&mut self, services: &[Service], stop: &CancellationToken) -> anyhow::Result<()> {
        let (front, back): (Vec<Service>, Vec<Service>) = services.iter().partition(|service| service.tier() == 0);
        tokio::select! {
            started = self.start_all(&back) => started?,
            () = stop.cancelled() => return Ok(()),
        }
        let health = self.health.clone();
        let needed: &[Service] = if front.is_empty() { &[] } else { &back };
        tokio::select! {
            failed = self.ended() => return failed,
            () = wait_ready(&health, needed) => {}
            () = stop.cancelled() => return Ok(()),
        }
        tokio::select! {
            started = self.start_all(&front) => started?,
            () = stop.cancelled() => return Ok(()),
        }
        let health = self.health.clone();
        tokio::select! {
            failed = self.ended() => failed,
            dead = health.until_dead() => {
                let reason = format!("{dead}; ending, so that the supervisor of this process restarts it");
                force_exit_later(reason.clone());
                anyhow::bail!(reason)
            }
            () = stop.cancelled() => Ok(()),
        }
    }

    async fn start_all(&mut self, services: &[Service]) -> anyhow::Result<()> {
        for service in services {
            self.start(*service).await?;
        }
        Ok(())
    }

    async fn start(&mut self, service: Service) -> anyhow::Result<()> {
        let (token, running) = &mut self.tiers[service.tier()];
        let context = Context { clock: self.clock.clone(), shutdown: token.clone(), health: self.health.clone() };
        let (config, journal, keys) = (&self.config, self.journal.clone(), self.card_keys.clone());
        match service {
            Service::Ingress => {
                let (sockets, settings) =
                    (self.ingress.take().context("ingress: started twice")?, settings::ingress(config, keys)?);
                running.spawn(named("ingress", twqr_ingress::run(sockets, settings, journal, context)))
            }
            Service::Router => {
                let settings = settings::router(config, self.embedded.clone()).await?;
                running.spawn(named("router", twqr_router::run(settings, journal, context)))
            }
            Service::WalletWorker => {
                let settings = settings::wallet_worker(config, keys)?;
                running.spawn(named("wallet-worker", twqr_worker::run(settings, journal, context)))
            }
            Service::FiscWorker => {
                let settings = settings::fisc_worker(config, keys)?;
                running.spawn(named("fisc-worker", twqr_worker::run(settings, journal, context)))
            }
            Service::Tracker => {
                let (socket, settings) =
                    (self.operators.take().context("tracker: started twice")?, settings::tracker(config)?);
                running.spawn(named("tracker", twqr_tracker::run(socket, settings, journal, context)))
            }
        };
        Ok(())
    }

    /// Waits until a service ends without having been stopped.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let [(_, a), (_, b), (_, c)] = &mut self.tiers;
        let ended = tokio::select! {
            Some(ended) = a.join_next() => ended,
            Some(ended) = b.join_next() => ended,
            Some(ended) = c.join_next() => ended,
            Some(ended) = self.admin.1.join_next() => ended,
        };
        failure(ended)
    }
}

/// The clock of all services of this process, whose names are `members`, compared with the brokers'
/// clocks until `stop` fires. The embedded journal has no broker, and no other process whose clock
/// could differ.
async fn measured_clock(
    config: &Config,
    journal: &Arc<dyn Journal>,
    members: Vec<String>,
    health: &Health,
    stop: &CancellationToken,
) -> Arc<dyn Clock> {
    if !journal.is_shared() {
        return Arc::new(SystemClock);
    }
    let clock = MeasuredClock::new(Arc::new(SystemClock), config.clock_skew_max_ms);
    let context = Context { clock: clock.clone(), shutdown: stop.clone(), health: health.clone() };
    ClockMeter::begin(journal.clone(), clock.clone(), members, &context).await;
    clock
}

async fn end_all(token: &CancellationToken, running: &mut Running) {
    token.cancel();
    while running.join_next().await.is_some() {}
}

/// Forces an exit if graceful shutdown hangs; the last line still says why the process ends.
fn force_exit_later(reason: String) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(END_WITHIN_MS));
        print_error_line(format_args!("twqr: {reason}; shutdown did not finish within {END_WITHIN_MS} ms"));
        std::process::exit(1);
    });
}

fn failure(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended?.and_then(|()| anyhow::bail!("a service ended although it was not stopped"))
}

async fn named<E>(name: &'static str, service: impl Future<Output = Result<(), E>>) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    service.await.context(name)
}

/// Waits until the routers and workers among these services are ready, but not for longer than
/// [`READY_WAIT_MS`]. The tracker takes no part in payments, so it is not waited for.
async fn wait_ready(health: &Health, services: &[Service]) {
    let parts: Vec<_> = services.iter().filter(|service| **service != Service::Tracker).map(|s| s.part()).collect();
    let deadline = Instant::now() + Duration::from_millis(READY_WAIT_MS);
    loop {
        let report = health.report();
        let of = |prefix: &'static str| report.iter().filter(move |(name, _)| name.starts_with(prefix));
        let is_ready = |prefix: &'static str| {
            of(prefix).next().is_some() && of(prefix).all(|(_, state)| !matches!(state, PartState::NotReady(_)))
        };
        if parts.iter().all(|part| is_ready(part)) {
            return;
        }
        if Instant::now() >= deadline {
            warn!(?report, "not every service is ready; the ingress starts and serves the shards that answer");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: [Service; 3] = [Service::Router, Service::WalletWorker, Service::Tracker];

    #[tokio::test(start_paused = true)]
    async fn the_ingress_starts_without_what_is_not_ready_in_time_and_never_waits_for_the_tracker() {
        let health = Health::default();
        let began = Instant::now();
        let (shard, other) = (health.part("router/shard-0"), health.part("router/shard-1"));
        let (tasks, _tracker) = (health.part("wallet-tasks/0"), health.part("tracker/shard-0"));
        shard.ready();
        tasks.ready();
        wait_ready(&health, &BACK).await;
        assert!(began.elapsed() >= Duration::from_millis(READY_WAIT_MS), "it waits for a shard, but not for ever");
        other.ready();
        let began = Instant::now();
        wait_ready(&health, &BACK).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
