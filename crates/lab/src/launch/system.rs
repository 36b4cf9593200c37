//! The whole system on one machine: the simulator, and the services in one process on the embedded
//! journal, or each service in its own processes on Apache Kafka.

mod start;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use twqr_config::Config;
use twqr_journal::kafka;

use super::{
    certificates::Authority,
    ports::{ReservedAddresses, endpoint, is_listening, is_ready, readiness},
    programs::{Build, Programs, end},
    run_dir::Logs,
    secure_broker::SecureBroker,
    simulator::Simulator,
};

pub use start::{Launch, Listen};

/// How the services are divided into processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One process, `up`, on the embedded journal.
    AllInOne,
    /// Each service has its own processes, on Apache Kafka; one of them the tracker.
    ProcessForEach,
    /// The same with two processes of every service.
    TwoOfEach,
    /// Two processes, `up`, on Apache Kafka: each has every service.
    TwoUp,
}

impl Shape {
    /// The services' subcommands, with the number of processes of each.
    const fn processes(self) -> &'static [(&'static str, usize)] {
        match self {
            Self::AllInOne => &[(UP, 1)],
            Self::ProcessForEach => {
                &[("router", 2), ("tracker", 1), ("wallet-worker", 2), ("fisc-worker", 2), ("ingress", 2)]
            }
            Self::TwoOfEach => {
                &[("router", 2), ("tracker", 2), ("wallet-worker", 2), ("fisc-worker", 2), ("ingress", 2)]
            }
            Self::TwoUp => &[(UP, 2)],
        }
    }
}

const UP: &str = "up";
const INGRESS: &str = "ingress";
const TRACKER: &str = "tracker";

/// The order in which the services are stopped: callers before the services that they call.
const STOP_ORDER: [&[&str]; 3] = [&[UP, INGRESS], &["wallet-worker", "fisc-worker"], &["router", TRACKER]];
/// How long the processes may take until all are ready, in ms, and how many orders that they hold
/// they may restore in each further ms.
const READY_MS_MAX: u64 = 60_000;
const RESTORED_PER_MS: u64 = 10;

/// A running system; every process is killed when this is dropped.
pub struct System {
    programs: Programs,
    dir: PathBuf,
    logs: Logs,
    log_filter: Option<&'static str>,
    config_files: ConfigFiles,
    /// The configuration of all processes; the first ingress listens at its addresses.
    pub config: Config,
    /// The authority of its certificates, if it has TLS.
    pub authority: Option<Authority>,
    simulator: Simulator,
    reserved: ReservedAddresses,
    shape: Shape,
    /// The broker, if it lets in only users.
    broker: Option<SecureBroker>,
    orders_held: u64,
    /// How long its processes took until all of them were ready for the first time.
    pub first_ready_after: Duration,
    processes: BTreeMap<String, Process>,
}

/// The configuration of all processes, in the form that each build reads.
struct ConfigFiles {
    present: PathBuf,
    /// Absent where no older build takes part.
    older: Option<PathBuf>,
}

impl ConfigFiles {
    fn of(&self, build: Build) -> &Path {
        match (build, &self.older) {
            (Build::Older, Some(older)) => older,
            (Build::Older, None) | (Build::Present, _) => &self.present,
        }
    }
}

/// One process of a service, and what it was started with.
struct Process {
    build: Build,
    service: &'static str,
    number: usize,
    addresses: Addresses,
    environment: Environment,
    child: Child,
}

