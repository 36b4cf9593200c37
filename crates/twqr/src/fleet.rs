//! The whole system over Apache Kafka on one machine, each service in processes of its own: two
//! ingresses, two routers, two of each worker, a tracker, and the simulator. Ended whatever
//! happens.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use twqr_journal::kafka;

use crate::{
    config::Config,
    processes::{connect, end, free_addresses, is_ready, own_process},
    run_dir,
};

/// The services, and how many processes each has.
const MEMBERS: [(&str, usize); 5] =
    [("router", 2), ("tracker", 1), ("wallet-worker", 2), ("fisc-worker", 2), ("ingress", 2)];
/// How long the processes may take until all are ready, in ms.
const READY_MS_MAX: u64 = 60_000;

/// Every process by its name, such as `router-1`.
pub(crate) struct Fleet {
    dir: PathBuf,
    file: PathBuf,
    pub(crate) config: Config,
    simulator: Child,
    members: BTreeMap<String, Member>,
}

/// One service's process, and what it is started with.
struct Member {
    service: &'static str,
    number: usize,
    addresses: Addresses,
    child: Child,
}

/// Where a process listens.
#[derive(Clone, Copy)]
struct Addresses {
    admin: SocketAddr,
    grpc: SocketAddr,
    pos_http: SocketAddr,
    operators: SocketAddr,
}

impl Fleet {
    /// Creates topics of its own on the cluster, and starts everything with its data in `dir`,
    /// which is emptied first.
    pub(crate) async fn start(dir: &Path, script: Option<&Path>, config: &Config) -> anyhow::Result<Self> {
        if config.kafka.bootstrap.is_empty() {
            bail!(
                "kafka.bootstrap names no broker; `make run-kafka` starts one, or set TWQR__KAFKA__BOOTSTRAP=host:port"
            );
        }
        run_dir::empty(dir)?;
        std::fs::create_dir_all(dir.join("logs")).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut config = Config { simulator_data_dir: dir.join("simulator"), ..config.clone() };
        config.kafka.prefix = format!("{}run-{:016x}.", config.kafka.prefix, rand::random::<u64>());
        create_topics(&config).await?;
        let file = run_dir::write_config(dir, &config)?;
        let mut arguments: Vec<&OsStr> = vec!["simulator".as_ref()];
        arguments.extend(script.into_iter().flat_map(|script| ["--script".as_ref(), script.as_os_str()]));
        let simulator = logged(own_process(Some(&file), &arguments)?, dir, "simulator")?.spawn();
        let simulator = simulator.context("cannot start the simulator")?;
        connect(config.wallet).await?;
        let mut fleet = Self { dir: dir.to_owned(), file, config, simulator, members: BTreeMap::new() };
        for (service, count) in MEMBERS {
            for number in 0..count {
                fleet.add(service, number)?;
            }
        }
        fleet.until_ready().await?;
        Ok(fleet)
    }

    fn add(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let [admin, grpc, pos_http, operators] = free_addresses()?;
        let mut addresses = Addresses { admin, grpc, pos_http, operators };
        if (service, number) == ("ingress", 0) {
            (addresses.grpc, addresses.pos_http) = (self.config.grpc, self.config.pos_http);
        }
        if service == "tracker" {
            addresses.operators = self.config.operators;
        }
        let child = self.spawn(service, number, addresses)?;
        let member = Member { service, number, addresses, child };
        self.members.insert(format!("{service}-{number}"), member);
        Ok(())
    }

    fn spawn(&self, service: &str, number: usize, addresses: Addresses) -> anyhow::Result<Child> {
        let name = format!("{service}-{number}");
        let mut command = logged(own_process(Some(&self.file), &[service.as_ref()])?, &self.dir, &name)?;
        command
            .env("TWQR__WORKER_THREADS", "1")
            .env("TWQR__MEMBER", number.to_string())
            .env("TWQR__ADMIN", addresses.admin.to_string())
            .env("TWQR__GRPC", addresses.grpc.to_string())
            .env("TWQR__POS_HTTP", addresses.pos_http.to_string())
            .env("TWQR__OPERATORS", addresses.operators.to_string())
            .env("TWQR__DATA_DIR", self.data_dir(&name));
        command.spawn().with_context(|| format!("cannot start {name}"))
    }

