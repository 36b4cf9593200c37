//! The limits of the container in which this process runs (cgroup v2): the number of processors and
//! the memory that it may use.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the machine has, and what the container allows of it; absent where it sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainerLimits {
    /// The processors on which this process may run.
    pub cores: usize,
    /// Processor time for each second of time, in s.
    pub cpus: Option<f64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
}

impl ContainerLimits {
    /// Reads the limits of this process. `root` is the root of the file system, `/` but in tests.
    /// What cannot be read sets no limit: outside of a container there is nothing to read.
    pub fn read(root: &Path) -> Self {
        let mut limits = Self { cores: cores(root), ..Self::default() };
        for group in groups(root) {
            limits.cpus =
                least(limits.cpus, fs::read_to_string(group.join("cpu.max")).ok().and_then(|text| cpus(&text)));
            let memory = fs::read_to_string(group.join("memory.max")).ok();
            limits.memory_bytes = least(limits.memory_bytes, memory.and_then(|text| text.trim().parse().ok()));
        }
        limits
    }

    /// How many threads are worth having: as many as processors may be used, rounded up, and at
    /// least one.
    pub fn threads(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let allowed = self.cpus.map_or(usize::MAX, |cpus| cpus.ceil() as usize);
        self.cores.min(allowed).max(1)
    }
}

/// The number of processors in lists such as `0-3,8`.
fn cores(root: &Path) -> usize {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let number_in = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((last.parse::<usize>().ok()? + 1).saturating_sub(first.parse().ok()?))
    };
    allowed.trim().split(',').filter_map(number_in).sum::<usize>().max(1)
}

/// The folders of the process's control group and of those around it: each of them may set limits.
fn groups(root: &Path) -> Vec<PathBuf> {
    let mount = root.join("sys/fs/cgroup");
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Path::new(own).ancestors().map(|group| mount.join(group)).collect()
}

/// Reads `cpu.max`: the quota and its period in µs, or `max` for no quota.
fn cpus(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u32>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    (period > 0).then(|| f64::from(quota) / f64::from(period))
}

fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Writes files into a root; returns the limits there.
    fn limits(files: &[(&str, &str)]) -> ContainerLimits {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        ContainerLimits::read(root.path())
    }

    #[test]
    fn the_tightest_limit_of_all_groups_around_the_process_counts() {
        let of = |cpus, memory_bytes| ContainerLimits { cores: 1, cpus, memory_bytes };
        let none = of(None, None);
        assert_eq!(limits(&[]), none);
        let cases: [(&[(&str, &str)], ContainerLimits); 6] = [
            (&[("proc/self/status", "Name:\ttwqr\nCpus_allowed_list:\t0-3,8\n")], ContainerLimits { cores: 5, ..none }),
            (&[("sys/fs/cgroup/cpu.max", "max 100000\n"), ("sys/fs/cgroup/memory.max", "max\n")], none),
            (
                &[
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
                    ("sys/fs/cgroup/memory.max", "536870912\n"),
                ],
                of(Some(1.5), Some(536_870_912)),
            ),
            (
                &[
                    ("proc/self/cgroup", "0::/kubepods/pod-1/container\n"),
                    ("sys/fs/cgroup/kubepods/pod-1/container/cpu.max", "400000 100000\n"),
                    ("sys/fs/cgroup/kubepods/pod-1/cpu.max", "50000 100000\n"),
                    ("sys/fs/cgroup/kubepods/memory.max", "1000\n"),
                    ("sys/fs/cgroup/other/memory.max", "10\n"),
                ],
                of(Some(0.5), Some(1_000)),
            ),
            (&[("proc/self/cgroup", "1:cpu:/a\n"), ("sys/fs/cgroup/cpu.max", "")], none),
            (&[("sys/fs/cgroup/cpu.max", "100000 0"), ("sys/fs/cgroup/memory.max", "-5")], none),
        ];
        for (files, expected) in cases {
            assert_eq!(limits(files), expected, "{files:?}");
        }
    }

    #[test]
    fn threads_follow_the_quota_rounded_up() {
        for (cpus, cores, expected) in
            [(None, 8, 8), (Some(1.5), 8, 2), (Some(0.1), 8, 1), (Some(4.0), 2, 2), (Some(2.0), 0, 1)]
        {
            assert_eq!(ContainerLimits { cores, cpus, memory_bytes: None }.threads(), expected, "{cpus:?} of {cores}");
        }
    }
}
