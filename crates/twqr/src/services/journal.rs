//! Opens the journal of a process: the embedded one, or the one on a Kafka cluster. While the
//! cluster cannot be reached, connecting is retried and `/readyz` gives the reason. If the topics
//! differ from the required layout, the process ends with an error.

use std::sync::Arc;

use anyhow::bail;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use twqr_config::Config;
use twqr_journal::{Journal, JournalError, Topic, embedded::EmbeddedJournal, kafka::KafkaJournal};
use twqr_service::{Backoff, Part};

use super::Service;

/// The pause before the next attempt to connect, in ms; doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 200;
const PAUSE_MS_MAX: u64 = 10_000;

/// The opened journal.
pub(super) struct Opened {
    pub(super) journal: Arc<dyn Journal>,
    /// The same journal, if it is the embedded one.
    pub(super) embedded: Option<Arc<EmbeddedJournal>>,
}

/// Opens the journal for these services.
pub(super) async fn open(services: &[Service], config: &Config, part: Part) -> anyhow::Result<Opened> {
    if config.kafka.bootstrap.is_empty() {
        if services.len() < Service::ALL.len() {
            bail!("a single service needs Kafka: set kafka.bootstrap, or run all services with `twqr up`");
        }
        let settings = config.embedded(config.data_dir.join("journal"));
        // A large journal takes seconds.
        let journal = spawn_blocking(move || EmbeddedJournal::open(settings)).await??;
        part.ready();
        return Ok(Opened { journal: journal.clone(), embedded: Some(journal) });
    }
    let name = services.first().map_or("twqr", |service| service.name());
    let member =
        if services.len() == 1 { format!("{name}-{}", config.member) } else { format!("up-{}", config.member) };
    let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
    loop {
        let pause = backoff.next_pause();
        let kafka = config.kafka.clone();
        let settings = spawn_blocking(move || kafka.settings()).await??;
        match KafkaJournal::connect(settings, &member).await {
            Ok(journal) => {
                check_shards(&*journal, config)?;
                info!(bootstrap = config.kafka.bootstrap, member, "connected to the cluster");
                part.ready();
                return Ok(Opened { journal, embedded: None });
            }
            Err(JournalError::Unreachable(reason)) => {
                warn!(%reason, ?pause, "the cluster cannot be reached; trying again");
                part.not_ready(format!("{reason}; trying again"));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
    }
}

fn check_shards(journal: &dyn Journal, config: &Config) -> anyhow::Result<()> {
    let there = journal.partitions(Topic::Orders);
    if let Some(configured) = config.shards
        && configured.get() != there
    {
        bail!(
            "orders has {there} partitions on the cluster, shards is configured as {configured}; configure shards = {there}"
        );
    }
    Ok(())
}
