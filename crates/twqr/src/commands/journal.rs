//! `twqr journal`: shows and trims the embedded journal while no process uses it.

use std::{io::Write as _, process::ExitCode};

use clap::Subcommand;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_journal::{Group, Journal as _, Partition, Topic, embedded::EmbeddedJournal};
use twqr_service::{Clock as _, SystemClock};

use crate::retention;

/// The subcommands of `twqr journal`. The process that uses the journal must be stopped.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Journal {
    /// Prints the first offset, the end and the stored positions of each partition
    Show,
    /// Deletes records that are no longer needed, also from the disk, as `twqr up` does
    /// automatically
    Trim {
        /// Keep the records of `orders` for this number of hours; default: journal_retention_hours
        #[arg(long, value_name = "HOURS")]
        keep_hours: Option<u32>,
    },
}

/// Shows or trims the journal in the configured folder.
pub(crate) async fn run(command: Journal, config: &Config) -> anyhow::Result<ExitCode> {
    let dir = config.data_dir.join("journal");
    anyhow::ensure!(dir.is_dir(), "there is no journal in {}; set data_dir", dir.display());
    let journal = EmbeddedJournal::open(config.embedded(dir))?;
    if let Journal::Trim { keep_hours } = command {
        let before = journal.bytes()?;
        let keep_hours = keep_hours.unwrap_or(config.journal_retention_hours);
        retention::trim(&journal, SystemClock.now(), i64::from(keep_hours) * 3_600_000).await?;
        for topic in Topic::ALL.into_iter().filter(|topic| topic.is_trimmed()) {
            journal.compact(topic).await?;
        }
        print_line(format_args!("{before} bytes before, {} bytes now", journal.bytes()?))?;
    }
    show(&journal).await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(journal: &EmbeddedJournal) -> anyhow::Result<()> {
    let mut out = twqr_files::stdout();
    writeln!(out, "{:20} {:>12} {:>12}  positions", "partition", "start", "end")?;
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Replies) {
        for partition in (0..journal.partitions(topic)).map(|index| Partition { topic, index }) {
            let mut positions = Vec::new();
            for group in Group::ALL {
                if let Some(position) = journal.position(group, partition).await? {
                    positions.push(format!("{} {}", group.name(), position.next));
                }
            }
            let (start, end) = (journal.start(partition).await?, journal.end(partition).await?);
            writeln!(out, "{:20} {start:>12} {end:>12}  {}", partition.to_string(), positions.join(", "))?;
        }
    }
    Ok(())
}
