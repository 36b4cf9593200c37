//! Checks, before a worker without card keys claims a partition, whether the tasks there need keys.
//! If they do, the worker leaves the partition to workers with keys.

use std::time::Duration;

use tracing::warn;
use twqr_card_keys::CardKeys;
use twqr_journal::{Journal, JournalError, Partition};
use twqr_order::PROTECTED_TOKENS_SINCE;
use twqr_wire::convert::{TaskRecord, decode_task_record_with_hops};

/// How many of the newest records are read. While nothing else happens, four of them are written
/// each second.
const LOOK_BACK: u64 = 1_024;
const BATCH_RECORDS_MAX: usize = 256;
/// How long the records may take. Without them, the first task tells the same.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Notes that this worker needs keys, if one of the newest tasks of the partition shows that card
/// tokens are sealed.
pub(crate) async fn note_need(
    journal: &dyn Journal,
    partition: Partition,
    keys: &CardKeys,
) -> Result<(), JournalError> {
    if keys.are_needed() {
        return Ok(());
    }
    let Ok(seals) = tokio::time::timeout(READ_WITHIN, seals_tokens(journal, partition)).await else {
        warn!(%partition, "the newest tasks could not be read in time to check whether they need card keys");
        return Ok(());
    };
    if seals? {
        keys.need();
    }
    Ok(())
}

async fn seals_tokens(journal: &dyn Journal, partition: Partition) -> Result<bool, JournalError> {
    let (start, end) = (journal.start(partition).await?, journal.end(partition).await?);
    let mut next = start.max(end.saturating_sub(LOOK_BACK));
    let mut reader = journal.reader(partition, next).await?;
    while next < end {
        for record in reader.next(BATCH_RECORDS_MAX).await? {
            next = record.offset + 1;
            let Some(value) = record.entry.value else { continue };
            if let Ok((TaskRecord::Task(task), _)) = decode_task_record_with_hops(value)
                && task.protocol_version >= PROTECTED_TOKENS_SINCE
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
