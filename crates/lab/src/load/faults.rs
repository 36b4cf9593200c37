//! Causes the planned faults of a scenario while its load runs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::{process::Command, time::Instant};
use twqr_loadgen::{
    report::FaultNote,
    scenario::{FaultAction, PlannedFault},
};

use super::{
    callers::RunCallers,
    flood::{Flooder, flood},
    processes::{Processes, broker_folder},
};
use crate::{chaos::signals, launch::System};

/// The folder of the scripts that start and stop brokers.
const KAFKA_SCRIPTS: &str = "deploy/kafka";

/// The faults that were caused, and those that could not be caused.
#[derive(Default)]
pub(super) struct CausedFaults {
    pub(super) notes: Vec<FaultNote>,
    pub(super) failed: Vec<String>,
}

/// Causes each fault at its time. None can be caused in a system that this command did not start;
/// for a flood of a caller, the system must have callers.
pub(super) async fn cause(
    planned: &[PlannedFault],
    mut system: Option<&mut System>,
    processes: &Processes,
    callers: Option<&RunCallers>,
) -> CausedFaults {
    let began = Instant::now();
    let mut caused = CausedFaults::default();
    let mut planned = planned.to_vec();
    planned.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    for fault in planned {
        tokio::time::sleep_until(began + Duration::from_secs_f64(fault.at_s)).await;
        let text = text(&fault);
        let Some(system) = system.as_deref_mut() else {
            caused.failed.push(format!("{text}: the system was not started by this command"));
            continue;
        };
        let notes = &mut caused.notes;
        let mut note = |text| notes.push(FaultNote { at_s: began.elapsed().as_secs_f64(), text });
        note(text.clone());
        if let Err(error) = act(&fault, system, processes, callers, &mut note).await {
            caused.failed.push(format!("{text}: {error:#}"));
        }
    }
    caused
}

fn text(fault: &PlannedFault) -> String {
    let PlannedFault { process, for_s, .. } = fault;
    match fault.action {
        FaultAction::Kill => format!("kill {process} for {for_s} s"),
        FaultAction::Restart => format!("restart {process}"),
        FaultAction::RestartAll => "restart each process in turn".to_owned(),
        FaultAction::Suspend => format!("suspend {process} for {for_s} s"),
        FaultAction::KillBroker => format!("kill broker {process} for {for_s} s"),
        FaultAction::Flood => format!("a flood of {} calls per second for {for_s} s", fault.rate),
        FaultAction::FloodCaller => format!(
            "a flood of {} calls per second by a caller that may send {}, and {} at once, for {for_s} s",
            fault.rate, fault.calls_per_s, fault.calls_max
        ),
    }
}

/// Causes one fault; `note` takes each further part of it.
async fn act(
    fault: &PlannedFault,
    system: &mut System,
    processes: &Processes,
    callers: Option<&RunCallers>,
    note: &mut impl FnMut(String),
) -> anyhow::Result<()> {
    let lasting = Duration::from_secs_f64(fault.for_s);
    match fault.action {
        FaultAction::Kill => {
            system.kill(&fault.process).await?;
            tokio::time::sleep(lasting).await;
            system.start_again(&fault.process)?;
            processes.refresh(system);
            system.until_ready().await?;
        }
        FaultAction::Restart => restart(&fault.process, system, processes).await?,
        FaultAction::RestartAll => {
            for name in system.names() {
                note(format!("restart {name}"));
                restart(&name, system, processes).await?;
            }
        }
        FaultAction::Suspend => {
            signals::suspend(system.id(&fault.process)?)?;
            tokio::time::sleep(lasting).await;
            signals::resume(system.id(&fault.process)?)?;
            system.until_ready().await?;
        }
        FaultAction::Flood => flood(system.ingresses(), &Flooder::Merchant, fault.rate, lasting).await?,
        FaultAction::FloodCaller => {
            let flooder = Flooder::Caller(callers.context("the system has no callers")?.flood.clone());
            flood(system.ingresses(), &flooder, fault.rate, lasting).await?;
        }
        FaultAction::KillBroker => {
            broker("down", &["broker", &fault.process, "--kill"]).await?;
            tokio::time::sleep(lasting).await;
            broker("up", &["broker", &fault.process]).await?;
            processes.take_brokers(&broker_folder());
            system.until_ready().await?;
        }
    }
    Ok(())
}

async fn restart(name: &str, system: &mut System, processes: &Processes) -> anyhow::Result<()> {
    system.restart(name).await?;
    processes.refresh(system);
    system.until_ready().await?;
    Ok(())
}

/// Runs one of the broker scripts.
async fn broker(script: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = format!("{KAFKA_SCRIPTS}/{script}");
    let status = Command::new(&path).args(arguments).env_remove("KAFKA_BOOTSTRAP").status().await;
    let status = status.with_context(|| format!("{path} cannot be run"))?;
    ensure!(status.success(), "{path} {arguments:?} failed ({status})");
    Ok(())
}
