//! Starting a system: checks its addresses, writes its folder, creates its topics on Kafka, and
//! starts the simulator before the services.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::bail;
use twqr_card_keys::KeyDirectory;
use twqr_config::Config;
use twqr_service::{Clock, SystemClock};

use super::{ConfigFiles, Shape, System, output};
use crate::{
    launch::{
        certificates::Authority,
        held_orders, older,
        ports::{ReservedAddresses, check_free},
        programs::{Build, Programs},
        run_dir::{self, Logs},
        secure_broker::SecureBroker,
        simulator::{Simulator, SimulatorFiles},
    },
    simulator::{self, Kinds},
};

/// The options of a start.
pub struct Launch<'a> {
    /// The programs to start.
    pub programs: Programs,
    /// The folder for data, logs and configuration; it is emptied first.
    pub dir: &'a Path,
    /// The simulator's fault script; without it nothing goes wrong at the issuers.
    pub script: Option<&'a Path>,
    /// How the simulated issuers handle late and repeated calls, instead of the script's kinds.
    pub kinds: Kinds,
    /// The configuration of all processes.
    pub config: Config,
    /// The addresses of the first process of each service and of the simulator.
    pub listen: Listen,
    /// How the services are divided into processes.
    pub shape: Shape,
    /// Whether gRPC, the operators' API, wallet and FISC have TLS with certificates on both sides,
    /// which are made for this system. The certificates are then those of this whole process.
    pub tls: bool,
    /// The log level of the services, such as `info`; without it, the variable `TWQR_LOG` applies.
    pub log_filter: Option<&'static str>,
}

/// The addresses of the first process of each service and of the simulator. All others have free
/// ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At the addresses of the configuration.
    AsConfigured,
    /// On free ports of loopback, which no other launch can take while the system exists.
    OnFreePorts,
}

impl Launch<'_> {
    /// Starts everything and waits until every process is ready. On Kafka, each system has its own
    /// topics under a random prefix.
    pub async fn start(self) -> anyhow::Result<System> {
        Box::pin(self.start_prepared(None, 0)).await
    }

    /// Starts a system that already has this number of paid orders.
    pub async fn start_holding(self, orders: u64) -> anyhow::Result<System> {
        Box::pin(self.start_prepared(None, orders)).await
    }

    /// The same on a broker that lets in only users, if one is given. Their rights are to certain
    /// topics, so the prefix is then as configured.
    pub async fn start_on(self, broker: Option<SecureBroker>) -> anyhow::Result<System> {
        Box::pin(self.start_prepared(broker, 0)).await
    }

    async fn start_prepared(self, broker: Option<SecureBroker>, orders_held: u64) -> anyhow::Result<System> {
        let mut config = self.config;
        self.kinds.declare(&mut config)?;
        let mut reserved = ReservedAddresses::default();
        match self.listen {
            Listen::AsConfigured => check_configured(&config, self.shape)?,
            Listen::OnFreePorts => config = reserved.assign_to(config)?,
        }
        let script = self.script.map(run_dir::read_script).transpose()?;
        run_dir::empty(self.dir)?;
        self.programs.check_built()?;
        let logs = Logs::create(self.dir)?;
        let authority = self.tls.then(|| Authority::create(self.dir)).transpose()?;
        if let Some(authority) = &authority {
            authority.configure(&mut config);
            twqr_client::use_certificates(config.tls.client_files());
        }
        // An absolute one stays as it is.
        config.data_dir = self.dir.join(&config.data_dir);
        if self.shape != Shape::AllInOne {
            if broker.is_none() {
                config.kafka.prefix = format!("{}run-{:016x}.", config.kafka.prefix, rand::random::<u64>());
            }
            check_brokers(&config)?;
            // Every process must have the same keys.
            config.card_keys_dir = self.dir.join("card-keys");
            KeyDirectory::new(config.card_keys_dir.clone()).renew(SystemClock.now())?;
        }
        let config_files = ConfigFiles {
            present: run_dir::write_config(self.dir, &config)?,
            older: older::write_config(&self.programs, self.dir, &config).await?,
        };
        if self.shape != Shape::AllInOne {
            // An upgrade begins with the topics that the present build adds.
            for build in [self.programs.first_build(), Build::Present] {
                let mut command = self.programs.twqr(build);
                command.envs(broker.iter().flat_map(|broker| broker.variables("topics")));
                output(&mut command, config_files.of(build), &["topics", "apply"]).await?;
            }
        }
        if orders_held > 0 {
            held_orders::write(&config, orders_held).await?;
        }
        let script = script.map(|text| run_dir::write_script(self.dir, &text)).transpose()?;
        let data_dir = self.dir.join("simulator");
        let files =
            SimulatorFiles { config: &config_files.present, data_dir, script: script.as_deref(), kinds: &self.kinds };
        let simulator = Simulator::start(&self.programs, &files, &config, &logs).await?;
        let mut system = System {
            programs: self.programs,
            dir: self.dir.to_owned(),
            logs,
            log_filter: self.log_filter,
            config_files,
            config,
            authority,
            simulator,
            reserved,
            shape: self.shape,
            broker,
            orders_held,
            first_ready_after: Duration::ZERO,
            processes: BTreeMap::new(),
        };
        for (service, count) in system.shape.processes() {
            for number in 0..*count {
                system.add(service, number)?;
            }
        }
        system.first_ready_after = system.until_ready().await?;
        Ok(system)
    }
}

fn check_configured(config: &Config, shape: Shape) -> anyhow::Result<()> {
    let [wallet, fisc] = simulator::addresses(config)?;
    check_free(&[config.grpc, config.pos_http, config.operators, wallet, fisc])?;
    // Elsewhere each process has an admin address of its own.
    if shape == Shape::AllInOne { check_free(&[config.admin]) } else { Ok(()) }
}

fn check_brokers(config: &Config) -> anyhow::Result<()> {
    if config.kafka.bootstrap.is_empty() {
        bail!("kafka.bootstrap names no broker; `make run-kafka` starts one, or set TWQR__KAFKA__BOOTSTRAP=host:port");
    }
    Ok(())
}
