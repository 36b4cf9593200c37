//! Looks for processes of older builds before the protocol version is raised: such builds would
//! misread the records of the new version, or could not read them at all.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use tonic::Status;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_wire::convert::{HeldTopic, KnownProtocol};

/// How long the log is read. A holder shows four signs of life in this time.
const LOOK: Duration = Duration::from_secs(1);
const BATCH_RECORDS_MAX: usize = 256;
/// How many processes are named; further ones are counted.
const NAMED_MAX: usize = 10;

/// Refuses to raise the protocol version to `wanted` while a router, worker or ingress writes to
/// the log whose build does not know it. Processes that write nothing meanwhile are not seen.
pub(super) async fn refuse_if_any(journal: &Arc<dyn Journal>, wanted: u32) -> Result<(), Status> {
    if !journal.is_shared() {
        return Ok(());
    }
    let mut reading = JoinSet::new();
    for topic in [Topic::Orders, Topic::WalletTasks, Topic::FiscTasks] {
        for index in 0..journal.partitions(topic) {
            reading.spawn(read(journal.clone(), Partition { topic, index }, Instant::now() + LOOK));
        }
    }
    let mut older = BTreeSet::new();
    for read in reading.join_all().await {
        let shown = read.map_err(|error| super::no_journal("nothing was changed", &error))?;
        older.extend(shown.into_iter().filter(|known| known.newest < wanted));
    }
    if older.is_empty() { Ok(()) } else { Err(refusal(wanted, &older)) }
}

/// The protocol versions in the records that are appended until then.
async fn read(
    journal: Arc<dyn Journal>,
    partition: Partition,
    until: Instant,
) -> Result<BTreeSet<KnownProtocol>, JournalError> {
    let topic = if partition.topic == Topic::Orders { HeldTopic::Orders } else { HeldTopic::Tasks };
    let end = journal.end(partition).await?;
    let mut reader = journal.reader(partition, end).await?;
    let mut shown = BTreeSet::new();
    while let Ok(records) = tokio::time::timeout_at(until, reader.next(BATCH_RECORDS_MAX)).await {
        let values = records?.into_iter().filter_map(|record| record.entry.value);
        shown.extend(values.filter_map(|value| KnownProtocol::of_record(topic, &value)));
    }
    Ok(shown)
}

fn refusal(wanted: u32, older: &BTreeSet<KnownProtocol>) -> Status {
    let name = |known: &KnownProtocol| match known.newest {
        0 => format!("{} does not say which version it knows", known.process),
        newest => format!("{} knows {newest}", known.process),
    };
    let named: Vec<String> = older.iter().take(NAMED_MAX).map(name).collect();
    let more = older.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Status::failed_precondition(format!(
        "nothing was changed: every process must know protocol version {wanted} before it is raised, but {}{more}. \
         Replace them with this build, then apply the policy again",
        named.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use twqr_journal::Entry;
    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_order::{Alive, HoldRecord, Process, ReplyTo};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, UnixMs};
    use twqr_wire::convert::encode_query;

    use super::*;

    const AT: UnixMs = UnixMs(1_790_000_000_000);

    fn sign(topic: HeldTopic, name: &str, protocol_known: u32) -> Entry {
        let by = Process { name: name.into(), nonce: 1 };
        Entry::plain(
            topic.encode_hold(
                AT,
                HoldRecord::Alive(Alive { claim: 0, position: 1, by, is_leaving: false, protocol_known }),
            ),
        )
    }

    fn request(partition: u32) -> Entry {
        let key = OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
        };
        Entry::plain(encode_query(AT, &key, ReplyTo { partition, correlation: 1, until: AT }, false))
    }

    /// The answer to a raise to this version while the processes write these records.
    async fn raise(wanted: u32, written: Vec<(Topic, Entry)>) -> Result<(), Status> {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let (journal, writer) = (sim.session("tracker-0"), sim.session("others"));
        let old = sign(HeldTopic::Orders, "router-gone", 1);
        writer.append(Partition { topic: Topic::Orders, index: 0 }, vec![old]).await.unwrap();
        let journal: Arc<dyn Journal> = journal;
        let writing = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            for (topic, entry) in written {
                writer.append(Partition { topic, index: 1 }, vec![entry]).await.unwrap();
            }
        };
        tokio::join!(refuse_if_any(&journal, wanted), writing).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_is_raised_only_if_every_process_that_writes_knows_it() {
        let new = || {
            vec![
                (Topic::Orders, sign(HeldTopic::Orders, "router-1", 3)),
                (Topic::FiscTasks, sign(HeldTopic::Tasks, "fisc-1", 4)),
                (Topic::Orders, request(5)),
            ]
        };
        raise(3, new()).await.unwrap();
        raise(3, Vec::new()).await.unwrap();
        let older = vec![
            (Topic::WalletTasks, sign(HeldTopic::Tasks, "wallet-1", 0)),
            (Topic::FiscTasks, sign(HeldTopic::Tasks, "fisc-2", 2)),
        ];
        let refused = raise(3, [new(), older].concat()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("fisc-2 knows 2; wallet-1 does not say"), "{refused}");
        let refused = raise(4, new()).await.unwrap_err();
        let named = "router-1 knows 3; the ingress with partition 5 of replies knows 3";
        assert!(refused.message().contains(named), "{refused}");
    }
}
