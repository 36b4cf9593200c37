//! `twqr topics`: compares the topics on the cluster with the configuration, creates and changes
//! them, and prints the rights that their users need.

mod acls;

use std::{io::Write, process::ExitCode};

use clap::Subcommand;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_journal::kafka::{self, Plan};

/// The subcommands of `twqr topics`.
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Prints the differences from the configuration; exit code 0 if there are none, 2 if `apply`
    /// would resolve them, 1 if one is fixed at creation
    Plan,
    /// Creates missing topics and changes settings; refuses to change settings that are fixed at
    /// creation
    Apply,
    /// Prints the rights that the user of each program needs on the cluster, as arguments of
    /// Kafka's kafka-acls, one call in each line
    Acls(acls::Acls),
}

/// The exit code if nothing differs.
const EQUAL: u8 = 0;
/// The exit code if something differs that cannot be changed.
const FIXED: u8 = 1;
/// The exit code if something differs.
const DIFFERS: u8 = 2;

/// Prints the differences; `apply` then changes the topics on the cluster.
pub(crate) async fn run(topics: Topics, config: &Config) -> anyhow::Result<ExitCode> {
    if let Topics::Acls(acls) = &topics {
        acls::print(acls, &config.kafka.prefix)?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(!config.kafka.bootstrap.is_empty(), "kafka.bootstrap names no broker; set it to host:port");
    let settings = config.kafka.settings()?;
    let layout = config.layout(kafka::recorded(settings.clone()).await?.as_ref());
    let plan = kafka::plan(settings.clone(), &layout).await?;
    write(&plan, &mut twqr_files::stdout())?;
    if matches!(topics, Topics::Apply) {
        kafka::apply(settings, &layout, &plan).await?;
        print_line("the topics match the configuration")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(code(&plan)))
}

/// The exit code of `plan`.
fn code(plan: &Plan) -> u8 {
    if plan.is_empty() {
        EQUAL
    } else if plan.deviations.iter().any(|deviation| !deviation.can_change) {
        FIXED
    } else {
        DIFFERS
    }
}

/// Writes a line for each change that is needed.
fn write(plan: &Plan, out: &mut impl Write) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    use twqr_journal::kafka::Deviation;

    use super::*;

    fn deviation(can_change: bool) -> Deviation {
        let [topic, what, is, must_be] = ["orders", "retention.ms", "1", "2"].map(str::to_owned);
        Deviation { topic, what, is, must_be, can_change }
    }

    #[test]
    fn a_plan_names_each_change_and_a_layout_that_is_not_recorded() {
        let nothing = Plan::default();
        let unrecorded = Plan { record: true, ..Plan::default() };
        let missing = Plan { create: vec!["orders".to_owned()], ..unrecorded.clone() };
        let changed = Plan { deviations: vec![deviation(true)], ..Plan::default() };
        let fixed = Plan { deviations: vec![deviation(true), deviation(false)], ..Plan::default() };
        let change = "change  orders: retention.ms is 1, must be 2\n";
        for (plan, expected, expected_code) in [
            (nothing, "nothing differs\n".to_owned(), EQUAL),
            (unrecorded, "record  the numbers of partitions\n".to_owned(), DIFFERS),
            (missing, "create  orders\nrecord  the numbers of partitions\n".to_owned(), DIFFERS),
            (changed, change.to_owned(), DIFFERS),
            (fixed, format!("{change}{}", change.replace("change", "REFUSE")), FIXED),
        ] {
            let mut text = Vec::new();
            write(&plan, &mut text).unwrap();
            assert_eq!((String::from_utf8(text).unwrap(), code(&plan)), (expected, expected_code), "{plan:?}");
        }
    }
}
