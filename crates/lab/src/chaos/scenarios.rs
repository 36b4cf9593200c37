//! What goes wrong, a function each.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use rand::{Rng, seq::SliceRandom};
use tokio::process::Command;
use twqr_journal::{Entry, Journal, Partition, Topic, kafka::KafkaJournal};

use super::{Stage, signals};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// kill -9 of each process in turn
    KillEach,
    /// kill -9 of several processes at once, three times
    KillSeveral,
    /// A router stands still until another has its shards, and comes back
    RouterZombie,
    /// Workers stand still with tasks in hand until others have their partitions, and come back
    WorkerZombie,
    /// kill -9 of the broker, and its restart
    KillBroker,
    /// kill -9 of one broker of three, and its return later
    KillLeader,
    /// Routers lose their disks in the middle of checkpoints, and states that nobody can read stand
    /// among them
    TornCheckpoint,
    /// A router's disk is full
    FullDisk,
}

/// Longer than the group's session time-out.
const STANDS_STILL_MS: u64 = 6_000;

impl Scenario {
    /// Lets it happen; returns when everything is on its way back.
    pub(super) async fn play(self, stage: &mut Stage) -> anyhow::Result<()> {
        match self {
            Self::KillEach => kill_each(stage).await,
            Self::KillSeveral => kill_several(stage).await,
            Self::RouterZombie => zombies(stage, &["router-0"]).await,
            Self::WorkerZombie => zombies(stage, &["wallet-worker-0", "fisc-worker-1"]).await,
            Self::KillBroker => kill_broker(stage, "1").await,
            Self::KillLeader => kill_leader(stage).await,
            Self::TornCheckpoint => torn_checkpoint(stage).await,
            Self::FullDisk => full_disk(stage).await,
        }
    }
}

async fn pause(stage: &mut Stage, ms: std::ops::Range<u64>) {
    let ms = stage.random.random_range(ms);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn kill_each(stage: &mut Stage) -> anyhow::Result<()> {
    let mut names = stage.system.names();
    names.shuffle(&mut stage.random);
    for name in names {
        let began = Instant::now();
        stage.system.kill(&name).await?;
        pause(stage, 0..700).await;
        stage.system.start_again(&name)?;
        stage.recover(began).await?;
        pause(stage, 0..700).await;
    }
    Ok(())
}

async fn kill_several(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..3 {
        let mut victims = stage.system.names();
        victims.shuffle(&mut stage.random);
        victims.truncate(stage.random.random_range(3..=6));
        let began = Instant::now();
        for name in &victims {
            stage.system.kill(name).await?;
        }
        pause(stage, 0..1_500).await;
        for name in &victims {
            stage.system.start_again(name)?;
        }
        stage.recover(began).await?;
        pause(stage, 500..1_500).await;
    }
    Ok(())
}

async fn zombies(stage: &mut Stage, names: &[&str]) -> anyhow::Result<()> {
    for _ in 0..2 {
        for name in names {
            signals::stop(stage.system.id(name)?)?;
        }
        tokio::time::sleep(Duration::from_millis(STANDS_STILL_MS)).await;
        let began = Instant::now();
        for name in names {
            signals::go_on(stage.system.id(name)?)?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.recover(began).await?;
    }
    Ok(())
}

async fn kill_broker(stage: &mut Stage, broker: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    stage.broker("down", &["broker", broker, "--kill"]).await?;
    pause(stage, 0..2_000).await;
    stage.broker("up", &["broker", broker]).await?;
    stage.recover(began).await
}

async fn kill_leader(stage: &mut Stage) -> anyhow::Result<()> {
    let broker = stage.random.random_range(1..=3).to_string();
    stage.broker("down", &["broker", &broker, "--kill"]).await?;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(12)).await;
    stage.recover(began).await?;
    stage.broker("up", &["broker", &broker]).await?;
    stage.system.until_ready().await.map(|_| ())
}

async fn torn_checkpoint(stage: &mut Stage) -> anyhow::Result<()> {
    let settings = stage.system.config.kafka.settings()?;
    let journal = KafkaJournal::connect(settings, "chaos").await?;
    for round in 0..6 {
        let name = format!("router-{}", round % 2);
        let began = Instant::now();
        stage.system.kill(&name).await?;
        stage.lose_disk(&name);
        for index in 0..journal.partitions(Topic::OrderStates) {
            let garbage = vec![0xff; stage.random.random_range(1..64)];
            let entry = Entry { key: format!("torn-{round}").into(), value: Some(garbage.into()) };
            journal.append(Partition { topic: Topic::OrderStates, index }, vec![entry]).await?;
        }
        stage.system.start_again(&name)?;
        stage.recover(began).await?;
        pause(stage, 0..900).await;
    }
    journal.close().await;
    Ok(())
}

/// The router whose disk is full ends, so that the other one has its shards; with room again it
/// comes back.
async fn full_disk(stage: &mut Stage) -> anyhow::Result<()> {
    let name = "router-0";
    let dir = stage.system.data_dir(name);
    anyhow::ensure!(rustix::process::geteuid().is_root(), "a small disk can only be mounted by root: run this as root");
    let began = Instant::now();
    stage.system.kill(name).await?;
    stage.lose_disk(name);
    std::fs::create_dir_all(&dir)?;
    command("mount", &["-t", "tmpfs", "-o", "size=96m", "twqr-chaos", &dir.to_string_lossy()]).await?;
    let filled = fill(stage, name, &dir).await;
    stage.system.kill(name).await?;
    command("umount", &[&dir.to_string_lossy()]).await?;
    filled?;
    stage.system.start_again(name)?;
    stage.recover(began).await
}

/// Lets the router run for a while, and then takes all the room there is.
async fn fill(stage: &mut Stage, name: &str, dir: &std::path::Path) -> anyhow::Result<()> {
    stage.system.start_again(name)?;
    let began = Instant::now();
    stage.recover(began).await?;
    pause(stage, 500..1_500).await;
    // No room for anything: what is there already stays.
    drop(std::fs::write(dir.join("filler"), vec![0; 128 << 20]));
    tokio::time::timeout(Duration::from_secs(30), stage.system.until_ended(name))
        .await
        .context("the router with a full disk did not end")?
}

async fn command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status =
        Command::new(program).args(arguments).status().await.with_context(|| format!("{program} cannot be run"))?;
    anyhow::ensure!(status.success(), "{program} {arguments:?} failed ({status})");
    Ok(())
}
