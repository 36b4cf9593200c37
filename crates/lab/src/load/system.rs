//! Starts the system that a scenario names, with its fault script, its merchants' keys and its
//! callers.

use std::{fs, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use anyhow::Context as _;
use twqr_config::Config;
use twqr_loadgen::{
    scenario::{Scenario, SystemShape},
    traffic::MerchantList,
};

use super::callers::RunCallers;
use crate::{
    launch::{Launch, Listen, Programs, Shape, System, held_orders},
    simulator::Kinds,
    usage,
};

/// How long the services may take over the orders that the system holds, after they are ready.
const CALM_WITHIN: Duration = Duration::from_mins(20);

/// How a system and those that call it authenticate each other.
#[derive(Clone, Copy, Default)]
pub(super) struct Authentication<'a> {
    /// Whether connections have TLS with certificates on both sides.
    pub(super) tls: bool,
    /// Who may call; absent: everyone.
    pub(super) callers: Option<&'a RunCallers>,
}

/// Starts the system in `dir/system` and waits until it is ready.
pub(super) async fn start(
    scenario: &Scenario,
    merchants: &MerchantList,
    programs: Programs,
    dir: &Path,
    config: &Config,
    Authentication { tls, callers }: Authentication<'_>,
) -> anyhow::Result<System> {
    let mut config = config.clone();
    let script = dir.join("simulator.toml");
    fs::write(&script, scenario.simulator.to_string()).with_context(|| format!("cannot write {}", script.display()))?;
    if scenario.mix.http > 0.0 {
        let keys = std::path::absolute(dir.join("merchant-keys.toml"))?;
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&keys);
        let written =
            opened.and_then(|mut file| std::io::Write::write_all(&mut file, merchants.keys_file().as_bytes()));
        written.with_context(|| format!("cannot write {}", keys.display()))?;
        config.merchant_keys_file = keys;
    }
    config.fairness.merchant_calls_per_s = scenario.system.merchant_calls_per_s;
    if let Some(callers) = callers {
        callers.configure(&mut config);
    }
    let shape = match scenario.system.shape {
        SystemShape::AllInOne => Shape::AllInOne,
        SystemShape::ProcessForEach => Shape::ProcessForEach,
        SystemShape::TwoOfEach => Shape::TwoOfEach,
    };
    let folder = dir.join("system");
    let launch = Launch {
        programs,
        dir: &folder,
        script: Some(&script),
        config,
        listen: Listen::OnFreePorts,
        shape,
        kinds: Kinds::default(),
        tls,
        log_filter: None,
    };
    if scenario.system.orders_held == 0 {
        return launch.start().await;
    }
    let system = launch.start_holding(scenario.system.orders_held).await?;
    usage::until_calm(&system.ids(), CALM_WITHIN).await?;
    let key = callers.and_then(|callers| callers.load.first()).cloned().unwrap_or_default();
    held_orders::check(key.client(system.channel()?), scenario.system.orders_held).await?;
    Ok(system)
}
