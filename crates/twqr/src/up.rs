//! Wiring: every service in one process on the embedded journal, started so that what is called is there before its callers, and
//! stopped in the opposite order.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use twqr_journal::{
    Journal,
    embedded::{EmbeddedJournal, Settings as JournalSettings},
};
use twqr_router::DiskStore;
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_worker::LaneSettings;

use crate::{admin, config::Config};

/// The simulator alone.
pub(crate) async fn simulator(config: &Config, script: Option<&Path>, stop: CancellationToken) -> anyhow::Result<()> {
    let script = match script {
        None => twqr_simulator::Script::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("fault script {}", file.display()))?;
            twqr_simulator::Script::parse(&text).with_context(|| file.display().to_string())?
        }
    };
    let settings = twqr_simulator::Settings {
        wallet_address: config.wallet,
        fisc_address: config.fisc,
        data_dir: config.simulator_data_dir.clone(),
        script,
    };
    let context = Context { clock: Arc::new(SystemClock), shutdown: stop, health: Health::default() };
    Ok(twqr_simulator::run(settings, context).await?)
}

/// How long the router may take until all shards are its own before callers are let in, in ms.
const READY_WAIT_MS: u64 = 60_000;

/// Every service, until `stop` fires or one of them fails.
pub(crate) async fn up(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let journal: Arc<EmbeddedJournal> = EmbeddedJournal::open(JournalSettings {
        dir: config.data_dir.join("journal"),
        shards: config.shards,
        task_partitions: config.shards,
    })?;
    let store = Arc::new(DiskStore::open(&config.data_dir.join("orders"))?);
    let health = Health::default();
    let context = |shutdown: &CancellationToken| Context {
        clock: Arc::new(SystemClock),
        shutdown: shutdown.clone(),
        health: health.clone(),
    };
    let shared: Arc<dyn Journal> = journal.clone();
    let [front, workers, back] = [(); 3].map(|()| CancellationToken::new());
    let mut inner = tokio::task::JoinSet::new();
    let mut outer = tokio::task::JoinSet::new();
    let mut working = tokio::task::JoinSet::new();
    inner.spawn(wrap(admin::serve(config.admin, health.clone(), back.clone())));
    let router = twqr_router::Settings {
        member: "router-0".to_owned(),
        policy: config.policy()?,
        checkpoint_interval_ms: config.checkpoint_interval_ms,
        store,
    };
    inner.spawn(wrap(twqr_router::run(router, shared.clone(), context(&back))));
    inner.spawn(wrap(twqr_tracker::run(shared.clone(), context(&back))));
    working.spawn(wrap(twqr_wallet_worker::run(wallet_worker(&config), shared.clone(), context(&workers))));
    working.spawn(wrap(twqr_fisc_worker::run(fisc_worker(&config), shared.clone(), context(&workers))));
    let failed = tokio::select! {
        failed = inner.join_next() => ended(failed),
        failed = working.join_next() => ended(failed),
        ready = wait_ready(&health) => ready,
        () = stop.cancelled() => Ok(()),
    };
    let failed = if failed.is_ok() && !stop.is_cancelled() {
        outer.spawn(wrap(twqr_ingress::run(ingress(&config), shared.clone(), context(&front))));
        tokio::select! {
            failed = inner.join_next() => ended(failed),
            failed = working.join_next() => ended(failed),
            failed = outer.join_next() => ended(failed),
            () = stop.cancelled() => Ok(()),
        }
    } else {
        failed
    };
    for (token, services) in [(front, &mut outer), (workers, &mut working), (back, &mut inner)] {
        token.cancel();
        while services.join_next().await.is_some() {}
    }
    journal.close();
    failed
}

/// A service ended although nobody told it to.
fn ended(joined: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    match joined {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Ok(()))) | None => anyhow::bail!("a service ended on its own"),
    }
}

async fn wrap<E: Into<anyhow::Error>>(service: impl Future<Output = Result<(), E>>) -> anyhow::Result<()> {
    service.await.map_err(Into::into)
}

/// Callers are let in once router, workers and tracker have said that they are ready.
async fn wait_ready(health: &Health) -> anyhow::Result<()> {
    for _ in 0..READY_WAIT_MS / 10 {
        let report = health.report();
        let begun = |service: &str| report.keys().any(|name| name.starts_with(service));
        if ["router/", "tracker/", "wallet-tasks/", "fisc-tasks/"].into_iter().all(begun) && health.is_ready() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("not ready after {READY_WAIT_MS} ms: {:?}", health.report())
}

fn wallet_worker(config: &Config) -> twqr_wallet_worker::Settings {
    twqr_wallet_worker::Settings {
        member: "wallet-worker-0".to_owned(),
        wallet: format!("http://{}", config.wallet),
        call_timeout_ms: config.call_timeout_ms,
        lane: LaneSettings::default(),
    }
}

fn fisc_worker(config: &Config) -> twqr_fisc_worker::Settings {
    let institutions = config.policy().map(|policy| policy.routes).unwrap_or_default();
    let lane = |route: twqr_order::Route| (route.issuer.institution().to_owned(), LaneSettings::default());
    twqr_fisc_worker::Settings {
        member: "fisc-worker-0".to_owned(),
        fisc: format!("http://{}", config.fisc),
        call_timeout_ms: config.call_timeout_ms,
        lanes: institutions.into_iter().map(lane).collect::<BTreeMap<_, _>>(),
        other_lane: LaneSettings::default(),
    }
}

fn ingress(config: &Config) -> twqr_ingress::Settings {
    twqr_ingress::Settings {
        member: "ingress-0".to_owned(),
        listen: config.grpc,
        answer_within_ms: config.answer_within_ms,
        in_progress_code: config.policy().map(|policy| policy.status_codes.fisc_abnormal).unwrap_or_default(),
        calls_max: config.calls_max,
    }
}
