//! `twqr-lab bench restore`: how soon a router is ready again after a restart, with its local store
//! and with an empty one. The states of the orders are generated; everything else is the product.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;
use twqr_config::Config;
use twqr_journal::{Journal, Topic, embedded::EmbeddedJournal};
use twqr_router::{ReferenceStore, Settings};
use twqr_service::{CancellationToken, Context, Health, SystemClock};

use crate::{launch::held_orders, usage::folder_bytes};

/// How long a router may take to become ready.
const READY_WITHIN: Duration = Duration::from_mins(30);

/// The arguments of `twqr-lab bench restore`.
#[derive(clap::Args)]
pub struct RestoreOptions {
    /// The number of orders
    #[arg(long, default_value_t = 100_000)]
    orders: u64,
    /// The folder for data; it is emptied first
    #[arg(long, default_value = "target/bench-restore")]
    dir: PathBuf,
}

/// Measures and prints one JSON line.
pub(crate) async fn run(options: &RestoreOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let RestoreOptions { orders, dir } = options;
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("{} cannot be emptied", dir.display()))?;
    }
    let settings = config.embedded(dir.join("journal"));
    let shards = settings.shards.get();
    let journal = EmbeddedJournal::open(settings)?;
    // The first router claims the shards and writes their first markers.
    ready_after(&journal, &dir.join("first"), config).await?;
    let state_bytes = held_orders::append(&*journal, *orders).await?;
    let store = dir.join("orders");
    let empty = ready_after(&journal, &store, config).await?;
    let kept = ready_after(&journal, &store, config).await?;
    let figures = json!({
        "orders": orders,
        "shards": shards,
        "state_bytes": state_bytes / orders.max(&1),
        "store_bytes_per_order": folder_bytes(&store) / orders.max(&1),
        "ready_ms_with_empty_store": empty.as_millis(),
        "ready_ms_with_kept_store": kept.as_millis(),
    });
    twqr_files::print_line(figures.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a router on the store in `folder`, and stops it once it is ready. Returns the time from
/// the opening of the store until then.
async fn ready_after(journal: &Arc<EmbeddedJournal>, folder: &Path, config: &Config) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let store = Arc::new(ReferenceStore::open(folder, journal.clone())?);
    let in_use = Arc::downgrade(&store);
    let settings = Settings {
        member: "router-0".to_owned(),
        policy: config.policy()?,
        checkpoint_interval_ms: config.checkpoint_interval_ms,
        standby: false,
        store,
    };
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let mut running = tokio::spawn(twqr_router::run(settings, journal.clone(), context));
    let shards =
        (0..journal.partitions(Topic::Orders)).map(|index| format!("router/shard-{index}")).collect::<Vec<_>>();
    let ready = async {
        while !(shards.iter().all(|shard| health.report().contains_key(shard)) && health.is_ready()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        ended = &mut running => anyhow::bail!("the router ended: {:?}", ended?),
        ready = tokio::time::timeout(READY_WITHIN, ready) => ready.context("the router does not become ready")?,
    }
    let took = began.elapsed();
    // The next checkpoint moves the mark of the store.
    tokio::time::sleep(Duration::from_secs(5)).await;
    shutdown.cancel();
    running.await??;
    // Calls that wait for the disk end later, as they would with the process.
    while in_use.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(took)
}
