//! `twqr-lab chaos restore`: copies the topics of a running system in the order of the runbook, and
//! restores them in three ways. Older `order-states` under the present `orders` must cost nothing.
//! Older `orders` under newer `order-states` must be refused by name. When all topics are older,
//! the payments made since the copies are lost, but no order may contradict the ledger of the
//! issuers.
//!
//! The copies are made of the folders of the development broker, which keep offsets.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::json;
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_loadgen::{CallResult, audit, ledger, resolve};

use super::{CALM_MS, ChaosOptions, LATE_MS, LoadOutcomes, RESOLVE_S, RunningLoad, Stage, check};
use crate::launch::{Programs, Shape, connect};

/// The topics that are copied before `orders`, in their order.
const FIRST_COPIED: [&str; 5] = [STATES, "layout", POSITIONS, "wallet-tasks", "fisc-tasks"];
const ORDERS: &str = "orders";
const STATES: &str = "order-states";
/// The time between the copies of the other topics and that of `orders`.
const BETWEEN_COPIES: Duration = Duration::from_millis(1_500);
/// The topic of the positions, which has no prefix.
const POSITIONS: &str = "__consumer_offsets";
/// The files of a partition's folder that a broker cannot make again.
const KEPT_FILES: [&str; 2] = ["leader-epoch-checkpoint", "partition.metadata"];
/// The file by which a broker knows that it need not check its folders.
const CLEAN: &str = ".kafka_cleanshutdown";
/// How long a router may take to refuse its shards.
const REFUSED_WITHIN: Duration = Duration::from_mins(1);
/// The distance between the first rounds of two loads.
const ROUNDS: u64 = 1_000;

/// Runs the scenario; the exit code is non-zero if the audit finds a fault.
pub(super) async fn run(options: &ChaosOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let mut stage = Stage::set(options, Programs::beside_this_one()?, Shape::ProcessForEach, config).await?;
    let played = play(&mut stage, options).await;
    stage.system.end().await;
    played
}

async fn play(stage: &mut Stage, options: &ChaosOptions) -> anyhow::Result<ExitCode> {
    let pos = stage.system.channel()?;
    let folders = Folders::of(stage)?;
    let mut outcomes = LoadOutcomes::default();
    let load = RunningLoad::start(&pos, options, 0);
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let copied = folders.copy(&FIRST_COPIED);
    // Payments that begin now are in the copy of `orders`, and their tasks in no copy.
    tokio::time::sleep(BETWEEN_COPIES).await;
    let copied = copied.and_then(|()| folders.copy(&[ORDERS]));
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    outcomes.add(load.end().await?);
    copied.context("the topics cannot be copied")?;

    restore_states(stage, &folders).await.context("older order-states under the present orders")?;
    outcomes.add(load_for(&pos, options, ROUNDS).await?);
    let code = check(stage, &pos, &outcomes).await?;

    restore_orders(stage, &folders).await.context("older orders under newer order-states")?;
    restore_all(stage, &folders).await.context("everything older")?;
    let later = load_for(&pos, options, 2 * ROUNDS).await?;
    check_restored(stage, &pos, &outcomes.payments, &later.payments).await?;
    Ok(code)
}

/// Runs the load for a while.
async fn load_for(pos: &Channel, options: &ChaosOptions, first_round: u64) -> anyhow::Result<LoadOutcomes> {
    let load = RunningLoad::start(pos, options, first_round);
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    load.end().await
}

/// Restores `order-states` alone. With their disks, routers refuse the topic by name; without them,
/// they replay `orders` from the older marker.
async fn restore_states(stage: &mut Stage, folders: &Folders) -> anyhow::Result<()> {
    stop_all(stage).await?;
    folders.put(&[STATES])?;
    stage.broker("up", &["broker", "1"]).await?;
    refuse(stage, "order-states/").await?;
    lose_disks(stage);
    start(stage, &[""]).await
}

/// Puts older `orders` under the present `order-states`. Routers without a disk refuse them by
/// name, too.
async fn restore_orders(stage: &mut Stage, folders: &Folders) -> anyhow::Result<()> {
    stop_all(stage).await?;
    folders.put(&[ORDERS])?;
    stage.broker("up", &["broker", "1"]).await?;
    lose_disks(stage);
    refuse(stage, "orders/").await?;
    stage.broker("down", &["broker", "1"]).await
}

/// Restores everything. Workers claim their partitions and die first, so that no task that is
/// emitted again is taken for one that was never sent; then routers emit them, alone.
async fn restore_all(stage: &mut Stage, folders: &Folders) -> anyhow::Result<()> {
    folders.put(&[&FIRST_COPIED[..], &[ORDERS]].concat())?;
    stage.broker("up", &["broker", "1"]).await?;
    lose_disks(stage);
    let workers = ["wallet-worker", "fisc-worker"];
    start(stage, &workers).await?;
    for name in named(stage, &workers) {
        stage.system.kill(&name).await?;
    }
    start(stage, &["router"]).await?;
    start(stage, &["wallet-worker", "fisc-worker", "tracker", "ingress"]).await
}

async fn stop_all(stage: &mut Stage) -> anyhow::Result<()> {
    stage.system.stop_services().await;
    stage.broker("down", &["broker", "1"]).await
}

/// The processes whose names begin so.
fn named(stage: &Stage, beginnings: &[&str]) -> Vec<String> {
    let is_named = |name: &String| beginnings.iter().any(|beginning| name.starts_with(beginning));
    stage.system.names().into_iter().filter(is_named).collect()
}

