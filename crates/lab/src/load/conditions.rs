//! The conditions of a run: the machine, the system, and how durable its records are.

use std::path::Path;

use twqr_config::Config;
use twqr_loadgen::scenario::{Durability, Scenario, SystemShape};

/// The known properties of the system under test.
pub(super) struct AboutSystem {
    /// In words, for the report.
    pub(super) text: String,
    /// The reason why its records are less durable than the scenario needs.
    pub(super) durability_fault: Option<String>,
    /// Whether this command knows the durability settings.
    pub(super) is_durability_known: bool,
}

/// File systems that lose everything with the machine's power.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// The replicas and the acknowledgements that make records replicated.
const REPLICATION_MIN: u32 = 3;
const MIN_INSYNC_MIN: u32 = 2;

impl AboutSystem {
    /// Of a system that this command did not start.
    pub(super) fn unknown(endpoints: &[String]) -> Self {
        let text = format!("running at {}; not started by this command", endpoints.join(", "));
        Self { text, durability_fault: None, is_durability_known: false }
    }

    /// Of a system with this configuration.
    pub(super) fn of(scenario: &Scenario, config: &Config) -> Self {
        let needs_replicas = scenario.system.durability == Durability::Replicated;
        let (text, fault) = if scenario.system.shape == SystemShape::AllInOne {
            let kind = file_system(&config.data_dir, &std::fs::read_to_string("/proc/mounts").unwrap_or_default());
            let in_memory = IN_MEMORY.contains(&kind.as_str());
            let fault = if in_memory {
                Some(format!("the data is on {kind}, in memory, so nothing is durable"))
            } else {
                needs_replicas.then(|| "the embedded journal has one copy, and the scenario needs replicas".to_owned())
            };
            (format!("one process, embedded journal, fdatasync for each group commit on {kind}"), fault)
        } else {
            let (copies, acknowledged) = (config.kafka.replication, config.kafka.min_insync);
            let is_replicated = copies >= REPLICATION_MIN && acknowledged >= MIN_INSYNC_MIN;
            let fault = (needs_replicas && !is_replicated).then(|| {
                format!(
                    "the scenario needs replicated records, but kafka.replication is {copies} and kafka.min_insync \
                     {acknowledged}; they must be at least {REPLICATION_MIN} and {MIN_INSYNC_MIN}"
                )
            });
            let each = if scenario.system.shape == SystemShape::TwoOfEach { "two processes" } else { "processes" };
            let replicas = if copies == 1 { "one replica".to_owned() } else { format!("{copies} replicas") };
            (format!("{each} of each service on Kafka, {replicas}, {acknowledged} acknowledge"), fault)
        };
        let transport = if config.tls.grpc_files().is_some() {
            "TLS with certificates on both sides on gRPC, wallet and FISC; the HTTP form in plain text"
        } else {
            "no TLS"
        };
        let held = scenario.system.orders_held;
        let held = if held == 0 { String::new() } else { format!("; {held} orders held before the run") };
        let text = format!("{text}; {transport}{held}");
        Self { text, durability_fault: fault, is_durability_known: true }
    }
}

/// The kind of the file system that holds a path, from the text of /proc/mounts.
fn file_system(path: &Path, mounts: &str) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    holding.max_by_key(|(point, _)| point.len()).map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

/// The machine in words: cores, processor and kernel.
pub(super) fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let build = if cfg!(debug_assertions) { "; laboratory built without optimisation" } else { "" };
    format!("{cores} cores, {}, Linux {}{build}", name.trim_start_matches([' ', '\t', ':']), kernel.trim())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";

    #[test]
    fn the_file_system_is_that_of_the_longest_mount_point() {
        for (path, kind) in
            [("/home/data", "ext4"), ("/tmp/data", "tmpfs"), ("/tmp/disk/data", "xfs"), ("/tmpx", "ext4")]
        {
            assert_eq!(file_system(Path::new(path), MOUNTS), kind, "{path}");
        }
    }

    #[test]
    fn a_system_that_is_less_durable_than_the_scenario_needs_is_named() {
        let scenario = |shape: &str, durability: &str| {
            let phase = "[[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 1\n";
            let system = format!("[system]\nshape = \"{shape}\"\ndurability = \"{durability}\"\n");
            Scenario::parse(&format!("{system}{phase}")).unwrap()
        };
        let mut config = Config::default();
        (config.kafka.replication, config.kafka.min_insync) = (1, 1);
        let fault = |scenario: &Scenario, config: &Config| AboutSystem::of(scenario, config).durability_fault;
        assert!(fault(&scenario("all-in-one", "replicated"), &config).unwrap().contains("one copy"));
        assert_eq!(fault(&scenario("two-of-each", "disk"), &config), None);
        assert!(fault(&scenario("two-of-each", "replicated"), &config).unwrap().contains("kafka.replication is 1"));
        (config.kafka.replication, config.kafka.min_insync) = (3, 2);
        assert_eq!(fault(&scenario("two-of-each", "replicated"), &config), None);
        let mut holding = scenario("two-of-each", "replicated");
        holding.system.orders_held = 7;
        assert!(AboutSystem::of(&holding, &config).text.ends_with("; 7 orders held before the run"));
    }
}
