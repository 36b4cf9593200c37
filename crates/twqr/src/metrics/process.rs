//! The process' own use of the machine, under the names that Prometheus' clients share.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};
use twqr_metric::{Metric, MetricKind};

use super::add;

const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: MetricKind::Counter,
    unit: "seconds",
    labels: &[],
    meaning: "CPU time of this process, in user and system mode",
    action: "At the container's limit, everything waits: give it more, or add processes",
};
const RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: MetricKind::Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Memory of this process that is in RAM",
    action: "Near the container's limit: raise it",
};
const VIRTUAL: Metric = Metric {
    name: "process_virtual_memory_bytes",
    kind: MetricKind::Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Address space of this process",
    action: "",
};
const OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: MetricKind::Gauge,
    unit: "files",
    labels: &[],
    meaning: "Open files and connections of this process",
    action: "Alert FilesNearLimit",
};
const MAX_FDS: Metric = Metric {
    name: "process_max_fds",
    kind: MetricKind::Gauge,
    unit: "files",
    labels: &[],
    meaning: "How many files and connections this process may have open",
    action: "",
};
const THREADS: Metric = Metric {
    name: "process_threads",
    kind: MetricKind::Gauge,
    unit: "threads",
    labels: &[],
    meaning: "Threads of this process",
    action: "",
};
const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "When this process started, in seconds since 1970",
    action: "Alert ProcessRestarts",
};

/// The metrics of the process.
pub(super) const METRICS: &[Metric] = &[CPU, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, THREADS, START_TIME];

/// The kernel's figures about this process.
pub(super) struct ProcessUse {
    cpu_s: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: usize,
    max_fds: Option<u64>,
    threads: u64,
    started_s: f64,
}

impl ProcessUse {
    /// Reads it from `/proc`; `None` where there is none.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
        let max_fds = getrlimit(Resource::Nofile).current;
        Self::parse(&stat, &boot, open_fds, max_fds)
    }

    /// Parses `/proc/self/stat` and `/proc/stat`.
    fn parse(stat: &str, boot: &str, open_fds: usize, max_fds: Option<u64>) -> Option<Self> {
        // The name of the program is in parentheses, and may contain spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered from 3 on in proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        let boot_s = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        Some(Self {
            cpu_s: seconds(field(14)? + field(15)?),
            resident_bytes: field(24)? * page_size() as u64,
            virtual_bytes: field(23)?,
            open_fds,
            max_fds,
            threads: field(20)?,
            started_s: boot_s + seconds(field(22)?),
        })
    }

    /// Adds it to the metrics of the process.
    pub(super) fn add_to(&self, text: &mut String) {
        let max_fds = self.max_fds.map_or(f64::INFINITY, |max| max as f64);
        for (metric, value) in [
            (&CPU, self.cpu_s),
            (&RESIDENT, self.resident_bytes as f64),
            (&VIRTUAL, self.virtual_bytes as f64),
            (&OPEN_FDS, self.open_fds as f64),
            (&MAX_FDS, max_fds),
            (&THREADS, self.threads as f64),
            (&START_TIME, self.started_s),
        ] {
            add(text, metric, &[(&[], value)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_lines_are_read_though_a_name_has_spaces_and_parentheses() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 8192 3 18446744073709551615 1 1";
        let process = ProcessUse::parse(stat, "cpu 1\nbtime 100\nprocesses 3\n", 5, Some(64)).unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!((process.threads, process.virtual_bytes, process.open_fds), (9, 8_192, 5));
        assert_eq!(process.resident_bytes, 3 * page_size() as u64);
        assert!(
            (process.cpu_s - 200.0 / ticks).abs() < 1e-9 && (process.started_s - 100.0 - 1_000.0 / ticks).abs() < 1e-9
        );
        assert!(ProcessUse::parse("7 (x) S 1", "btime 1", 0, None).is_none(), "a cut-off line");
    }

    #[test]
    fn this_process_can_be_read() {
        let process = ProcessUse::read().unwrap();
        assert!(process.resident_bytes > 0 && process.threads > 0 && process.open_fds > 0);
    }
}
