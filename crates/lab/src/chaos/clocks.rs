//! Scenario in which the clock of one process jumps while payments run, ahead or behind, and is set
//! right again. The library libfaketime gives each process a clock of its own: it reads the offset
//! from a file, and leaves the monotonic clock alone.

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use rand::{Rng, seq::SliceRandom};
use tokio::time::{Duration, sleep, timeout};

use super::Stage;

/// So far a clock jumps, in s: much more than `clock_skew_max_ms`.
const JUMP_S: i32 = 20;
/// How long a process may take to notice that its clock is wrong. It reads the file once a second,
/// and compares its clock with the brokers' once a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// How long a process may take to be ready again once its clock is right. A thread of the Kafka
/// client that waits by the clock waits longer by as much as the clock is set back (20 s were
/// seen), and a claim that read nothing meanwhile is tried again.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// The time under load with a wrong clock: longer than a payment waits to be sent.
const WRONG_FOR: Duration = Duration::from_secs(5);
/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The service whose processes the load is connected to; its second process jumps.
const INGRESS: &str = "ingress";

/// The clock of one process of each service jumps, one after another. Each must become unready by
/// itself, leave its work to the other process, and be ready again without a restart once its clock
/// is right.
pub(super) async fn jump(stage: &mut Stage, library: &Path) -> anyhow::Result<()> {
    let mut names = one_of_each(stage);
    let began = Instant::now();
    for name in &names {
        set_clock(stage, name, 0)?;
        let file = clock_file(stage, name);
        stage.system.set_environment(
            name,
            vec![
                ("LD_PRELOAD", library.into()),
                ("FAKETIME_TIMESTAMP_FILE", file.into()),
                ("FAKETIME_CACHE_DURATION", "1".into()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ],
        )?;
        stage.system.restart(name).await?;
    }
    stage.recover(began).await?;
    names.shuffle(&mut stage.random);
    for (index, name) in names.iter().enumerate() {
        let jump_s = if index % 2 == 0 { JUMP_S } else { -JUMP_S };
        let id = stage.system.id(name)?;
        set_clock(stage, name, jump_s)?;
        until(stage, name, false).await.with_context(|| format!("{name}: the clock jumped by {jump_s} s"))?;
        sleep(WRONG_FOR).await;
        anyhow::ensure!(!stage.system.is_ready(name).await?, "{name} is ready although its clock is {jump_s} s wrong");
        let began = Instant::now();
        set_clock(stage, name, 0)?;
        until(stage, name, true).await.with_context(|| format!("{name}: the clock is right again"))?;
        anyhow::ensure!(stage.system.id(name)? == id, "{name} was restarted");
        stage.recover(began).await?;
    }
    Ok(())
}

/// One process of each service; of the ingresses the one without the load.
fn one_of_each(stage: &mut Stage) -> Vec<String> {
    let names = stage.system.names();
    let services = ["router", "wallet-worker", "fisc-worker", "tracker"];
    let number = stage.random.random_range(0..=1);
    let wanted = services.iter().map(|service| (*service, if *service == "tracker" { 0 } else { number }));
    let wanted: Vec<String> =
        wanted.chain([(INGRESS, 1)]).map(|(service, number)| format!("{service}-{number}")).collect();
    names.into_iter().filter(|name| wanted.contains(name)).collect()
}

/// The file that says how far the clock of a process is off.
fn clock_file(stage: &Stage, name: &str) -> std::path::PathBuf {
    let file = stage.system.config_file().with_file_name(format!("clock-{name}"));
    std::path::absolute(&file).unwrap_or(file)
}

fn set_clock(stage: &Stage, name: &str, offset_s: i32) -> anyhow::Result<()> {
    let file = clock_file(stage, name);
    std::fs::write(&file, format!("{offset_s:+}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// Waits until a process is ready, or not.
pub(super) async fn until(stage: &Stage, name: &str, ready: bool) -> anyhow::Result<()> {
    let reached = async {
        while stage.system.is_ready(name).await? != ready {
            sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let (wanted, within) = if ready { ("ready", READY_WITHIN) } else { ("unready", NOTICED_WITHIN) };
    timeout(within, reached).await.with_context(|| format!("{name} did not become {wanted}"))?
}
