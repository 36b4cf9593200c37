//! `twqr-lab chaos certificates`: brokers and processes get certificates of another authority under
//! load, by the steps of `deploy/runbooks/expired-certificate.md`. In the end both trust the new
//! authority alone, so whatever still used the old one is refused. Prints what each step costs.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_loadgen::{CallResult, TradeKey, resolve};
use twqr_wire::pos::QueryResponse;

use super::{CALM_MS, ChaosOptions, LoadOutcomes, RESOLVE_S, RunningLoad, Stage, availability, broker_dir, check};
use crate::launch::{Programs, SecureBroker, Shape};

/// What a process logs if the brokers refuse it or it refuses them, and what `twqr` says then.
const REFUSED: &str = "the brokers cannot be used";
const CERTIFICATE_REFUSED: &str = "the brokers refuse the certificate of this process";
const AUTHORITY_REFUSED: &str = "the brokers' certificate is not trusted";
/// The distance between the first rounds of two loads.
const ROUNDS: u64 = 1_000;
/// A payment that is answered later than this has waited, in µs.
const WAITED_US: u64 = 1_000_000;
/// How long a broker that has started again may take until it has every record.
const IN_SYNC_WITHIN: Duration = Duration::from_mins(2);

/// Runs the scenario; the exit code is non-zero if the audit finds a fault.
pub(super) async fn run(options: &ChaosOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let broker = SecureBroker::in_folder(&broker_dir())?;
    let broker = broker.context("certificates needs brokers of SECURE=1 deploy/kafka/up in KAFKA_DIR")?;
    let mut stage = Stage::set(options, Programs::beside_this_one()?, Shape::ProcessForEach, config).await?;
    let pos = stage.system.channel()?;
    let mut steps = Steps { options, pos: pos.clone(), all: Vec::new() };
    // After a failure the calls may wait for minutes, so their answers are not awaited.
    let checked = match take(&mut stage, &broker, &mut steps).await {
        Ok(()) => audit(&stage, &pos, steps).await,
        Err(error) => Err(error),
    };
    stage.system.end().await;
    checked
}

async fn audit(stage: &Stage, pos: &Channel, steps: Steps<'_>) -> anyhow::Result<ExitCode> {
    let outcomes = steps.end().await?;
    check(stage, pos, &outcomes).await
}

/// Takes the steps of the runbook. No file changes before everything that must accept it does.
async fn take(stage: &mut Stage, broker: &SecureBroker, steps: &mut Steps<'_>) -> anyhow::Result<()> {
    let next = broker.make_next_authority()?;
    steps.begin("nothing changes");
    calm().await;

    broker.let_brokers_trust_both(&next)?;
    steps.begin("the brokers trust both authorities");
    restart_brokers(stage).await?;

    broker.renew_clients(&next)?;
    steps.begin("the processes trust both, and show new certificates");
    restart_processes(stage).await?;
    let (is_let_in, said) = stage.system.plan_topics(broker.replaced_certificate()).await?;
    anyhow::ensure!(is_let_in, "the replaced certificate is refused too early: {said}");

    broker.renew_brokers(&next)?;
    if stage.brokers() > 1 {
        steps.begin("the brokers show new certificates");
        restart_brokers(stage).await?;
    }
    broker.let_brokers_trust_only(&next)?;
    steps.begin("the brokers show new certificates, and trust the new authority alone");
    restart_brokers(stage).await?;

    broker.let_clients_trust_only(&next)?;
    steps.begin("the processes trust the new authority alone");
    restart_processes(stage).await?;

    steps.begin("nothing changes any more");
    calm().await;
    refuses_what_was_replaced(stage, broker).await?;
    refused_no_process(stage)
}

async fn calm() {
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
}

/// Restarts one broker after another, each once the one before has every record again.
async fn restart_brokers(stage: &mut Stage) -> anyhow::Result<()> {
    let count = stage.brokers();
    for number in 1..=count {
        let (began, number) = (Instant::now(), number.to_string());
        stage.broker("down", &["broker", &number]).await?;
        stage.broker("up", &["broker", &number]).await?;
        if count > 1 {
            until_in_sync(stage).await?;
        }
        stage.recover(began).await?;
    }
    Ok(())
}

/// Waits until no partition lacks a replica: else a further broker that stops would stop appends.
async fn until_in_sync(stage: &Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let said = stage.kafka_tool("kafka-topics", &["--describe", "--under-replicated-partitions"]).await?;
        if said.trim().is_empty() {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < IN_SYNC_WITHIN, "partitions still lack a replica: {said}");
    }
}

