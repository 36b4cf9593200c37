//! Scenarios in which the system changes its size or its brokers while payments run: processes join
//! and leave, and every partition moves away from a broker that then stops.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::Rng;
use serde_json::{Value, json};
use twqr_journal::{Journal, Topic, kafka::KafkaJournal};

use super::Stage;

/// The services of which a further process joins. Those with several partitions of work then lose
/// both earlier processes; an ingress stays, since the load is connected to it.
const JOINING: [&str; 4] = ["router", "wallet-worker", "fisc-worker", "ingress"];
const LEAVING: [&str; 7] =
    ["router-0", "wallet-worker-0", "fisc-worker-0", "ingress-0", "router-1", "wallet-worker-1", "fisc-worker-1"];
/// The time under load between two changes.
const BETWEEN: Duration = Duration::from_secs(1);
/// The time under load without the broker whose partitions have moved.
const WITHOUT_BROKER: Duration = Duration::from_secs(6);
/// How long the partitions may take to move.
const MOVED_WITHIN: Duration = Duration::from_mins(2);
/// The topic in which a cluster keeps the positions of groups, and its partitions in
/// `deploy/kafka/up`.
const POSITIONS: (&str, u32) = ("__consumer_offsets", 4);
const BROKERS: std::ops::RangeInclusive<u32> = 1..=3;

/// Further processes join; then the earlier ones leave one after another.
pub(super) async fn scale(stage: &mut Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    for service in JOINING {
        stage.system.add_another(service)?;
    }
    stage.recover(began).await?;
    tokio::time::sleep(BETWEEN).await;
    for name in LEAVING {
        let began = Instant::now();
        stage.system.remove(name).await?;
        stage.recover(began).await?;
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(())
}

/// Moves every partition of the system, and the positions, away from one of three brokers, and
/// stops that broker for a while.
pub(super) async fn move_partitions(stage: &mut Stage) -> anyhow::Result<()> {
    let left = stage.random.random_range(BROKERS);
    let file = stage.system.config_file().with_file_name("moved.json");
    let others: Vec<u32> = BROKERS.filter(|broker| *broker != left).collect();
    std::fs::write(&file, reassignment(stage, &others).await?.to_string())?;
    let began = Instant::now();
    reassign(stage, &file, "--execute").await?;
    loop {
        let progress = reassign(stage, &file, "--verify").await?;
        if !progress.contains("in progress") {
            anyhow::ensure!(progress.contains("is completed"), "the partitions were not moved: {progress}");
            break;
        }
        anyhow::ensure!(began.elapsed() < MOVED_WITHIN, "the partitions are still moving: {progress}");
    }
    stage.recover(began).await?;
    let began = Instant::now();
    let left = left.to_string();
    stage.broker("down", &["broker", &left]).await?;
    tokio::time::sleep(WITHOUT_BROKER).await;
    stage.recover(began).await?;
    stage.broker("up", &["broker", &left]).await
}

/// The document that tells the tool which brokers get each partition. Both get as many leaders.
async fn reassignment(stage: &Stage, brokers: &[u32]) -> anyhow::Result<Value> {
    let settings = stage.system.config.kafka.settings()?;
    let prefix = settings.prefix.clone();
    let journal = KafkaJournal::connect(settings, "chaos").await?;
    let own = Topic::ALL.map(|topic| (format!("{prefix}{}", topic.name()), journal.partitions(topic)));
    journal.close().await;
    let others = [(format!("{prefix}layout"), 1), (POSITIONS.0.to_owned(), POSITIONS.1)];
    let mut partitions = Vec::new();
    for (topic, count) in own.into_iter().chain(others) {
        for partition in 0..count {
            let mut replicas = brokers.to_vec();
            replicas.rotate_left(partition as usize % brokers.len());
            partitions.push(json!({ "topic": topic, "partition": partition, "replicas": replicas }));
        }
    }
    Ok(json!({ "version": 1, "partitions": partitions }))
}

/// Runs Kafka's tool; returns what it prints.
async fn reassign(stage: &Stage, file: &Path, action: &str) -> anyhow::Result<String> {
    let file = file.to_str().context("the folder of the run is not valid UTF-8")?;
    stage.kafka_tool("kafka-reassign-partitions", &[action, "--reassignment-json-file", file]).await
}