/// Starts these processes and waits until they are ready.
async fn start(stage: &mut Stage, beginnings: &[&str]) -> anyhow::Result<()> {
    let names = named(stage, beginnings);
    for name in &names {
        stage.system.start_again(name)?;
    }
    stage.system.until_these_are_ready(&names).await.map(drop)
}

/// Starts the routers, waits until each has refused partitions of the topic by name, and ends them.
async fn refuse(stage: &mut Stage, topic: &str) -> anyhow::Result<()> {
    for name in named(stage, &["router"]) {
        let logged = stage.system.log(&name)?.len();
        stage.system.start_again(&name)?;
        let refused = async {
            loop {
                let log = stage.system.log(&name)?;
                let mut new = log.get(logged..).unwrap_or_default().lines();
                if new.any(|line| line.contains(topic) && line.contains("is not whole")) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let refused = tokio::time::timeout(REFUSED_WITHIN, refused).await;
        refused.with_context(|| format!("{name} did not refuse {topic}"))??;
        stage.system.stop(&name).await?;
    }
    Ok(())
}

/// Removes the local stores and the read models.
fn lose_disks(stage: &Stage) {
    for name in named(stage, &["router", "tracker"]) {
        stage.lose_disk(&name);
    }
}

/// Audits what is left of the earlier payments, and all later ones: none may be charged twice,
/// never end, or differ from the ledger.
async fn check_restored(
    stage: &Stage,
    pos: &Channel,
    earlier: &[CallResult],
    later: &[CallResult],
) -> anyhow::Result<()> {
    let all: Vec<CallResult> = earlier.iter().chain(later).cloned().collect();
    drop(resolve(pos, &all, Duration::from_secs(RESOLVE_S)).await);
    tokio::time::sleep(Duration::from_millis(LATE_MS)).await;
    let found = resolve(pos, &all, Duration::from_secs(RESOLVE_S)).await;
    let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
        found.into_iter().partition(|(_, order)| order.order_status.is_some());
    let is_kept = |merchant: &str, number: &str| kept.contains_key(&(merchant.to_owned(), number.to_owned()));
    let mut entries = ledger(connect(&stage.system.config.wallet).await?).await?;
    entries.retain(|entry| is_kept(&entry.merchant_id, &entry.merchant_trade_no));
    let answered: Vec<CallResult> = all.into_iter().filter(|result| kept.contains_key(&result.key)).collect();
    let audited = audit(&answered, &kept, &entries);
    let lost_later = later.iter().filter(|result| lost.contains_key(&result.key)).count();
    print_line(json!({
        "restored": { "kept": kept.len(), "lost": lost.len(), "lost_later": lost_later, "ledger_entries": entries.len(),
            "charged_twice": audited.charged_twice.len(), "never_ended": audited.lost.len(),
            "contradicted": audited.contradicted.len() },
    }))?;
    anyhow::ensure!(audited.is_clean(), "the audit after the restore found: {audited:?}");
    anyhow::ensure!(lost_later == 0, "{lost_later} payments after the restore are lost");
    anyhow::ensure!(!lost.is_empty() && kept.len() > later.len(), "the backup was not older, or empty");
    Ok(())
}

/// The broker's folder, and the copies of its partitions.
struct Folders {
    broker: PathBuf,
    copies: PathBuf,
    /// The prefix of the system's topics.
    prefix: String,
}

impl Folders {
    fn of(stage: &Stage) -> anyhow::Result<Self> {
        let cluster = super::broker_dir();
        let broker = cluster.join("broker-1");
        anyhow::ensure!(
            broker.is_dir() && !cluster.join("broker-2").exists(),
            "{} is not the folder of one development broker; set KAFKA_DIR",
            cluster.display()
        );
        let copies = stage.system.config_file().with_file_name("copies");
        Ok(Self { broker, copies, prefix: stage.system.config.kafka.prefix.clone() })
    }

    /// The names of a topic's partitions on the broker.
    fn partitions(&self, topic: &str) -> io::Result<Vec<String>> {
        let full = if topic == POSITIONS { topic.to_owned() } else { format!("{}{topic}", self.prefix) };
        let names = fs::read_dir(&self.broker)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let is_partition = |name: &String| {
            let index = name.strip_prefix(&full).and_then(|rest| rest.strip_prefix('-'));
            index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
        };
        Ok(names.collect::<io::Result<Vec<String>>>()?.into_iter().filter(is_partition).collect())
    }

    /// Copies topics while the broker runs.
    fn copy(&self, topics: &[&str]) -> io::Result<()> {
        for topic in topics {
            for partition in self.partitions(topic)? {
                copy_partition(&self.broker.join(&partition), &self.copies.join(&partition))?;
            }
        }
        Ok(())
    }

    /// Puts the copies of these topics in place of what the stopped broker has.
    fn put(&self, topics: &[&str]) -> anyhow::Result<()> {
        let clean = fs::remove_file(self.broker.join(CLEAN));
        clean.context("the broker was not stopped in order")?;
        for topic in topics {
            for partition in self.partitions(topic)? {
                let place = self.broker.join(&partition);
                fs::remove_dir_all(&place)?;
                copy_partition(&self.copies.join(&partition), &place)?;
            }
        }
        Ok(())
    }
}

/// Copies the records of a partition, and what else its broker cannot make again.
fn copy_partition(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".log") || KEPT_FILES.contains(&&*text) {
            fs::copy(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}
