//! The threads and the memory that a process uses. Both follow the container's limits unless they
//! are configured, and the process logs them.

use std::num::NonZeroU32;

use tracing::{info, warn};
use twqr_config::Config;
use twqr_service::ContainerLimits;

use crate::services::Service;

const MIB: u64 = 1 << 20;
/// The smallest and the largest share of a container's memory for records on their way to brokers.
const QUEUE_MIB_MIN: u64 = 8;
const QUEUE_MIB_MAX: u64 = 256;
const QUEUE_SHARE: u64 = 8;

/// The memory of a process without load: its code, threads and connections.
const BASE_MIB: u64 = 48;
/// A call that waits, with its request and its answer.
const CALL_KIB: u64 = 16;
/// The full cache of repeats (`services/settings.rs`).
const REPEATS_MIB: u64 = 20;
/// Blocks and unwritten changes of a router's local store, and the known keys of each shard.
const STORE_MIB: u64 = 16 + 64;
const KNOWN_KEYS_MIB: u64 = 4;
/// Blocks and unwritten changes of the embedded journal.
const EMBEDDED_MIB: u64 = 16 + 128;
/// The memory of a worker for the tasks of a partition.
const TASK_PARTITION_MIB: u64 = 32;
/// Caches of the read model's connections.
const READ_MODEL_MIB: u64 = 32;
/// The read-ahead of each partition on Kafka, and of each topic.
const READER_MIB: u64 = 4;
const FETCHER_MIB: u64 = 8;

/// The threads and the limits of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    /// How many threads run the services.
    pub(crate) threads: usize,
    limits: ContainerLimits,
}

impl Resources {
    /// Decides what is not configured by the limits.
    pub(crate) fn of(config: &mut Config, limits: ContainerLimits) -> Self {
        let share = limits.memory_bytes.map(|bytes| (bytes / MIB / QUEUE_SHARE).clamp(QUEUE_MIB_MIN, QUEUE_MIB_MAX));
        let share = share.and_then(|mib| u32::try_from(mib).ok());
        config.kafka.queue_mib = config.kafka.queue_mib.or(share);
        let configured = config.worker_threads.map(NonZeroU32::get);
        Self { threads: configured.map_or_else(|| limits.threads(), |threads| threads as usize), limits }
    }

    /// Logs what the process took, and warns if it may take more memory than its container has.
    pub(crate) fn report(&self, services: &[Service], config: &Config) {
        let Self { threads, limits: ContainerLimits { cores, cpus, memory_bytes } } = *self;
        let bound_mib = process_mib(services, config);
        let memory_mib = memory_bytes.map(|bytes| bytes / MIB);
        let queue_mib = config.kafka.queue_mib();
        info!(threads, cores, ?cpus, ?memory_mib, bound_mib, queue_mib, "threads and memory of this process");
        if let Some(memory_mib) = memory_mib.filter(|memory_mib| *memory_mib < bound_mib) {
            warn!(
                memory_mib,
                bound_mib,
                "buffers, caches and waiting calls may take more memory than the container has; lower \
                 calls_max or kafka.queue_mib, or raise the container's limit"
            );
        }
    }

    /// The memory bound of each service as a process of its own, for people.
    pub(crate) fn bounds(config: &Config) -> String {
        let bound = |service: &Service| format!("{} {} MiB", service.name(), process_mib(&[*service], config));
        let bounds: Vec<String> = match config.kafka.bootstrap.as_str() {
            "" => vec![format!("up {} MiB", process_mib(&Service::ALL, config))],
            _ => Service::ALL.iter().map(bound).collect(),
        };
        format!("memory for buffers, caches and waiting calls, at most: {}", bounds.join(", "))
    }
}

/// The memory of a process with these services, in MiB.
fn process_mib(services: &[Service], config: &Config) -> u64 {
    let journal = if config.kafka.bootstrap.is_empty() { EMBEDDED_MIB } else { config.kafka.queue_mib().into() };
    BASE_MIB + journal + services.iter().map(|service| service_mib(*service, config)).sum::<u64>()
}

fn service_mib(service: Service, config: &Config) -> u64 {
    let on_kafka = !config.kafka.bootstrap.is_empty();
    let layout = config.layout(None);
    let (shards, tasks) = (u64::from(layout.shards), u64::from(layout.task_partitions));
    let read = |partitions: u64, topics: u64| {
        if on_kafka { partitions * READER_MIB + topics * FETCHER_MIB } else { 0 }
    };
    match service {
        Service::Ingress => {
            // Watches have places of their own, a quarter of those of calls.
            let calls = config.calls_max as u64 * 5 / 4;
            REPEATS_MIB + calls * CALL_KIB / 1_024 + read(1, 1)
        }
        Service::Router => STORE_MIB + shards * KNOWN_KEYS_MIB + read(2 * shards, 2),
        Service::WalletWorker | Service::FiscWorker => tasks * TASK_PARTITION_MIB + read(tasks, 1),
        Service::Tracker => READ_MODEL_MIB + read(2 * shards, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_configured_follows_the_container() {
        let limits = ContainerLimits { cores: 8, cpus: Some(1.5), memory_bytes: Some(512 * MIB) };
        let mut config = Config::default();
        assert_eq!((Resources::of(&mut config, limits).threads, config.kafka.queue_mib()), (2, 64));
        let mut config = Config { worker_threads: NonZeroU32::new(5), ..Config::default() };
        config.kafka.queue_mib = Some(9);
        assert_eq!((Resources::of(&mut config, limits).threads, config.kafka.queue_mib()), (5, 9));
        let mut config = Config::default();
        let unlimited = ContainerLimits { cores: 8, ..ContainerLimits::default() };
        assert_eq!((Resources::of(&mut config, unlimited).threads, config.kafka.queue_mib()), (8, 256));
    }

    #[test]
    fn the_bound_of_a_service_follows_its_configuration() {
        let mut config = Config::default();
        let before = Resources::bounds(&config);
        assert!(before.contains("at most: up ") && !before.contains("router"), "{before}");
        config.kafka.bootstrap = "kafka:9092".to_owned();
        let ingress = |config: &Config| process_mib(&[Service::Ingress], config);
        let all = ingress(&config);
        config.calls_max /= 2;
        assert_eq!(all - ingress(&config), 160);
        config.kafka.queue_mib = Some(56);
        assert_eq!(all - ingress(&config), 360);
        let bounds = Resources::bounds(&config);
        assert!(Service::ALL.iter().all(|service| bounds.contains(service.name())), "{bounds}");
    }
}
