//! Scenario in which the wall clocks of brokers are wrong while payments run, ahead or behind, and
//! are set right again. A single broker makes every process stand aside, and so do two of three;
//! one of three makes none. `deploy/kafka/up` starts the brokers with libfaketime, which leaves
//! their monotonic clocks alone.

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use rand::seq::SliceRandom;
use serde_json::json;
use tokio::time::{Duration, sleep};
use tonic::{Code, transport::Channel};
use twqr_files::print_line;
use twqr_loadgen::{Load, Over, open_loop, payments};

use super::{Stage, broker_dir, clocks::until};

/// How far the clocks are wrong, in s.
const WRONG_BY_S: i32 = 600;
/// The time under load with wrong clocks: longer than a payment waits to be sent, and than a
/// process takes to measure its clock five times.
const WRONG_FOR: Duration = Duration::from_secs(8);
/// How long the replicas of a broker that was started again may take to be in sync.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(90);
/// How many payments are sent to each ingress while no process may take one.
const REFUSED: usize = 5;
/// What a process logs, and what `/readyz` says, when its clock and those of the brokers differ.
const DIFFERS: &str = "the brokers' clocks";

/// Sets the clock of the only broker wrong, ahead and then behind. Of three brokers, sets that of
/// one ahead, and then those of two behind.
pub(super) async fn set_wrong(stage: &mut Stage, library: &Path) -> anyhow::Result<()> {
    let count = stage.brokers();
    let mut brokers: Vec<usize> = (1..=count).collect();
    give_clocks(stage, &brokers, library).await?;
    brokers.shuffle(&mut stage.random);
    let (wrong, right) = brokers.split_at(count / 2 + 1);
    if right.is_empty() {
        stand_aside(stage, wrong, WRONG_BY_S, 0).await.context("the broker's clock is ahead")?;
    } else {
        bear(stage, right, WRONG_BY_S).await.context("the clock of one of three brokers is ahead")?;
    }
    stand_aside(stage, wrong, -WRONG_BY_S, 1)
        .await
        .with_context(|| format!("the clocks of brokers {wrong:?} are behind"))
}

/// Starts each broker again with a clock that can be set, which is right at first. Of three, each
/// then leads its share of the partitions again.
async fn give_clocks(stage: &mut Stage, brokers: &[usize], library: &Path) -> anyhow::Result<()> {
    for broker in brokers {
        set_clocks(&[*broker], 0)?;
        let (began, broker) = (Instant::now(), broker.to_string());
        stage.broker("down", &["broker", &broker]).await?;
        stage.broker_with("up", &["broker", &broker], &[("KAFKA_FAKETIME", library)]).await?;
        stage.recover(began).await?;
    }
    if brokers.len() > 1 { elect_leaders(stage).await } else { Ok(()) }
}

/// Lets each broker lead its share of the partitions again. The tool fails while replicas of a
/// broker that was started again are not in sync yet.
async fn elect_leaders(stage: &Stage) -> anyhow::Result<()> {
    let until = Instant::now() + IN_SYNC_WITHIN;
    loop {
        let arguments = ["--election-type", "preferred", "--all-topic-partitions"];
        match stage.kafka_tool("kafka-leader-election", &arguments).await {
            Err(_) if Instant::now() < until => sleep(Duration::from_secs(2)).await,
            elected => return elected.map(drop),
        }
    }
}

/// The clocks of a minority of the brokers are wrong: no process takes its own for wrong.
async fn bear(stage: &mut Stage, brokers: &[usize], offset_s: i32) -> anyhow::Result<()> {
    let before = doubts(stage)?;
    set_clocks(brokers, offset_s)?;
    sleep(WRONG_FOR).await;
    let doubting = doubts(stage)? - before;
    set_clocks(brokers, 0)?;
    anyhow::ensure!(doubting == 0, "{doubting} processes took their own clocks for wrong");
    stage.recover(Instant::now()).await
}

/// The clocks of most brokers are wrong: every process must become unready by itself, say that its
/// clock and the brokers' differ, take no payment, and be ready again without a restart once the
/// brokers' clocks are right.
async fn stand_aside(stage: &mut Stage, brokers: &[usize], offset_s: i32, round: usize) -> anyhow::Result<()> {
    let names = stage.system.names();
    let ids = stage.system.ids();
    let set = Instant::now();
    set_clocks(brokers, offset_s)?;
    for name in &names {
        until(stage, name, false).await?;
    }
    let noticed_ms = set.elapsed().as_millis();
    sleep(WRONG_FOR).await;
    for name in &names {
        let readiness = stage.system.readiness(name).await?;
        anyhow::ensure!(readiness.contains(DIFFERS), "{name} does not name the brokers' clocks: {readiness}");
    }
    refuses(stage, round).await?;
    let began = Instant::now();
    set_clocks(brokers, 0)?;
    for name in &names {
        until(stage, name, true).await?;
    }
    stage.recover(began).await?;
    anyhow::ensure!(stage.system.ids() == ids, "a process was started again");
    print_line(json!({ "brokers": brokers, "clock_s": offset_s, "all_unready_after_ms": noticed_ms }))?;
    Ok(())
}

/// Sends payments to each ingress, once; each must be refused as not accepted.
async fn refuses(stage: &Stage, round: usize) -> anyhow::Result<()> {
    for (number, address) in stage.system.ingresses().into_iter().enumerate() {
        let channel = Channel::from_shared(format!("http://{address}"))?.connect_lazy();
        let requests = payments(0, &format!("wrong{round}{number}"), REFUSED);
        let load = Load { rate: REFUSED as f64, seed: 0, attempts: 1, over: Over::Calls };
        for result in open_loop(&[channel], requests, load).await.results {
            let is_refused = matches!(result.answer, Err(Code::Unavailable));
            anyhow::ensure!(is_refused, "the ingress at {address} took {:?}: {:?}", result.key, result.answer);
        }
    }
    Ok(())
}

/// How often processes have logged that their clocks are wrong.
fn doubts(stage: &Stage) -> anyhow::Result<usize> {
    let mut doubts = 0;
    for name in stage.system.names() {
        doubts += stage.system.log(&name)?.matches("this process takes no payments").count();
    }
    Ok(doubts)
}

/// Sets how far the clocks of these brokers are off. They read it once a second.
fn set_clocks(brokers: &[usize], offset_s: i32) -> anyhow::Result<()> {
    for broker in brokers {
        let file = broker_dir().join(format!("clock-{broker}"));
        std::fs::write(&file, format!("{offset_s:+}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
