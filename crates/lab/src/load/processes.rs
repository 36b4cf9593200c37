//! CPU and memory of every process while a load runs: the services, the simulator, brokers, the
//! generator's threads, and what else used the machine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use twqr_loadgen::{
    generator::LoadProgress,
    report::{GENERATOR, ProcessUsage, UsageSample},
    scenario::SystemShape,
};

use crate::{
    launch::System,
    usage::{Usage, machine_cpu_us, thread_cpu_us},
};

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// A sending thread is judged by its CPU over this many samples.
const WINDOW: usize = 5;
/// Where the development brokers leave their process ids, unless `KAFKA_DIR` names another folder.
const BROKER_PIDS: &str = "target/kafka";

/// A process that is measured.
#[derive(Clone, Debug)]
struct MeasuredProcess {
    id: u32,
    is_service: bool,
}

/// The processes by name; clones share them.
#[derive(Clone)]
pub(super) struct Processes(Arc<Mutex<BTreeMap<String, MeasuredProcess>>>);

impl Processes {
    /// These processes: name, id, and whether it is a service under test.
    pub(super) fn new(processes: Vec<(String, u32, bool)>) -> Self {
        let entry = |(name, id, is_service)| (name, MeasuredProcess { id, is_service });
        Self(Arc::new(Mutex::new(processes.into_iter().map(entry).collect())))
    }

    /// The processes of a system, and the brokers if it uses any.
    pub(super) fn of(system: &System, shape: SystemShape) -> Self {
        let simulator = system.simulator_id().map(|id| ("simulator".to_owned(), id, false));
        let processes = Self::new(simulator.into_iter().collect());
        if shape != SystemShape::AllInOne {
            processes.take_brokers(&broker_folder());
        }
        processes.refresh(system);
        processes
    }

    /// Takes the present process ids of the services.
    pub(super) fn refresh(&self, system: &System) {
        let mut processes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in system.names() {
            if let Ok(id) = system.id(&name) {
                processes.insert(name, MeasuredProcess { id, is_service: true });
            }
        }
    }

    /// Takes the present process ids of the brokers: a restarted one writes its own to this folder.
    pub(super) fn take_brokers(&self, folder: &Path) {
        let mut processes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(name, id)| (name, MeasuredProcess { id, is_service: false });
        processes.extend(brokers(folder).into_iter().map(entry));
    }

    fn now(&self) -> BTreeMap<String, MeasuredProcess> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The folder in which the development brokers leave their process ids.
pub(super) fn broker_folder() -> PathBuf {
    std::env::var_os("KAFKA_DIR").map_or_else(|| BROKER_PIDS.into(), PathBuf::from)
}

/// The name and process id of each broker.
fn brokers(folder: &Path) -> Vec<(String, u32)> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let broker = |file: std::fs::DirEntry| {
        let name = file.file_name().to_string_lossy().strip_suffix(".pid")?.to_owned();
        Some((name, std::fs::read_to_string(file.path()).ok()?.trim().parse().ok()?))
    };
    files.filter_map(broker).collect()
}

/// What was measured.
pub(super) struct RecordedUsage {
    pub(super) processes: Vec<ProcessUsage>,
    /// The highest share of a core that a sending thread used over the window.
    pub(super) generator_cpu_share: Option<f64>,
    /// The average share of the machine that other processes used.
    pub(super) others_cpu_share: Option<f64>,
}

/// Measures until it is ended.
pub(super) struct UsageRecorder {
    end: oneshot::Sender<()>,
    task: JoinHandle<Sampler>,
}

impl UsageRecorder {
    pub(super) fn start(processes: Processes, progress: Arc<LoadProgress>) -> Self {
        let (end, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut sampler = Sampler::new(processes, progress);
            loop {
                sampler.sample();
                if tokio::time::timeout(EVERY, &mut ended).await.is_ok() {
                    sampler.sample();
                    return sampler;
                }
            }
        });
        Self { end, task }
    }

    pub(super) async fn end(self) -> RecordedUsage {
        // A recorder that has ended needs no end.
        let _ = self.end.send(());
        match self.task.await {
            Ok(sampler) => sampler.recorded(),
            Err(_) => RecordedUsage { processes: Vec::new(), generator_cpu_share: None, others_cpu_share: None },
        }
    }
}

/// Takes samples until the run has ended.
struct Sampler {
    processes: Processes,
    progress: Arc<LoadProgress>,
    began: Instant,
    usages: BTreeMap<String, ProcessUsage>,
    /// The last CPU time of each process, with its id.
    last: BTreeMap<String, (u32, Usage)>,
    last_at_s: f64,
    /// CPU time of all measured processes so far, in µs.
    ours_us: u64,
    machine_at_start: (u64, u64),
    machine_now: (u64, u64),
    /// Moments with the CPU time of each sending thread.
    threads: BTreeMap<String, Vec<(f64, u64)>>,
}

