//! `twqr-lab chaos older`: upgrades a system of an older build under load. It replaces process by
//! process, rolls back, and raises the protocol version; then the older build must refuse its
//! shards. At the end, every answer of both builds is audited. In short form (`--short`), one
//! process of each service is replaced at the same time, and no single process is rolled back
//! during the upgrade.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context as _;
use rand::{Rng, seq::SliceRandom};
use serde_json::json;
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_files::print_line;

use super::{CALM_MS, ChaosOptions, LoadOutcomes, RunningLoad, Scenario, Stage, check};
use crate::launch::{Build, Programs, Shape};

/// What a tracker logs when the brokers do not answer it before the version is raised.
const SEARCH_FAILED: &str = "the search for processes of older builds failed";
/// The log message of the older build about a shard whose policy a newer build wrote.
const REFUSAL: &str = "the rules of the shard, as they stand in order-states, cannot be read by this build";
/// How long the older build may take to refuse its shards, in ms.
const REFUSES_WITHIN_MS: u64 = 30_000;
/// The distance between the first rounds of two phases' loads.
const ROUNDS: u64 = 1_000;
/// The protocol version that is raised to.
const PROTOCOL_VERSION: i64 = twqr_order::PROTOCOL_VERSION_NEWEST as i64;

/// One part of the upgrade; the load runs during each.
#[derive(Clone, Copy, Debug)]
enum UpgradePhase {
    /// All processes run the older build.
    Older,
    /// Process by process moves to the present build; some go back, some are killed.
    Mixed,
    /// All processes go back to the older build.
    RolledBack,
    /// All processes move to the present build again.
    Upgraded,
    /// The protocol version is raised, and every process is started again.
    Raised,
    /// A process of the older build starts, and must refuse to work.
    Refused,
}

/// The numbers of the processes of each service, of which there are at most two.
const NUMBERS: usize = 2;

/// How processes are replaced.
enum Replacement {
    /// One after another.
    EachAlone,
    /// In short form: one process of each service at the same time, those of the first part before
    /// those of the second.
    InParts([Vec<String>; NUMBERS]),
}

/// Runs the upgrade; the exit code is non-zero if the audit finds a fault.
pub(super) async fn run(options: &ChaosOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let older = options.older.as_deref().context("--older must name the twqr of the build to upgrade from")?;
    let is_embedded = options.scenario == Scenario::OlderEmbedded;
    let shape = if is_embedded { Shape::AllInOne } else { Shape::TwoOfEach };
    let older = std::path::absolute(older)?;
    let programs = Programs::beside_this_one()?.with_older(older);
    let mut stage = Stage::set(options, programs, shape, config).await?;
    let pos = stage.system.channel()?;
    let mut outcomes = LoadOutcomes::default();
    let replacement = if options.short { in_parts(&mut stage) } else { Replacement::EachAlone };
    let played = play(&mut stage, &replacement, options, &pos, &mut outcomes).await;
    let checked = match played {
        Ok(()) => check(&stage, &pos, &outcomes).await,
        Err(error) => Err(error),
    };
    stage.system.end().await;
    checked
}

async fn play(
    stage: &mut Stage,
    replacement: &Replacement,
    options: &ChaosOptions,
    pos: &Channel,
    outcomes: &mut LoadOutcomes,
) -> anyhow::Result<()> {
    use UpgradePhase::{Mixed, Older, Raised, Refused, RolledBack, Upgraded};
    for (first_round, phase) in
        (0..).step_by(ROUNDS as usize).zip([Older, Mixed, RolledBack, Upgraded, Raised, Refused])
    {
        let load = RunningLoad::start(pos, options, first_round);
        tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
        phase.play(stage, replacement).await.with_context(|| format!("{phase:?}"))?;
        tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
        let mut found = load.end().await?;
        if !matches!(phase, Refused) {
            // Before the protocol version is raised, records have card tokens in plain text.
            found.card_tokens.clear();
        }
        print_line(json!({ "phase": format!("{phase:?}"), "payments": by_code(&found) }))?;
        outcomes.add(found);
    }
    Ok(())
}

/// How the payments of a phase were answered.
fn by_code(outcomes: &LoadOutcomes) -> BTreeMap<String, usize> {
    let mut by_code = BTreeMap::new();
    for result in &outcomes.payments {
        let code = result.answer.as_ref().map_or_else(|code| format!("{code:?}"), |answer| answer.status_code.clone());
        *by_code.entry(code).or_default() += 1;
    }
    by_code
}

impl UpgradePhase {
    async fn play(self, stage: &mut Stage, replacement: &Replacement) -> anyhow::Result<()> {
        match self {
            Self::Older => Ok(()),
            Self::Mixed => match replacement {
                Replacement::EachAlone => mix(stage).await,
                Replacement::InParts([first, _]) => replace_together(stage, first, Build::Present).await,
            },
            Self::RolledBack => match replacement {
                Replacement::EachAlone => move_all(stage, Build::Older).await,
                Replacement::InParts([first, _]) => replace_together(stage, first, Build::Older).await,
            },
            Self::Upgraded => upgrade(stage, replacement).await,
            Self::Raised => {
                raise(stage).await?;
                upgrade(stage, replacement).await
            }
            Self::Refused => refuse(stage).await,
        }
    }
}

/// The processes with one number, and those with the other, in an order drawn from the seed.
fn in_parts(stage: &mut Stage) -> Replacement {
    let first = stage.random.random_range(0..NUMBERS);
    let names = stage.system.names();
    let part = |number: usize| {
        let ending = format!("-{number}");
        names.iter().filter(|name| name.ends_with(&ending)).cloned().collect()
    };
    Replacement::InParts([part(first), part(NUMBERS - 1 - first)])
}

