//! The simulator of the wallet and FISC, as a process of its own or within this one.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tokio::{process::Child, task::JoinHandle};
use twqr_config::Config;
use twqr_service::CancellationToken;

use super::{
    ports::connect,
    programs::{Programs, end},
    run_dir::Logs,
};
use crate::simulator::{self, Kinds};

/// A running simulator; dropping it ends the simulator.
pub(super) enum Simulator {
    Process(Child),
    Task { stop: CancellationToken, task: JoinHandle<anyhow::Result<()>> },
}

/// The simulator's configuration file, ledger folder, fault script and kinds of issuers.
pub(super) struct SimulatorFiles<'a> {
    pub(super) config: &'a Path,
    pub(super) data_dir: PathBuf,
    pub(super) script: Option<&'a Path>,
    pub(super) kinds: &'a Kinds,
}

impl Simulator {
    /// Starts it and waits until it serves.
    pub(super) async fn start(
        programs: &Programs,
        files: &SimulatorFiles<'_>,
        config: &Config,
        logs: &Logs,
    ) -> anyhow::Result<Self> {
        let mut arguments = vec!["simulator".as_ref(), "--data-dir".as_ref(), files.data_dir.as_os_str()];
        arguments.extend(files.script.into_iter().flat_map(|script| ["--script".as_ref(), script.as_os_str()]));
        let kinds: Vec<OsString> = files.kinds.choices.iter().map(|choice| choice.to_string().into()).collect();
        arguments.extend(kinds.iter().flat_map(|choice| ["--issuer-kind".as_ref(), choice.as_os_str()]));
        let certificates = certificates(config);
        arguments.extend(certificates.iter().flat_map(|(option, file)| [OsStr::new(*option), file.as_os_str()]));
        let simulator = if let Some(mut command) = programs.lab(files.config, &arguments) {
            logs.redirect(&mut command, "simulator")?;
            Self::Process(command.spawn().context("cannot start the simulator")?)
        } else {
            let stop = CancellationToken::new();
            let mut settings = simulator::settings(config, &files.data_dir, files.script, files.kinds)?;
            settings.tls = config.tls.grpc_files().filter(|_| config.tls.wallet_files().is_some());
            Self::Task { stop: stop.clone(), task: tokio::spawn(simulator::serve(settings, stop)) }
        };
        connect(&config.wallet).await.context("the simulator does not serve")?;
        Ok(simulator)
    }

    /// The simulator's process id; absent if it runs within this process.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Process(child) => child.id(),
            Self::Task { .. } => None,
        }
    }

    pub(super) async fn end(&mut self) {
        match self {
            Self::Process(child) => end(child).await,
            Self::Task { stop, task } => {
                stop.cancel();
                drop(task.await);
            }
        }
    }
}

/// The certificate options: where workers use TLS, the simulator has the certificate of `grpc`.
fn certificates(config: &Config) -> Vec<(&'static str, &Path)> {
    let tls = &config.tls.grpc;
    if config.tls.wallet_files().is_none() {
        return Vec::new();
    }
    vec![
        ("--certificate-file", tls.certificate_file.as_path()),
        ("--key-file", tls.key_file.as_path()),
        ("--client-ca-file", tls.client_ca_file.as_path()),
    ]
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Self::Task { stop, .. } = self {
            stop.cancel();
        }
    }
}
