//! The scenario in which everything by which a broker and the processes know each other is replaced
//! under load: passwords, certificates, and the authority of the certificates. Its steps are those
//! of `deploy/runbooks/expired-certificate.md`.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::process::Command;

use super::Stage;
use crate::launch::SecureBroker;

/// The process that comes back once with its first certificate.
const LATE: &str = "router-0";
/// How long it may take until its log says why it is refused.
const REFUSED_WITHIN: Duration = Duration::from_mins(1);
/// What a process logs if the broker refuses its password, its certificate or an operation, or if
/// it does not trust the broker, and what it logs if that is because of its certificate.
const REFUSED: &str = "the brokers cannot be used";
const CERTIFICATE_REFUSED: &str = "the brokers refuse the certificate of this process";

/// Replaces the credentials and restarts the processes in turn. Until a process has restarted, it
/// uses the first password, also when another process stops and it takes its work over.
pub(super) async fn credentials(stage: &mut Stage) -> anyhow::Result<()> {
    let broker = stage.broker.clone().context("credentials needs a broker of SECURE=1 deploy/kafka/up in KAFKA_DIR")?;
    let (tool, bootstrap) = (stage.scripts.join("tool"), stage.system.config.kafka.bootstrap.clone());
    let configure = || {
        let mut command = Command::new(&tool);
        command.args(["kafka-configs", "--bootstrap-server", &bootstrap]);
        command
    };
    let names = stage.system.names();
    let users: BTreeSet<&str> = names.iter().map(|name| user(name)).collect();
    // The broker reads its files a moment after a command has returned, so other commands stand
    // between one that changes what it trusts or shows, and the next step, which relies on it.
    let second = broker.make_second_authority()?;
    broker.trust_both(&second, &mut configure()).await?;
    for user in &users {
        broker.renew_password(user, &mut configure()).await?;
    }
    broker.renew_clients(&second)?;
    for name in &names {
        let began = Instant::now();
        stage.system.restart(name).await?;
        stage.recover(began).await?;
    }
    broker.renew_broker(&second, &mut configure()).await?;
    for user in &users {
        broker.revoke_first_password(user, &mut configure()).await?;
    }
    broker.trust_only(&second, &mut configure()).await?;
    reconnect_all(stage).await?;
    return_late(stage, &broker).await?;
    none_was_refused(stage, &names)
}

/// The user of a process, by its name.
fn user(process: &str) -> &str {
    process.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit())
}

/// Restarts the broker: an open connection would hide that its process has missed a change.
async fn reconnect_all(stage: &mut Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    stage.broker("down", &["broker", "1"]).await?;
    stage.broker("up", &["broker", "1"]).await?;
    stage.recover(began).await
}

/// A process that comes back with the first certificate is refused, and its log says what to do.
/// With the renewed one, and trusting the second authority alone, it is let in.
async fn return_late(stage: &mut Stage, broker: &SecureBroker) -> anyhow::Result<()> {
    let began = Instant::now();
    stage.system.set_environment(LATE, broker.first_certificate())?;
    stage.system.restart(LATE).await?;
    while !stage.system.log(LATE)?.contains(CERTIFICATE_REFUSED) {
        anyhow::ensure!(began.elapsed() < REFUSED_WITHIN, "{LATE} has a revoked certificate, and no log line says so");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::ensure!(!stage.system.is_ready(LATE).await?, "{LATE} has a revoked certificate, and is ready");
    stage.system.set_environment(LATE, Vec::new())?;
    let began = Instant::now();
    stage.system.restart(LATE).await?;
    stage.recover(began).await
}

/// Fails if the broker and a process of these, except the late one, have refused each other.
fn none_was_refused(stage: &Stage, names: &[String]) -> anyhow::Result<()> {
    for name in names.iter().filter(|name| *name != LATE) {
        let log = stage.system.log(name)?;
        let refusal = log.lines().find(|line| line.contains(REFUSED));
        anyhow::ensure!(refusal.is_none(), "{name} could not use the broker: {}", refusal.unwrap_or_default());
    }
    Ok(())
}