/// Moves every process to the present build, or starts it again.
async fn upgrade(stage: &mut Stage, replacement: &Replacement) -> anyhow::Result<()> {
    match replacement {
        Replacement::EachAlone => move_all(stage, Build::Present).await,
        Replacement::InParts(parts) => {
            for part in parts {
                replace_together(stage, part, Build::Present).await?;
            }
            Ok(())
        }
    }
}

/// Ends these processes at the same time, half of them by kill -9, and starts them again with this
/// build.
async fn replace_together(stage: &mut Stage, names: &[String], build: Build) -> anyhow::Result<()> {
    let (killed, stopped): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|_| stage.random.random_bool(0.5));
    for name in &killed {
        stage.system.kill(name).await?;
    }
    stage.system.stop_together(&stopped).await;
    for name in names {
        set_build(stage, name, build).await?;
        stage.system.start_again(name)?;
    }
    let ready = stage.system.until_ready().await;
    ready.map(drop).with_context(|| format!("{} were replaced by the {build:?} build", names.join(", ")))
}

/// Moves each process to the present build. After each, any process is ended and started again, of
/// either build; some go back.
async fn mix(stage: &mut Stage) -> anyhow::Result<()> {
    let mut names = stage.system.names();
    names.shuffle(&mut stage.random);
    for name in &names {
        replace(stage, name, Build::Present).await?;
        let victim = names[stage.random.random_range(0..names.len())].clone();
        let build = stage.system.build(&victim)?;
        let back = build == Build::Present && stage.random.random_bool(0.5);
        replace(stage, &victim, if back { Build::Older } else { build }).await?;
    }
    Ok(())
}

async fn move_all(stage: &mut Stage, build: Build) -> anyhow::Result<()> {
    let mut names = stage.system.names();
    names.shuffle(&mut stage.random);
    for name in names {
        replace(stage, &name, build).await?;
    }
    Ok(())
}

/// Ends a process, half of the time by kill -9, and starts it again with this build.
async fn replace(stage: &mut Stage, name: &str, build: Build) -> anyhow::Result<()> {
    if stage.random.random_bool(0.5) {
        stage.system.kill(name).await?;
    } else {
        stage.system.stop(name).await?;
    }
    set_build(stage, name, build).await?;
    stage.system.start_again(name)?;
    let ready = stage.system.until_ready().await;
    ready.map(drop).with_context(|| format!("{name} was replaced by the {build:?} build"))
}

/// Chooses the build of a process that has ended. Before an older build runs, the read model that a
/// newer build has written is removed, as operators do; and the embedded journal is trimmed, as it
/// is after a while.
async fn set_build(stage: &mut Stage, name: &str, build: Build) -> anyhow::Result<()> {
    if build == Build::Older && stage.system.build(name)? == Build::Present {
        if name == "up" {
            stage.system.run_command(Build::Present, &["journal", "trim", "--keep-hours", "0"]).await?;
        }
        for ending in ["", "-wal", "-shm"] {
            let file = stage.system.data_dir(name).join(format!("read-model.sqlite{ending}"));
            // Only trackers have one.
            drop(std::fs::remove_file(file));
        }
    }
    stage.system.set_build(name, build)
}

/// Raises the protocol version as an operator does.
async fn raise(stage: &mut Stage) -> anyhow::Result<()> {
    let document = stage.system.run_command(Build::Present, &["policy", "get"]).await?;
    let mut document: toml::Table = toml::from_str(&document)?;
    document.insert("protocol_version".to_owned(), PROTOCOL_VERSION.into());
    let file = stage.system.config_file().with_file_name("raised.toml");
    std::fs::write(&file, toml::to_string(&document)?)?;
    let file = file.to_string_lossy();
    let arguments = ["policy", "apply", &file, "--expect", "1", "--who", "chaos", "--why", "every process is new"];
    let raised = stage.system.run_command(Build::Present, &arguments).await;
    if raised.is_err() {
        print_search_failures(stage)?;
    }
    raised.map(drop)
}

/// Prints why the trackers could not find out which builds run.
fn print_search_failures(stage: &Stage) -> anyhow::Result<()> {
    for name in stage.system.names().iter().filter(|name| name.starts_with("tracker") || *name == "up") {
        let log = stage.system.log(name)?;
        for line in log.lines().filter(|line| line.contains(SEARCH_FAILED)) {
            print_line(format_args!("{name}: {line}"))?;
        }
    }
    Ok(())
}

/// One router, or the only process, runs the older build. It must refuse its shards; payments wait
/// or go through another router.
async fn refuse(stage: &mut Stage) -> anyhow::Result<()> {
    let name = stage.system.names().into_iter().find(|name| name.starts_with("router")).unwrap_or("up".to_owned());
    let logged = stage.system.log(&name)?.len();
    stage.system.kill(&name).await?;
    set_build(stage, &name, Build::Older).await?;
    stage.system.start_again(&name)?;
    let refused = async {
        loop {
            let log = stage.system.log(&name)?;
            if log.get(logged..).is_some_and(|log| log.contains(REFUSAL)) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_millis(REFUSES_WITHIN_MS), refused).await;
    refused.context("the older build did not refuse a shard whose protocol version it does not know")??;
    stage.system.set_build(&name, Build::Present)?;
    stage.system.kill(&name).await?;
    stage.system.start_again(&name)?;
    stage.system.until_ready().await.map(drop)
}
