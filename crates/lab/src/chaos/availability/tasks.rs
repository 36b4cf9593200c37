//! Counts the tasks that a crash of a worker puts at risk: those between the position that it had
//! committed and its successor's claim. A task of a dead claim may have been sent, so it is only
//! inquired about (protocol rule P6).

use twqr_journal::{Group, Journal, JournalError, Offset, Partition, Topic};
use twqr_order::HoldRecord;
use twqr_wire::convert::{TaskRecord, decode_task_record};

/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 512;

/// The state of a task partition at the moment of a fault.
pub(super) struct TaskMark {
    partition: Partition,
    committed: Offset,
    end: Offset,
}

/// Marks all partitions of a task topic.
pub(super) async fn mark(journal: &dyn Journal, topic: Topic) -> Result<Vec<TaskMark>, JournalError> {
    let mut marks = Vec::new();
    for index in 0..journal.partitions(topic) {
        let partition = Partition { topic, index };
        let position = journal.position(Group::Workers, partition).await?;
        let (committed, end) = (position.map_or(0, |position| position.next), journal.end(partition).await?);
        marks.push(TaskMark { partition, committed, end });
    }
    Ok(marks)
}

/// Counts the tasks before the first claim that followed each mark; a partition that nobody claimed
/// since has none.
pub(super) async fn count_at_risk(journal: &dyn Journal, marks: &[TaskMark]) -> Result<u64, JournalError> {
    let mut sum = 0;
    for mark in marks {
        sum += tasks_before_claim(journal, mark).await?.unwrap_or(0);
    }
    Ok(sum)
}

async fn tasks_before_claim(journal: &dyn Journal, mark: &TaskMark) -> Result<Option<u64>, JournalError> {
    let end = journal.end(mark.partition).await?;
    let (mut next, mut tasks) = (mark.committed, 0);
    if next >= end {
        return Ok(None);
    }
    let mut reader = journal.reader(mark.partition, next).await?;
    while next < end {
        for record in reader.next(BATCH_RECORDS_MAX).await? {
            next = record.offset + 1;
            let decoded = decode_task_record(record.entry.value.unwrap_or_default());
            if matches!(decoded, Ok(TaskRecord::Task(_))) {
                tasks += 1;
            } else if record.offset >= mark.end && matches!(decoded, Ok(TaskRecord::Hold(HoldRecord::Claim { .. }))) {
                return Ok(Some(tasks));
            }
        }
    }
    Ok(None)
}
