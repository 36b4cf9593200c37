//! The calls that the ingresses of the drill have seen: those that wait, by the metrics of the
//! present ingress, and all of them, by the log.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::ensure;
use tokio::time::{Instant, sleep};
use twqr_config::Config;
use twqr_journal::{Journal, Partition, Topic, embedded::EmbeddedJournal};
use twqr_order::Command;
use twqr_wire::convert::decode_record;

use crate::launch::admin_page;

/// The pause between two looks at the metrics.
const PAUSE: Duration = Duration::from_millis(50);
/// How many records are read at once.
const RECORDS_MAX: usize = 1_000;

/// How many calls about one order the ingresses have written to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoggedCalls {
    pub(super) payments: usize,
    pub(super) inquiries: usize,
}

/// Waits until this number of calls wait for an answer of the ingress, and the router has decided
/// each of them, so that the log has them.
pub(super) async fn until_waiting(admin: SocketAddr, calls: usize, within: Duration) -> anyhow::Result<()> {
    let (waiting, decided) = (format!("twqr_ingress_calls_waiting {calls}"), "twqr_ingress_calls_undecided 0");
    let began = Instant::now();
    loop {
        let metrics = admin_page(admin, "/metrics").await.unwrap_or_default();
        let shows = |series: &str| metrics.lines().any(|line| line == series);
        if shows(&waiting) && shows(decided) {
            return Ok(());
        }
        let seen: Vec<&str> = metrics.lines().filter(|line| line.starts_with("twqr_ingress_calls_")).collect();
        ensure!(began.elapsed() < within, "not {calls} calls wait at the ingress: {}", seen.join(", "));
        sleep(PAUSE).await;
    }
}

/// The calls in the log of a system on the embedded journal that has ended, by MerchantTradeNo.
pub(super) async fn logged_calls(config: &Config) -> anyhow::Result<BTreeMap<String, LoggedCalls>> {
    let journal = EmbeddedJournal::open(config.embedded(config.data_dir.join("journal")))?;
    let counted = count(&*journal).await;
    Journal::close(&*journal).await;
    counted
}

async fn count(journal: &impl Journal) -> anyhow::Result<BTreeMap<String, LoggedCalls>> {
    let mut calls = BTreeMap::new();
    for index in 0..journal.partitions(Topic::Orders) {
        let partition = Partition { topic: Topic::Orders, index };
        let (mut next, end) = (journal.start(partition).await?, journal.end(partition).await?);
        if next >= end {
            continue;
        }
        let mut reader = journal.reader(partition, next).await?;
        while next < end {
            for record in reader.next(RECORDS_MAX).await? {
                next = record.offset + 1;
                if let Some(value) = record.entry.value {
                    note(&decode_record(value)?.command, &mut calls);
                }
            }
        }
    }
    Ok(calls)
}

/// Counts a record, if it is of a call that the drill is about.
fn note(command: &Command, calls: &mut BTreeMap<String, LoggedCalls>) {
    if let Command::Pay(pay) = command {
        calls.entry(pay.form.key.merchant_trade_no.as_str().to_owned()).or_default().payments += 1;
    } else if let Command::Query(query) = command {
        calls.entry(query.key.merchant_trade_no.as_str().to_owned()).or_default().inquiries += 1;
    }
}
