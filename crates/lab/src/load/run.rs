//! One run of a scenario: starts the system, sends, causes the planned faults, reconciles, and
//! writes the report.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_loadgen::{
    CallerKey, KeyedChannel,
    generator::{LoadRun, RecordedRun, Targets},
    reconcile::{inquire, read_ledger, reconcile},
    report::{FaultNote, LoadSummary, RunFacts, ValidityFacts, summarize},
    scenario::Scenario,
    traffic::{MerchantList, trade_no},
};
use twqr_service::CancellationToken;
use twqr_tls::ClientTls;
use twqr_wire::pos::pos_service_client::PosServiceClient;

use super::{
    NamedProcess, NamedScenario,
    callers::RunCallers,
    conditions, faults, live,
    processes::{Processes, UsageRecorder},
    system::{self, Authentication},
    written,
};
use crate::launch::{self, Programs, System};

/// The endpoints of a run.
pub(super) enum LoadTarget {
    /// A system that is started for the run, with the services of this folder if one is named.
    Started { build: Option<std::path::PathBuf>, tls: bool },
    /// A system that runs already.
    Running { grpc: Vec<String>, http: Option<SocketAddr>, ledger: Option<String>, processes: Vec<NamedProcess> },
}

/// The parts of the system that a run needs.
struct PreparedRun {
    system: Option<System>,
    targets: Targets,
    pos: PosServiceClient<KeyedChannel>,
    ledger: Option<Channel>,
    about: conditions::AboutSystem,
    processes: Processes,
    callers: Option<RunCallers>,
}

/// Plays the scenario and writes its report into `dir`, which is emptied first.
pub(super) async fn play(
    named: &NamedScenario,
    target: &LoadTarget,
    dir: &Path,
    config: &Config,
    stop: CancellationToken,
) -> anyhow::Result<LoadSummary> {
    let scenario = &named.scenario;
    let merchants = merchants(scenario)?;
    launch::empty(dir)?;
    let mut stage = stage(scenario, &merchants, target, dir, config).await?;
    // Two runs with one seed must not repeat each other's payments.
    let run = format!("load{:08x}", rand::random::<u32>());
    let load = LoadRun::start(scenario, &merchants, &stage.targets, &run)?;
    let progress = load.progress();
    let sampling = UsageRecorder::start(stage.processes.clone(), progress.clone());
    let live = live::show(scenario, progress.clone());
    let causing = faults::cause(&scenario.faults, stage.system.as_mut(), &stage.processes, stage.callers.as_ref());
    let sending = tokio::task::spawn_blocking(move || load.finish());
    let ended = until_ended(sending, causing, live, || progress.stop(), &stop).await?;
    let usage = sampling.end().await;
    let mut facts = RunFacts {
        name: named.name.clone(),
        machine: conditions::machine(),
        system: stage.about.text.clone(),
        processes: usage.processes,
        faults: ended.faults,
        validity: ValidityFacts {
            generator_cpu_share: usage.generator_cpu_share,
            others_cpu_share: usage.others_cpu_share,
            durability_fault: stage.about.durability_fault.clone(),
            is_durability_known: stage.about.is_durability_known,
            stopped_early: stop.is_cancelled(),
            failed_faults: ended.failed_faults,
            ..ValidityFacts::default()
        },
        ..RunFacts::default()
    };
    let recorded = ended.recorded;
    let audited = audit(&stage, &recorded, &merchants, scenario.client.settle_s, &mut facts).await;
    if let Err(error) = audited {
        twqr_files::print_error_line(format_args!("the run could not be reconciled: {error:#}"));
    }
    let summary = summarize(scenario, &recorded, facts);
    if let Some(system) = &mut stage.system {
        system.end().await;
    }
    written::write(dir, &named.text, &summary, &recorded)?;
    Ok(summary)
}

fn merchants(scenario: &Scenario) -> anyhow::Result<MerchantList> {
    let choice = &scenario.merchants;
    if choice.file.is_empty() {
        return Ok(MerchantList::generated(choice));
    }
    let text = twqr_files::read_text(Path::new(&choice.file)).with_context(|| choice.file.clone())?;
    MerchantList::parse(&text, choice).with_context(|| choice.file.clone())
}

