//! Causes the failures one after another, and waits after each until all payments are answered
//! again.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tokio::{process::Command, time::Instant};
use twqr_client::ProgressBar;
use twqr_journal::{Journal, Topic};

use super::{
    Target,
    load::PaymentLoad,
    tasks::{TaskMark, count_at_risk, mark},
};
use crate::{chaos::signals, launch::System};

/// How a process fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// kill -9, and a restart some seconds later.
    Killed,
    /// SIGSTOP, and SIGCONT some seconds later.
    Suspended,
}

/// The target and the kind of failure; absent for the calm phase at the beginning.
pub(super) type Cause = Option<(Target, How)>;

/// One failure. Times are in ms since the load began.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) what: Cause,
    pub(super) began_ms: u64,
    /// When every process was ready and all payments were answered again.
    pub(super) recovered_ms: u64,
    /// Until when payments belong to it: its whole time, if the next failure does not begin before.
    pub(super) ended_ms: u64,
    /// The tasks between the position that a failed worker had committed and its successor's claim.
    pub(super) tasks_at_risk: u64,
}

impl Fault {
    /// The calm with which the faults are compared.
    pub(super) fn calm(began_ms: u64, ended_ms: u64) -> Self {
        Self { what: None, began_ms, recovered_ms: ended_ms, ended_ms, tasks_at_risk: 0 }
    }
}

/// The time after which a killed process is started again, and for which one is suspended, in ms.
const RESTART_AFTER_MS: u64 = 2_000;
const SUSPENDED_MS: u64 = 8_000;
/// The time after which a killed broker is started again, in ms.
const BROKER_RESTART_AFTER_MS: u64 = 10_000;
/// How long payments may take until all are answered again, in ms, and how often it is checked.
const ANSWERED_MS_MAX: u64 = 60_000;
const CHECK_EVERY_MS: u64 = 20;
/// The shortest pause between a recovery and the next failure.
const BETWEEN_MIN: Duration = Duration::from_millis(300);
/// The processes of each service.
const PROCESSES: u32 = 2;

/// The system under load.
pub(super) struct FaultStage<'a> {
    pub(super) system: &'a mut System,
    pub(super) load: &'a PaymentLoad,
    pub(super) journal: &'a dyn Journal,
    /// The folder of the scripts that start and stop brokers.
    pub(super) scripts: &'a Path,
    /// The time from one failure to the next, if the system recovers within it.
    pub(super) every: Duration,
}

impl Target {
    /// The subcommand of the service; `None` for a broker.
    fn service(self) -> Option<&'static str> {
        match self {
            Self::Ingress => Some("ingress"),
            Self::Router => Some("router"),
            Self::WalletWorker => Some("wallet-worker"),
            Self::FiscWorker => Some("fisc-worker"),
            Self::Tracker => Some("tracker"),
            Self::Leader => None,
        }
    }

    /// The task topic of a worker.
    fn tasks(self) -> Option<Topic> {
        match self {
            Self::WalletWorker => Some(Topic::WalletTasks),
            Self::FiscWorker => Some(Topic::FiscTasks),
            Self::Ingress | Self::Router | Self::Tracker | Self::Leader => None,
        }
    }
}

impl FaultStage<'_> {
    /// Kills `kills` processes of each service, then suspends as many, and at last kills a broker.
    pub(super) async fn play(&mut self, targets: &BTreeSet<Target>, kills: u32) -> anyhow::Result<Vec<Fault>> {
        let services: Vec<Target> = targets.iter().copied().filter(|target| target.service().is_some()).collect();
        let brokers: Vec<Target> = targets.iter().copied().filter(|target| target.service().is_none()).collect();
        let total = services.len() as u64 * u64::from(kills) * 2 + brokers.len() as u64;
        let mut progress = ProgressBar::start("failures", total);
        let mut faults = Vec::new();
        for how in [How::Killed, How::Suspended] {
            for target in &services {
                for n in 0..kills {
                    faults.push(self.fail(*target, how, n % PROCESSES).await?);
                    progress.step(&format!("({how:?}: {target:?})"));
                }
            }
        }
        for target in brokers {
            faults.push(self.kill_broker(target).await?);
            progress.step("(a leader was killed)");
        }
        progress.finish("were caused");
        Ok(faults)
    }

    async fn fail(&mut self, target: Target, how: How, number: u32) -> anyhow::Result<Fault> {
        let service = target.service().context("a broker is not a service")?;
        let name = format!("{service}-{number}");
        let began_ms = self.load.now_ms();
        let marks = match how {
            How::Killed => {
                self.system.kill(&name).await?;
                let marks = self.mark(target).await?;
                tokio::time::sleep(Duration::from_millis(RESTART_AFTER_MS)).await;
                self.system.start_again(&name)?;
                marks
            }
            How::Suspended => {
                let id = self.system.id(&name)?;
                signals::suspend(id)?;
                let marks = self.mark(target).await;
                tokio::time::sleep(Duration::from_millis(SUSPENDED_MS)).await;
                signals::resume(id)?;
                marks?
            }
        };
        self.recovered((target, how), began_ms, &marks).await
    }

    async fn mark(&self, target: Target) -> anyhow::Result<Vec<TaskMark>> {
        match target.tasks() {
            Some(topic) => Ok(mark(self.journal, topic).await?),
            None => Ok(Vec::new()),
        }
    }

    async fn kill_broker(&mut self, target: Target) -> anyhow::Result<Fault> {
        let began_ms = self.load.now_ms();
        self.broker("down", &["broker", "1", "--kill"]).await?;
        tokio::time::sleep(Duration::from_millis(BROKER_RESTART_AFTER_MS)).await;
        self.broker("up", &["broker", "1"]).await?;
        self.recovered((target, How::Killed), began_ms, &[]).await
    }

    /// Waits until every process is ready and each shard has answered a payment of each side that
    /// began after that.
    async fn recovered(&mut self, what: (Target, How), began_ms: u64, marks: &[TaskMark]) -> anyhow::Result<Fault> {
        self.system.until_ready().await?;
        let (ready_ms, patience) = (self.load.now_ms(), Instant::now() + Duration::from_millis(ANSWERED_MS_MAX));
        loop {
            let (answered, all) = self.load.answered_since(ready_ms);
            if answered == all {
                break;
            }
            ensure!(
                Instant::now() < patience,
                "{what:?}: after {ANSWERED_MS_MAX} ms only {answered} of {all} shards and sides answer payments"
            );
            tokio::time::sleep(Duration::from_millis(CHECK_EVERY_MS)).await;
        }
        let recovered_ms = self.load.now_ms();
        let tasks_at_risk = count_at_risk(self.journal, marks).await?;
        let spent = Duration::from_millis(self.load.now_ms() - began_ms);
        tokio::time::sleep(self.every.saturating_sub(spent).max(BETWEEN_MIN)).await;
        Ok(Fault { what: Some(what), began_ms, recovered_ms, ended_ms: self.load.now_ms(), tasks_at_risk })
    }

    /// Runs one of the broker scripts.
    async fn broker(&self, script: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let path = self.scripts.join(script);
        let mut command = Command::new(&path);
        // Standard output is for the report.
        command.args(arguments).env_remove("KAFKA_BOOTSTRAP").stdout(Stdio::null());
        let status = command.status().await;
        let status = status.with_context(|| format!("{} cannot be run", path.display()))?;
        ensure!(status.success(), "{} {arguments:?} failed ({status})", path.display());
        Ok(())
    }
}

/// The name of a target, as on the command line.
pub(super) fn target_name(target: Target) -> String {
    target.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
