//! The resources that a process uses, as Linux shows them under /proc, and the disk space that a
//! folder takes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Linux counts CPU time for user space in ticks of 10 ms on every architecture.
const TICK_US: u64 = 10_000;

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time in user space and kernel, in µs.
    pub(crate) cpu_us: u64,
    /// Resident memory now, in bytes.
    pub(crate) resident_bytes: u64,
    /// Bytes written to storage.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The usage of a process by its id; a figure that the system does not show is 0.
    pub(crate) fn of(process: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
        Self {
            cpu_us: cpu_ticks(&read("stat")) * TICK_US,
            resident_bytes: named_number(&read("status"), "VmRSS:") * 1_024,
            written_bytes: named_number(&read("io"), "write_bytes:"),
        }
    }

    /// The usage since `earlier`; resident memory is the present one.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_us: self.cpu_us.saturating_sub(earlier.cpu_us),
            resident_bytes: self.resident_bytes,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// Processes are calm if each uses less than this share of a core on average, for [`CALM_SAMPLES`]
/// in a row. Signs of life and timers take some of it.
const CALM_CORES: f64 = 0.1;
const CALM_SAMPLES: u32 = 3;
const CALM_EVERY: Duration = Duration::from_secs(1);

/// Waits until these processes have nothing left to do, such as reading what was written before
/// they started.
pub(crate) async fn until_calm(processes: &[u32], within: Duration) -> anyhow::Result<()> {
    let used_us = || processes.iter().map(|id| Usage::of(*id).cpu_us).sum::<u64>();
    let (began, mut calm, mut before) = (Instant::now(), 0, used_us());
    while calm < CALM_SAMPLES {
        anyhow::ensure!(began.elapsed() < within, "the services are still busy after {} s", within.as_secs());
        let sampled = Instant::now();
        tokio::time::sleep(CALM_EVERY).await;
        let now = used_us();
        let cores = now.saturating_sub(before) as f64 / 1e6 / sampled.elapsed().as_secs_f64();
        calm = if cores < CALM_CORES * processes.len() as f64 { calm + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// The CPU time of a thread by its folder under /proc, in µs; `None` once it has ended.
pub(crate) fn thread_cpu_us(task: &str) -> Option<u64> {
    Some(cpu_ticks(&std::fs::read_to_string(format!("{task}/stat")).ok()?) * TICK_US)
}

/// The CPU time that the compilers of a Java process have taken, in µs. It grows until all hot code
/// is compiled, and falls when an idle compiler's thread ends.
pub(crate) fn java_compilers_cpu_us(process: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let is_compiler = |name: &str| ["C1 Compiler", "C2 Compiler"].iter().any(|start| name.starts_with(start));
    tasks
        .flatten()
        .map(|task| task.path())
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| is_compiler(&name)))
        .filter_map(|task| thread_cpu_us(&task.to_string_lossy()))
        .sum()
}

/// The CPU time of the whole machine so far, in µs of all cores together: the part that processes
/// used, and all of it. Interrupts belong to no process and are left out of the first.
pub(crate) fn machine_cpu_us() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let at = |field: usize| ticks.get(field).copied().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal
    ((at(0) + at(1) + at(2) + at(7)) * TICK_US, ticks.iter().take(8).sum::<u64>() * TICK_US)
}

/// The sum of `utime` and `stime`, the 12th and 13th field after the process name. The name is in
/// parentheses and may contain some itself.
fn cpu_ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn named_number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The disk space of a folder with everything below it, in bytes. A file that is removed meanwhile
/// counts as 0.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_contain_spaces_and_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), 300);
        assert_eq!(cpu_ticks(""), 0);
    }

    #[test]
    fn only_threads_with_the_names_of_java_compilers_count_as_such() {
        let process = std::process::id();
        for (name, is_compiler) in [("other", false), ("C1 CompilerThread0", true), ("C2 CompilerThread0", true)] {
            let count = move || {
                while thread_cpu_us("/proc/thread-self").unwrap_or_default() == 0 {}
                java_compilers_cpu_us(process)
            };
            let counted = std::thread::Builder::new().name(name.to_owned()).spawn(count).unwrap().join().unwrap();
            assert_eq!(counted > 0, is_compiler, "{name}");
        }
    }

    #[test]
    fn this_process_uses_memory_and_an_unknown_one_none() {
        assert!(Usage::of(std::process::id()).resident_bytes > 0);
        assert_eq!(Usage::of(u32::MAX).resident_bytes, 0);
    }
}