async fn stage(
    scenario: &Scenario,
    merchants: &MerchantList,
    target: &LoadTarget,
    dir: &Path,
    config: &Config,
) -> anyhow::Result<PreparedRun> {
    match target {
        LoadTarget::Running { grpc, http, ledger, processes } => {
            let channel = twqr_client::channel(grpc.first().context("no endpoint is named")?).await?;
            let ledger = match ledger {
                Some(uri) => Some(twqr_client::channel(uri).await?),
                None => None,
            };
            let named = processes.iter().map(|process| (process.name.clone(), process.id, true)).collect();
            Ok(PreparedRun {
                system: None,
                targets: Targets { tls: certificates(grpc)?, grpc: grpc.clone(), http: *http, callers: Vec::new() },
                pos: CallerKey::default().client(channel),
                ledger,
                about: conditions::AboutSystem::unknown(grpc),
                processes: Processes::new(named),
                callers: None,
            })
        }
        LoadTarget::Started { build, tls } => {
            let programs = match build {
                Some(build) => Programs::with_services_of(build)?,
                None => Programs::beside_this_one()?,
            };
            let callers = RunCallers::of(scenario)?;
            let authentication = Authentication { tls: *tls, callers: callers.as_ref() };
            let system = system::start(scenario, merchants, programs, dir, config, authentication).await?;
            let senders = callers.as_ref().map(|callers| callers.load.clone()).unwrap_or_default();
            let scheme = if *tls { "https" } else { "http" };
            let grpc: Vec<String> =
                system.ingresses().into_iter().map(|address| format!("{scheme}://{address}")).collect();
            Ok(PreparedRun {
                pos: senders.first().cloned().unwrap_or_default().client(system.channel()?),
                targets: Targets {
                    tls: certificates(&grpc)?,
                    grpc,
                    http: Some(system.config.pos_http),
                    callers: senders,
                },
                ledger: Some(launch::connect(&system.config.wallet).await?),
                about: conditions::AboutSystem::of(scenario, &system.config),
                processes: Processes::of(&system, scenario.system.shape),
                system: Some(system),
                callers,
            })
        }
    }
}

/// The certificates for these addresses, if they need any.
fn certificates(endpoints: &[String]) -> anyhow::Result<Option<ClientTls>> {
    let first = endpoints.first().context("no endpoint is named")?;
    twqr_client::certificates(&first.parse().with_context(|| first.clone())?)
}

/// The events while the load ran.
struct EndedLoad {
    recorded: RecordedRun,
    faults: Vec<FaultNote>,
    failed_faults: Vec<String>,
}

/// Waits for the last answer while faults are caused; a stop ends the sending early.
async fn until_ended(
    sending: tokio::task::JoinHandle<RecordedRun>,
    causing: impl Future<Output = faults::CausedFaults>,
    live: impl Future<Output = ()>,
    end: impl Fn(),
    stop: &CancellationToken,
) -> anyhow::Result<EndedLoad> {
    let sent = async {
        let recorded = async { sending.await.context("the sending threads ended with a panic") };
        tokio::pin!(recorded);
        tokio::select! {
            recorded = &mut recorded => recorded,
            () = stop.cancelled() => {
                end();
                recorded.await
            }
        }
    };
    let shown = async {
        tokio::pin!(sent);
        tokio::select! {
            recorded = &mut sent => recorded,
            () = live => sent.await,
        }
    };
    let (recorded, caused) = tokio::join!(shown, causing);
    Ok(EndedLoad { recorded: recorded?, faults: caused.notes, failed_faults: caused.failed })
}

/// Compares every order with an inquiry and, where it is known, with the ledger.
async fn audit(
    stage: &PreparedRun,
    recorded: &RecordedRun,
    merchants: &MerchantList,
    settle_s: u64,
    facts: &mut RunFacts,
) -> anyhow::Result<()> {
    facts.inquiries = inquire(&stage.pos, recorded, merchants, Duration::from_secs(settle_s)).await;
    facts.ledger = match &stage.ledger {
        Some(channel) => Some(read_ledger(channel.clone(), &recorded.run).await.context("the simulator's ledger")?),
        None => None,
    };
    let name = |number| trade_no(&recorded.run, number);
    let found = reconcile(&recorded.records, &facts.inquiries, facts.ledger.as_ref(), name);
    facts.validity.reconciliation = Some(found);
    Ok(())
}