impl Sampler {
    fn new(processes: Processes, progress: Arc<LoadProgress>) -> Self {
        let machine = machine_cpu_us();
        Self {
            processes,
            progress,
            began: Instant::now(),
            usages: BTreeMap::new(),
            last: BTreeMap::new(),
            last_at_s: 0.0,
            ours_us: 0,
            machine_at_start: machine,
            machine_now: machine,
            threads: BTreeMap::new(),
        }
    }

    fn sample(&mut self) {
        let at_s = self.began.elapsed().as_secs_f64();
        let mut processes = self.processes.now();
        processes.insert(GENERATOR.to_owned(), MeasuredProcess { id: std::process::id(), is_service: false });
        for (name, MeasuredProcess { id, is_service }) in processes {
            let usage = Usage::of(id);
            let used_us = match self.last.get(&name) {
                Some((last_id, last)) if *last_id == id => usage.since(*last).cpu_us,
                // Restarted: all of its CPU time is new.
                Some(_) => usage.cpu_us,
                None => 0,
            };
            self.ours_us += used_us;
            let cores = used_us as f64 / 1e6 / (at_s - self.last_at_s).max(1e-3);
            let sample = UsageSample { at_s, cores, resident_mib: (usage.resident_bytes >> 10) as f64 / 1_024.0 };
            let new = || ProcessUsage { name: name.clone(), is_service, samples: Vec::new() };
            self.usages.entry(name.clone()).or_insert_with(new).samples.push(sample);
            self.last.insert(name, (id, usage));
        }
        for task in self.progress.sender_tasks() {
            if let Some(cpu_us) = thread_cpu_us(&task) {
                self.threads.entry(task).or_default().push((at_s, cpu_us));
            }
        }
        self.machine_now = machine_cpu_us();
        self.last_at_s = at_s;
    }

    fn recorded(self) -> RecordedUsage {
        let busy_us = self.machine_now.0.saturating_sub(self.machine_at_start.0);
        let all_us = self.machine_now.1.saturating_sub(self.machine_at_start.1);
        let others = busy_us.saturating_sub(self.ours_us) as f64 / all_us.max(1) as f64;
        RecordedUsage {
            others_cpu_share: (all_us > 0).then_some(others),
            generator_cpu_share: busiest(self.threads.values()),
            processes: self.usages.into_values().collect(),
        }
    }
}

/// The highest share of a core that one thread used over [`WINDOW`] samples, or over all if there
/// are fewer.
fn busiest<'a>(threads: impl Iterator<Item = &'a Vec<(f64, u64)>>) -> Option<f64> {
    let share = |window: &[(f64, u64)]| match window {
        [(from, cpu_from), .., (to, cpu_to)] => (cpu_to - cpu_from) as f64 / 1e6 / (to - from).max(1e-3),
        _ => 0.0,
    };
    let highest = |samples: &Vec<(f64, u64)>| {
        let width = samples.len().min(WINDOW + 1);
        samples.windows(width.max(1)).map(share).fold(0.0, f64::max)
    };
    threads.map(highest).max_by(f64::total_cmp)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_broker_is_measured_by_its_new_process_id() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::new(vec![("simulator".to_owned(), 7, false)]);
        let write = |id: &str| std::fs::write(folder.path().join("broker-1.pid"), id).unwrap();
        let ids = || processes.now().into_values().map(|process| process.id).collect::<Vec<_>>();
        for (written, expected) in [("11\n", [11, 7]), ("12\n", [12, 7]), ("no number", [12, 7])] {
            write(written);
            processes.take_brokers(folder.path());
            assert_eq!(ids(), expected, "{written:?}");
        }
    }

    #[test]
    fn a_thread_is_judged_by_its_busiest_five_seconds() {
        let samples = |cpu: &[u64]| cpu.iter().enumerate().map(|(n, us)| (n as f64, *us)).collect::<Vec<_>>();
        let calm = samples(&[1, 100_001, 200_001, 300_001, 400_001, 500_001, 600_001]);
        let mut busy = calm.clone();
        busy.extend((7..20_u32).map(|n| (f64::from(n), 600_001 + u64::from(n.abs_diff(6)) * 950_000)));
        assert!((busiest([&calm].into_iter()).unwrap_or_default() - 0.1).abs() < 0.001);
        assert!((busiest([&calm, &busy].into_iter()).unwrap_or_default() - 0.95).abs() < 0.001);
        assert_eq!(busiest([].into_iter()), None);
    }
}
