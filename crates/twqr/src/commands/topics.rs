//! `twqr topics`: compares the topics on the cluster with the configuration, creates and changes
//! them.

use std::{io::Write, process::ExitCode};

use clap::Subcommand;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_journal::kafka::{self, Plan};

/// The subcommands of `twqr topics`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Topics {
    /// Prints what differs; exit code 0 if nothing does, 2 if `apply` would change something, 1 if
    /// a difference cannot be changed
    Plan,
    /// Creates missing topics and changes settings; refuses a change of what is fixed at creation
    Apply,
}

/// The exit code if something differs.
const DIFFERS: u8 = 2;

/// Prints the differences; `apply` then changes the topics on the cluster.
pub(crate) async fn run(topics: Topics, config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!config.kafka.bootstrap.is_empty(), "kafka.bootstrap names no broker; set it to host:port");
    let settings = config.kafka.settings()?;
    let layout = config.layout(kafka::recorded(settings.clone()).await?.as_ref());
    let plan = kafka::plan(settings.clone(), &layout).await?;
    print(&plan)?;
    match topics {
        Topics::Plan if plan.is_empty() => Ok(ExitCode::SUCCESS),
        Topics::Plan if plan.deviations.iter().any(|deviation| !deviation.can_change) => Ok(ExitCode::FAILURE),
        Topics::Plan => Ok(ExitCode::from(DIFFERS)),
        Topics::Apply => {
            kafka::apply(settings, &layout, &plan).await?;
            print_line("the topics match the configuration")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(plan: &Plan) -> std::io::Result<()> {
    let mut out = twqr_files::stdout();
    for topic in &plan.create {
        writeln!(out, "create  {topic}")?;
    }
    for deviation in &plan.deviations {
        let what = if deviation.can_change { "change" } else { "REFUSE" };
        writeln!(out, "{what}  {deviation}")?;
    }
    if plan.record {
        writeln!(out, "record  the numbers of partitions")?;
    }
    if plan.is_empty() {
        writeln!(out, "nothing differs")?;
    }
    Ok(())
}