    /// The names of all processes but the simulator.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// The process of a member.
    pub(crate) fn id(&self, name: &str) -> anyhow::Result<u32> {
        let member = self.members.get(name).with_context(|| format!("there is no {name}"))?;
        member.child.id().with_context(|| format!("{name} does not run"))
    }

    /// Where a member has its data.
    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The processes of all services.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.members.values().filter_map(|member| member.child.id()).collect()
    }

    /// How many records stand on all topics of this fleet.
    pub(crate) async fn records(&self) -> anyhow::Result<u64> {
        Ok(kafka::count_records(self.config.kafka.settings()?).await?)
    }

    /// Where the public API is served.
    pub(crate) fn ingresses(&self) -> Vec<SocketAddr> {
        self.members.values().filter(|member| member.service == "ingress").map(|member| member.addresses.grpc).collect()
    }

    /// A channel over all ingresses: calls go to those that are there.
    pub(crate) fn channel(&self) -> anyhow::Result<Channel> {
        let endpoint = |address| Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true));
        let endpoints: Vec<Endpoint> = self.ingresses().into_iter().map(endpoint).collect::<anyhow::Result<_>>()?;
        Ok(Channel::balance_list(endpoints.into_iter()))
    }

    /// Waits until every process says that it is ready; returns how long that took.
    pub(crate) async fn until_ready(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let mut waiting = Vec::new();
            for (name, member) in &mut self.members {
                if let Some(status) = member.child.try_wait()? {
                    bail!(
                        "{name} has ended ({status}); see {}",
                        self.dir.join("logs").join(format!("{name}.log")).display()
                    );
                }
                if !is_ready(member.addresses.admin).await {
                    waiting.push(name.clone());
                }
            }
            if waiting.is_empty() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > Duration::from_millis(READY_MS_MAX) {
                bail!(
                    "not ready after {READY_MS_MAX} ms: {}; see {}",
                    waiting.join(", "),
                    self.dir.join("logs").display()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, a bounded wait, and another process of the same name.
    pub(crate) async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        end(&mut member.child).await;
        self.start_again(name)
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        Ok(member.child.kill().await?)
    }

    /// Waits until a process has ended by itself.
    pub(crate) async fn until_ended(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        member.child.wait().await?;
        Ok(())
    }

    /// Another process under the name of one that has ended.
    pub(crate) fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.members.get(name).with_context(|| format!("there is no {name}"))?;
        let (service, number, addresses) = (member.service, member.number, member.addresses);
        let child = self.spawn(service, number, addresses)?;
        if let Some(member) = self.members.get_mut(name) {
            member.child = child;
        }
        Ok(())
    }

    /// SIGTERM to callers first, and a bounded wait.
    pub(crate) async fn end(&mut self) {
        for services in [&["ingress"][..], &["wallet-worker", "fisc-worker"], &["router", "tracker"]] {
            let leaving = self.members.values_mut().filter(|member| services.contains(&member.service));
            futures::future::join_all(leaving.map(|member| end(&mut member.child))).await;
        }
        end(&mut self.simulator).await;
    }
}

/// Makes the topics as the configuration wants them.
async fn create_topics(config: &Config) -> anyhow::Result<()> {
    let (settings, layout) = (config.kafka.settings()?, config.layout());
    let plan = kafka::plan(settings.clone(), &layout).await?;
    Ok(kafka::apply(settings, &layout, &plan).await?)
}

/// What the process says goes to a file of its own.
fn logged(mut command: Command, dir: &Path, name: &str) -> anyhow::Result<Command> {
    let file = dir.join("logs").join(format!("{name}.log"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    let log = log.with_context(|| format!("{} cannot be written", file.display()))?;
    command.stdout(Stdio::null()).stderr(log);
    Ok(command)
}