/// Restarts the processes, one of each service at a time, so that the other one serves.
async fn restart_processes(stage: &mut Stage) -> anyhow::Result<()> {
    let (first, others): (Vec<String>, Vec<String>) =
        stage.system.names().into_iter().partition(|name| name.ends_with("-0"));
    for together in [first, others] {
        let began = Instant::now();
        stage.system.stop_together(&together).await;
        for name in &together {
            stage.system.start_again(name)?;
        }
        stage.recover(began).await?;
    }
    Ok(())
}

/// A client that shows its replaced certificate is refused, and one that trusts the replaced
/// authority refuses the brokers; each says so. Without either it is let in.
async fn refuses_what_was_replaced(stage: &Stage, broker: &SecureBroker) -> anyhow::Result<()> {
    let (is_let_in, said) = stage.system.plan_topics(Vec::new()).await?;
    anyhow::ensure!(is_let_in, "a client with everything new is refused: {said}");
    for (variables, expected) in
        [(broker.replaced_certificate(), CERTIFICATE_REFUSED), (broker.replaced_authority(), AUTHORITY_REFUSED)]
    {
        let (is_let_in, said) = stage.system.plan_topics(variables).await?;
        anyhow::ensure!(!is_let_in, "a client is let in that should not be: {expected}");
        anyhow::ensure!(said.contains(expected), "a client does not say \"{expected}\", but: {said}");
    }
    Ok(())
}

/// Fails if the brokers and a process have refused each other at any time.
fn refused_no_process(stage: &Stage) -> anyhow::Result<()> {
    for name in stage.system.names() {
        let log = stage.system.log(&name)?;
        let refusal = log.lines().find(|line| line.contains(REFUSED));
        anyhow::ensure!(refusal.is_none(), "{name} could not use the brokers: {}", refusal.unwrap_or_default());
    }
    Ok(())
}

/// The steps so far, each with the load that began while it was taken.
struct Steps<'a> {
    options: &'a ChaosOptions,
    pos: Channel,
    all: Vec<CertificateStep>,
}

struct CertificateStep {
    name: &'static str,
    began: Instant,
    took: Option<Duration>,
    load: RunningLoad,
}

impl Steps<'_> {
    /// Ends the step before. Its calls that wait for an answer go on.
    fn finish(&mut self) {
        if let Some(step) = self.all.last_mut() {
            step.load.stop();
            step.took.get_or_insert(step.began.elapsed());
        }
    }

    fn begin(&mut self, name: &'static str) {
        self.finish();
        let load = RunningLoad::start(&self.pos, self.options, self.all.len() as u64 * ROUNDS);
        self.all.push(CertificateStep { name, began: Instant::now(), took: None, load });
    }

    /// Ends the load, waits until every order is final, and prints the cost of each step. Returns
    /// the outcomes of all calls.
    async fn end(mut self) -> anyhow::Result<LoadOutcomes> {
        self.finish();
        let mut all = LoadOutcomes::default();
        let mut steps = Vec::new();
        for CertificateStep { name, took, load, .. } in self.all {
            let outcomes = load.end().await?;
            steps.push((name, took.unwrap_or_default(), outcomes.payments.clone()));
            all.add(outcomes);
        }
        let orders = resolve(&self.pos, &all.payments, Duration::from_secs(RESOLVE_S)).await;
        for (name, took, payments) in steps {
            print_line(cost(name, took, &payments, &orders))?;
        }
        Ok(all)
    }
}

/// How many payments that began during a step were not paid, and how long they waited.
fn cost(name: &str, took: Duration, payments: &[CallResult], orders: &BTreeMap<TradeKey, QueryResponse>) -> Value {
    let mut not_paid: BTreeMap<String, usize> = BTreeMap::new();
    for code in payments.iter().filter_map(|result| availability::otherwise(result, orders)) {
        *not_paid.entry(code).or_default() += 1;
    }
    let waits = payments.iter().map(|result| result.latency_us).filter(|latency| *latency > WAITED_US);
    json!({
        "step": name, "took_ms": took.as_millis(), "payments": payments.len(), "not_paid": not_paid,
        "waited_over_1s": waits.count(), "slowest_answer_ms": payments.iter().map(|result| result.latency_us / 1_000).max(),
    })
}