/// Variables of one process, besides those that it inherits.
type Environment = Vec<(&'static str, OsString)>;

/// The addresses of a process.
#[derive(Clone, Copy)]
struct Addresses {
    admin: SocketAddr,
    grpc: SocketAddr,
    pos_http: SocketAddr,
    operators: SocketAddr,
}

impl System {
    fn add(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let addresses = self.addresses(service, number)?;
        let build = self.programs.first_build();
        let environment = Environment::new();
        let child = self.spawn(build, service, number, addresses, &environment)?;
        self.processes.insert(name(service, number), Process { build, service, number, addresses, environment, child });
        Ok(())
    }

    /// The addresses of a process. `up`, the first ingress and the first tracker serve their APIs
    /// at the addresses of the configuration; all others are reserved for it.
    fn addresses(&mut self, service: &str, number: usize) -> anyhow::Result<Addresses> {
        let Config { admin, grpc, pos_http, operators, .. } = self.config;
        let configured = Addresses { admin, grpc, pos_http, operators };
        if self.shape == Shape::AllInOne {
            return Ok(configured);
        }
        let [admin, grpc, pos_http, operators] = self.reserved.reserve()?;
        let free = Addresses { admin, grpc, pos_http, operators };
        Ok(match (service, number) {
            (INGRESS, 0) => Addresses { grpc: configured.grpc, pos_http: configured.pos_http, ..free },
            (TRACKER, 0) => Addresses { operators: configured.operators, ..free },
            (UP, 0) => Addresses { admin: free.admin, ..configured },
            _ => free,
        })
    }

    fn spawn(
        &self,
        build: Build,
        service: &str,
        number: usize,
        addresses: Addresses,
        environment: &Environment,
    ) -> anyhow::Result<Child> {
        let name = name(service, number);
        let mut command = self.programs.twqr(build);
        command.envs(self.broker.iter().flat_map(|broker| broker.variables(service)));
        command.envs(environment.iter().cloned());
        command.arg("--config").arg(self.config_files.of(build)).arg(service);
        self.logs.redirect(&mut command, &name)?;
        if let Some(filter) = self.log_filter {
            command.env("TWQR_LOG", filter);
        }
        if self.shape != Shape::AllInOne {
            if service != UP {
                command.env("TWQR__WORKER_THREADS", "1");
            }
            command
                .env("TWQR__MEMBER", number.to_string())
                .env("TWQR__ADMIN", addresses.admin.to_string())
                .env("TWQR__GRPC", addresses.grpc.to_string())
                .env("TWQR__POS_HTTP", addresses.pos_http.to_string())
                .env("TWQR__OPERATORS", addresses.operators.to_string())
                .env("TWQR__DATA_DIR", self.data_dir(&name));
        }
        command.spawn().with_context(|| format!("cannot start {name}"))
    }

    /// The names of all processes except the simulator: `up`, or names such as `router-1`.
    pub fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    /// The folder with data, logs and configuration of all processes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file with the configuration of all processes.
    pub fn config_file(&self) -> &Path {
        &self.config_files.present
    }

    /// The log output of a process so far.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        let file = self.logs.file(name);
        std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
    }

    /// The process id of a process.
    pub fn id(&self, name: &str) -> anyhow::Result<u32> {
        let process = self.processes.get(name).with_context(|| no_process(name))?;
        process.child.id().with_context(|| format!("{name} is not running"))
    }

    /// The process ids of all services.
    pub fn ids(&self) -> Vec<u32> {
        self.processes.values().filter_map(|process| process.child.id()).collect()
    }

    /// The process id of the simulator; absent where it runs within this process.
    pub fn simulator_id(&self) -> Option<u32> {
        self.simulator.id()
    }

    /// The data folder of a process.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        if name == UP { self.config.data_dir.clone() } else { self.dir.join(name) }
    }

    /// Counts the records on all topics of this system. Needs Kafka.
    pub async fn records(&self) -> anyhow::Result<u64> {
        Ok(kafka::count_records(self.config.kafka.settings()?).await?)
    }

    /// The address of the public gRPC API.
    pub fn ingresses(&self) -> Vec<SocketAddr> {
        let serving = self.processes.values().filter(|process| [UP, INGRESS].contains(&process.service));
        serving.map(|process| process.addresses.grpc).collect()
    }

    /// A channel over all ingresses: a call goes to one that is reachable. With TLS it is a channel
    /// to the first ingress.
    pub fn channel(&self) -> anyhow::Result<Channel> {
        if self.config.tls.grpc_files().is_some() {
            let (endpoint, connector) = endpoint(self.config.grpc)?;
            return Ok(endpoint.connect_with_connector_lazy(connector));
        }
        let endpoint = |address| Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true));
        let endpoints: Vec<Endpoint> = self.ingresses().into_iter().map(endpoint).collect::<anyhow::Result<_>>()?;
        Ok(Channel::balance_list(endpoints.into_iter()))
    }

    /// Waits until every process is ready; returns how long that took. Fails if a process ends.
    pub async fn until_ready(&mut self) -> anyhow::Result<Duration> {
        self.until_these_are_ready(&self.names()).await
    }

    /// The same for some of the processes.
    pub async fn until_these_are_ready(&mut self, names: &[String]) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let mut unready = Vec::new();
            for (name, process) in self.processes.iter_mut().filter(|(name, _)| names.contains(name)) {
                if let Some(status) = process.child.try_wait()? {
                    let file = self.logs.file(name);
                    let log = std::fs::read_to_string(&file).unwrap_or_default();
                    let last = log.lines().next_back().unwrap_or_default();
                    bail!("{name} has ended ({status}): {last}; see {}", file.display());
                }
                if !process.is_serving().await {
                    unready.push(name.clone());
                }
            }
            if unready.is_empty() {
                return Ok(began.elapsed());
            }
            let ready_ms_max = READY_MS_MAX + self.orders_held / RESTORED_PER_MS;
            if began.elapsed() > Duration::from_millis(ready_ms_max) {
                let logs = self.dir.join("logs");
                bail!("not ready after {ready_ms_max} ms: {}; see {}", unready.join(", "), logs.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops a process with SIGTERM, and starts another one under its name.
    pub async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        self.stop(name).await?;
        self.start_again(name)
    }

    /// Stops a process with SIGTERM.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        end(&mut self.process(name)?.child).await;
        Ok(())
    }

    /// Stops these processes with SIGTERM, at the same time.
    pub async fn stop_together(&mut self, names: &[String]) {
        let leaving = self.processes.iter_mut().filter(|(name, _)| names.contains(name));
        futures::future::join_all(leaving.map(|(_, process)| end(&mut process.child))).await;
    }

    /// Starts one more process of a service, and returns its name.
    pub fn add_another(&mut self, service: &str) -> anyhow::Result<String> {
        let known = self.shape.processes().iter().find(|(known, _)| *known == service);
        let (service, _) = *known.with_context(|| format!("this system has no {service}"))?;
        let numbers = self.processes.values().filter(|process| process.service == service);
        let number = numbers.map(|process| process.number + 1).max().unwrap_or_default();
        self.add(service, number)?;
        Ok(name(service, number))
    }

    /// Stops a process permanently, with SIGTERM.
    pub async fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.stop(name).await?;
        self.processes.remove(name);
        Ok(())
    }

    /// Kills a process with SIGKILL.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        Ok(self.process(name)?.child.kill().await?)
    }

    /// Waits until a process ends by itself.
    pub async fn until_ended(&mut self, name: &str) -> anyhow::Result<()> {
        self.process(name)?.child.wait().await?;
        Ok(())
    }

    /// Starts another process under the name of one that has ended.
    pub fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.process(name)?;
        let (build, service, number, addresses) = (process.build, process.service, process.number, process.addresses);
        let environment = process.environment.clone();
        let child = self.spawn(build, service, number, addresses, &environment)?;
        self.process(name)?.child = child;
        Ok(())
    }

    /// Chooses the build that runs under this name from its next start on.
    pub fn set_build(&mut self, name: &str, build: Build) -> anyhow::Result<()> {
        self.process(name)?.build = build;
        Ok(())
    }

    /// Sets further variables of the process under this name, from its next start on.
    pub fn set_environment(&mut self, name: &str, environment: Vec<(&'static str, OsString)>) -> anyhow::Result<()> {
        self.process(name)?.environment = environment;
        Ok(())
    }

    /// Whether a process answers that it is ready.
    pub async fn is_ready(&self, name: &str) -> anyhow::Result<bool> {
        let process = self.processes.get(name).with_context(|| no_process(name))?;
        Ok(is_ready(process.addresses.admin).await)
    }

    /// What a process answers to `/readyz`; nothing if it does not answer.
    pub async fn readiness(&self, name: &str) -> anyhow::Result<String> {
        let process = self.processes.get(name).with_context(|| no_process(name))?;
        Ok(readiness(process.addresses.admin).await.unwrap_or_default())
    }

    /// The build that runs under this name.
    pub fn build(&mut self, name: &str) -> anyhow::Result<Build> {
        Ok(self.process(name)?.build)
    }

    /// Runs a command of `twqr`, such as `policy get`; returns what it prints. Fails if it fails.
    pub async fn run_command(&self, build: Build, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut self.programs.twqr(build), self.config_files.of(build), arguments).await
    }

    /// Runs `twqr topics plan` as a user of the brokers, with further variables; returns whether it
    /// succeeded, and what it printed.
    pub async fn plan_topics(&self, variables: Vec<(&'static str, OsString)>) -> anyhow::Result<(bool, String)> {
        let mut command = self.programs.twqr(Build::Present);
        command.envs(self.broker.iter().flat_map(|broker| broker.variables("topics"))).envs(variables);
        command.arg("--config").arg(self.config_file()).args(["topics", "plan"]);
        let output = command.output().await.context("twqr cannot be run")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.processes.get_mut(name).with_context(|| no_process(name))
    }

    /// Stops everything with SIGTERM, callers first.
    pub async fn end(&mut self) {
        self.stop_services().await;
        self.simulator.end().await;
    }

    /// Stops every process but the simulator with SIGTERM, callers first.
    pub async fn stop_services(&mut self) {
        for services in STOP_ORDER {
            let leaving = self.processes.values_mut().filter(|process| services.contains(&process.service));
            futures::future::join_all(leaving.map(|process| end(&mut process.child))).await;
        }
    }
}

impl Process {
    /// Whether the process is ready and, if it serves the public API, accepts connections.
    async fn is_serving(&self) -> bool {
        let has_api = [UP, INGRESS].contains(&self.service);
        is_ready(self.addresses.admin).await && (!has_api || is_listening(self.addresses.grpc).await)
    }
}

fn name(service: &str, number: usize) -> String {
    if (service, number) == (UP, 0) { UP.to_owned() } else { format!("{service}-{number}") }
}

/// Runs a command of `twqr` and returns what it prints.
async fn output(command: &mut Command, config: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = command.arg("--config").arg(config).args(arguments).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "twqr {} failed ({}): {said}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn no_process(name: &str) -> String {
    format!("there is no process {name}")
}
