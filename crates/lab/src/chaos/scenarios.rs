//! The scenarios of `twqr-lab chaos`, one function each.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::ValueEnum;
use rand::{Rng, seq::SliceRandom};
use tokio::process::Command;
use twqr_journal::{Entry, Journal, Partition, Topic, kafka::KafkaJournal};

use super::{Stage, moves, signals};

/// A sequence of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// kill -9 of each process in turn
    KillEach,
    /// kill -9 of several processes at once, three times
    KillSeveral,
    /// A router is suspended until another one has taken its shards, and then resumes
    RouterZombie,
    /// Workers are suspended in the middle of tasks until others have taken their partitions, and
    /// then resume
    WorkerZombie,
    /// kill -9 of the only broker, and its restart
    KillBroker,
    /// kill -9 of one of three brokers, and its restart after the system has recovered
    KillLeader,
    /// Routers lose their data folders in the middle of checkpoints, and unreadable states are
    /// written among the valid ones
    TornCheckpoint,
    /// A router's disk becomes full
    FullDisk,
    /// A further process of each service joins, and the earlier ones leave
    Scale,
    /// Every partition moves away from one of three brokers, which then stops
    MovePartitions,
    /// The user of each service gets another password, its processes restart in turn, and the first
    /// password is revoked; needs a broker of SECURE=1 deploy/kafka/up
    Passwords,
    /// The brokers and all processes get certificates of another authority, step by step, and trust
    /// that one alone in the end; needs brokers of SECURE=1 deploy/kafka/up
    Certificates,
    /// The clock of one process of each service jumps ahead or behind, and is set right again
    ClockJump,
    /// The clock of the only broker is ahead, then behind; of three, that of one is ahead, then
    /// those of two are behind
    BrokerClocks,
    /// Topics are restored from copies: older order-states, older orders, and everything older
    Restore,
    /// Measures how long payments wait, and which fail, while one process after another is killed
    /// or suspended
    Availability,
    /// A system of an older build is upgraded process by process, partly rolled back, and its
    /// protocol version raised; needs --older
    Older,
    /// The same with `twqr up` on the embedded journal, which needs no broker
    OlderEmbedded,
}

/// The time for which processes are suspended, in ms: longer than the group's session time-out.
const SUSPENDED_MS: u64 = 6_000;

impl Scenario {
    /// Whether the issuers approve every payment of the load, so that each that ends otherwise is a
    /// cost of the scenario.
    pub(super) const fn has_steady_load(self) -> bool {
        matches!(self, Self::Certificates)
    }

    /// Causes the failures, and returns once the last one is repaired.
    pub(super) async fn play(self, stage: &mut Stage) -> anyhow::Result<()> {
        match self {
            Self::KillEach => kill_each(stage).await,
            Self::KillSeveral => kill_several(stage).await,
            Self::RouterZombie => suspend_and_resume(stage, &["router-0"]).await,
            Self::WorkerZombie => suspend_and_resume(stage, &["wallet-worker-0", "fisc-worker-1"]).await,
            Self::KillBroker => kill_broker(stage, "1").await,
            Self::KillLeader => kill_leader(stage).await,
            Self::TornCheckpoint => torn_checkpoint(stage).await,
            Self::FullDisk => full_disk(stage).await,
            Self::Scale => moves::scale(stage).await,
            Self::MovePartitions => moves::move_partitions(stage).await,
            Self::Passwords => passwords(stage).await,
            Self::ClockJump | Self::BrokerClocks => anyhow::bail!("this scenario needs --faketime"),
            Self::Restore => anyhow::bail!("restore plays its parts by itself"),
            Self::Availability => anyhow::bail!("availability causes its failures by itself"),
            Self::Certificates => anyhow::bail!("certificates takes its steps by itself"),
            Self::Older | Self::OlderEmbedded => anyhow::bail!("an upgrade plays its phases by itself"),
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

/// Until a process has restarted, it logs in with the first password, also when another process
/// stops and it takes its work over.
async fn passwords(stage: &mut Stage) -> anyhow::Result<()> {
    let broker = stage.broker.clone().context("passwords needs a broker of SECURE=1 deploy/kafka/up in KAFKA_DIR")?;
    let (tool, bootstrap) = (stage.scripts.join("tool"), stage.system.config.kafka.bootstrap.clone());
    let configure = || {
        let mut command = Command::new(&tool);
        command.args(["kafka-configs", "--bootstrap-server", &bootstrap]);
        command
    };
    let names = stage.system.names();
    let user = |name: &str| name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()).to_owned();
    let users: BTreeSet<String> = names.iter().map(|name| user(name)).collect();
    for user in &users {
        broker.renew_password(user, &mut configure()).await?;
    }
    for name in &names {
        let began = Instant::now();
        stage.system.restart(name).await?;
        stage.recover(began).await?;
    }
    for user in &users {
        broker.revoke_first_password(user, &mut configure()).await?;
    }
    // A process that comes back now has only the renewed password.
    let began = Instant::now();
    stage.system.restart("router-0").await?;
    stage.recover(began).await
}

async fn suspend_and_resume(stage: &mut Stage, names: &[&str]) -> anyhow::Result<()> {
    for _ in 0..2 {
        for name in names {
            signals::suspend(stage.system.id(name)?)?;
        }
        tokio::time::sleep(Duration::from_millis(SUSPENDED_MS)).await;
        let began = Instant::now();
        for name in names {
            signals::resume(stage.system.id(name)?)?;
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

/// The router with the full disk ends, and the other one takes its shards. With free space again
/// the first one returns.
async fn full_disk(stage: &mut Stage) -> anyhow::Result<()> {
    let name = "router-0";
    let dir = stage.system.data_dir(name);
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "this scenario mounts a small disk, which only root may do: run it as root"
    );
    let began = Instant::now();
    stage.system.kill(name).await?;
    stage.lose_disk(name);
    std::fs::create_dir_all(&dir)?;
    command("mount", &["-t", "tmpfs", "-o", "size=96m", "twqr-chaos", &dir.to_string_lossy()]).await?;
    let filled = fill_disk(stage, name, &dir).await;
    stage.system.kill(name).await?;
    command("umount", &[&dir.to_string_lossy()]).await?;
    filled?;
    stage.system.start_again(name)?;
    stage.recover(began).await
}

/// Runs the router for a while, fills its disk, and waits until the router ends.
async fn fill_disk(stage: &mut Stage, name: &str, dir: &std::path::Path) -> anyhow::Result<()> {
    stage.system.start_again(name)?;
    let began = Instant::now();
    stage.recover(began).await?;
    pause(stage, 500..1_500).await;
    // This write is meant to fail, when the disk is full.
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
