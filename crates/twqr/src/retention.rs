//! Finds the records of the embedded journal that are no longer needed. `orders` is needed from the
//! newest checkpoint on, for restores, and for a configured time, for replays of the policy. A task
//! is needed until its worker has finished it. On Kafka the brokers delete records by their age.

use bytes::Bytes;
use tracing::info;
use twqr_journal::{Group, Journal, JournalError, Offset, Partition, Topic, embedded::EmbeddedJournal};
use twqr_types::UnixMs;
use twqr_wire::convert::{decode_dead_letter, decode_record};

/// How long dead letters are kept, in ms: 30 days.
const DEAD_LETTERS_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// The time that a record carries; `None` if it cannot be read.
type TimeOf = fn(Bytes) -> Option<UnixMs>;

/// Trims every partition at `now`; `orders_kept_ms` is how long records of `orders` are kept.
/// Returns the topics from which something was trimmed.
pub(crate) async fn trim(
    journal: &EmbeddedJournal,
    now: UnixMs,
    orders_kept_ms: i64,
) -> Result<Vec<Topic>, JournalError> {
    let mut trimmed = Vec::new();
    for topic in Topic::ALL.into_iter().filter(|topic| topic.is_trimmed()) {
        for partition in (0..journal.partitions(topic)).map(|index| Partition { topic, index }) {
            let start = journal.start(partition).await?;
            // The newest record stays, so that a build which knows no floors finds the end, too.
            let newest = journal.end(partition).await?.saturating_sub(1);
            let floor = needed_from(journal, partition, now, orders_kept_ms).await?.min(newest);
            if floor > start {
                journal.trim(partition, floor).await?;
                info!(%partition, start, floor, "trimmed the journal");
                trimmed.push(topic);
            }
        }
    }
    trimmed.dedup();
    Ok(trimmed)
}

/// The offset from which on the records of a partition are needed.
async fn needed_from(
    journal: &EmbeddedJournal,
    partition: Partition,
    now: UnixMs,
    orders_kept_ms: i64,
) -> Result<Offset, JournalError> {
    let position = async |group| Ok(journal.position(group, partition).await?.map_or(0, |position| position.next));
    match partition.topic {
        Topic::Orders => {
            let time = |record| decode_record(record).ok().map(|record| record.at);
            let checkpoint = position(Group::Routers).await?;
            first_since(journal, partition, checkpoint, now.plus(-orders_kept_ms), time).await
        }
        Topic::WalletTasks | Topic::FiscTasks => position(Group::Workers).await,
        Topic::DeadLetters => {
            let time = |record| decode_dead_letter(record).ok().map(|letter| letter.at);
            let end = journal.end(partition).await?;
            first_since(journal, partition, end, now.plus(-DEAD_LETTERS_KEPT_MS), time).await
        }
        Topic::OrderStates | Topic::Replies | Topic::Callers => Ok(0),
    }
}

/// The first record below `end` that is not older than `since`, or `end`; found by bisection, since
/// times grow with offsets, apart from the skew of clocks. A record that cannot be read counts as
/// older.
async fn first_since(
    journal: &EmbeddedJournal,
    partition: Partition,
    end: Offset,
    since: UnixMs,
    time: TimeOf,
) -> Result<Offset, JournalError> {
    let (mut low, mut high) = (journal.start(partition).await?, end);
    while low < high {
        let middle = low + (high - low) / 2;
        let read = journal.reader(partition, middle).await?.next(1).await?;
        let found = read.into_iter().next().and_then(|record| time(record.entry.value.unwrap_or_default()));
        if found.is_some_and(|at| at >= since) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::num::NonZeroU32;

    use twqr_journal::{Entry, Position, embedded::EmbeddedSettings};
    use twqr_order::{Command, Record};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};
    use twqr_wire::convert::encode_record;

    use super::*;

    const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
    const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

    fn record(at: i64) -> Entry {
        let key = OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
        };
        let command = Command::Due(key);
        Entry::plain(encode_record(&Record { at: UnixMs(at), signed_by: None, nonce: None, command }))
    }

    #[tokio::test]
    async fn old_records_go_only_below_the_newest_checkpoint_and_finished_tasks_go_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let one = NonZeroU32::MIN;
        let settings = EmbeddedSettings { dir: dir.path().into(), shards: one, task_partitions: one };
        let journal = EmbeddedJournal::open(settings).unwrap();
        let mut records: Vec<_> = (0..100).map(|n| record(n * 1_000)).collect();
        records[3] = Entry::plain(Bytes::from_static(b"cannot be read"));
        journal.append(ORDERS, records).await.unwrap();
        journal.append(TASKS, (0..10).map(record).collect()).await.unwrap();
        let commit =
            |group, partition, next| journal.commit(group, partition, Position { next, metadata: Bytes::new() });
        for (checkpoint, finished, now, kept_ms, starts) in [
            (None, None, 1_000_000, 0, (0, 0)),
            (Some(50), None, 60_000, 40_000, (20, 0)),
            (None, Some(7), 90_000, 20_000, (50, 7)),
            (Some(100), Some(10), 90_000, 20_000, (70, 9)),
            (None, None, 10_000_000, 0, (99, 9)),
        ] {
            if let Some(next) = checkpoint {
                commit(Group::Routers, ORDERS, next).await.unwrap();
            }
            if let Some(next) = finished {
                commit(Group::Workers, TASKS, next).await.unwrap();
            }
            trim(&journal, UnixMs(now), kept_ms).await.unwrap();
            let found = (journal.start(ORDERS).await.unwrap(), journal.start(TASKS).await.unwrap());
            assert_eq!(found, starts, "at {now}");
        }
        assert_eq!(journal.end(ORDERS).await.unwrap(), 100);
    }
}
