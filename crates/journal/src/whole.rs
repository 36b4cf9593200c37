//! Checks that a log is whole: a reader that continues at a stored position refuses a log in which
//! unread records were deleted, a log that ends before the position, and a different log under the
//! same name. It never skips a record.
//!
//! A log is recognised by a witness: a record that was already read, with a number that another log
//! does not have at this offset. This detects a topic that was created again, and also a topic that
//! lost its newest records and has grown since.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;

use crate::{Journal, JournalError, Offset, Partition, Reader, Record};

/// A record that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The record's offset.
    pub offset: Offset,
    /// A number that identifies the record, without a secret of it.
    pub mark: u64,
}

/// Returns the number that identifies a record; `None` if this build cannot read the record.
pub type MarkOf = fn(&Record) -> Option<u64>;

/// How long to wait for a record that is known to exist.
const WITNESS_WAIT: Duration = Duration::from_secs(20);
/// How many records are read at once while the witness is looked for.
const WITNESS_RECORDS_MAX: usize = 256;

/// Fails with [`JournalError::NotWhole`] if the log ends before `next`, below which all records
/// were read.
pub async fn check_end(journal: &dyn Journal, partition: Partition, next: Offset) -> Result<(), JournalError> {
    let end = journal.end(partition).await?;
    if end < next { Err(ends_below(partition, next, end)) } else { Ok(()) }
}

/// Opens a reader that continues at `next`. It fails with [`JournalError::NotWhole`] if the log
/// begins after that position or ends before it, if the witness is not in it, and later if a record
/// is missing. A compacted topic may begin later and miss records, since compaction keeps the
/// newest one of each key.
pub async fn read_whole(
    journal: &dyn Journal,
    partition: Partition,
    next: Offset,
    witness: Option<Witness>,
    mark_of: MarkOf,
) -> Result<Box<dyn Reader>, JournalError> {
    let read_below = witness.map_or(next, |witness| next.max(witness.offset + 1));
    check_end(journal, partition, read_below).await?;
    let start = journal.start(partition).await?;
    if start > next && !partition.topic.is_compacted() {
        return Err(begins_above(partition, next, start));
    }
    // A witness that retention has deleted proves nothing.
    let witness = witness.filter(|witness| witness.offset >= start || partition.topic.is_compacted());
    let from = witness.map_or(next, |witness| witness.offset.min(next));
    let inner = journal.reader(partition, from).await?;
    let mut reader = WholeReader { inner, partition, next, expected: from, witness, mark_of, ready: VecDeque::new() };
    while reader.witness.is_some_and(|witness| witness.offset < next) {
        let read = tokio::time::timeout(WITNESS_WAIT, reader.inner.next(WITNESS_RECORDS_MAX)).await;
        let late =
            |_| JournalError::Read { partition, reason: format!("nothing was read from offset {from} on").into() };
        let records = reader.check(read.map_err(late)??)?;
        reader.ready.extend(records);
    }
    Ok(Box::new(reader))
}

struct WholeReader {
    inner: Box<dyn Reader>,
    partition: Partition,
    /// Earlier records are read only to compare the witness.
    next: Offset,
    /// The offset of the next record, unless the topic is compacted.
    expected: Offset,
    /// Not compared yet.
    witness: Option<Witness>,
    mark_of: MarkOf,
    /// Records that were read while the witness was looked for.
    ready: VecDeque<Record>,
}

impl WholeReader {
    /// Checks records in the order of the log, and returns those from `next` on.
    fn check(&mut self, records: Vec<Record>) -> Result<Vec<Record>, JournalError> {
        let mut checked = Vec::with_capacity(records.len());
        for record in records {
            if record.offset != self.expected && !self.partition.topic.is_compacted() {
                return Err(missing(self.partition, self.expected, record.offset));
            }
            self.expected = record.offset + 1;
            if let Some(witness) = self.witness.take_if(|witness| witness.offset <= record.offset)
                && witness.offset == record.offset
                && (self.mark_of)(&record).is_some_and(|mark| mark != witness.mark)
            {
                return Err(another_log(self.partition, witness.offset, self.next));
            }
            if record.offset >= self.next {
                checked.push(record);
            }
        }
        Ok(checked)
    }
}

#[async_trait]
impl Reader for WholeReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        if !self.ready.is_empty() {
            let count = max.min(self.ready.len());
            return Ok(self.ready.drain(..count).collect());
        }
        loop {
            let records = self.inner.next(max).await?;
            let checked = self.check(records)?;
            if !checked.is_empty() {
                return Ok(checked);
            }
        }
    }
}

fn not_whole(partition: Partition, what: String) -> JournalError {
    JournalError::NotWhole { partition, reason: what.into() }
}

fn begins_above(partition: Partition, next: Offset, start: Offset) -> JournalError {
    let what = format!(
        "it begins at offset {start}, and the next record to read is {next}: the records before {start} were deleted unread, by retention or because the topic is another one"
    );
    not_whole(partition, what)
}

fn ends_below(partition: Partition, next: Offset, end: Offset) -> JournalError {
    let what = format!(
        "it ends at offset {end}, and the records below {next} were read before: it lost its newest records, or the topic is another one"
    );
    not_whole(partition, what)
}

fn missing(partition: Partition, expected: Offset, found: Offset) -> JournalError {
    let what = format!(
        "after the records below {expected} comes the record {found}: the records between were deleted unread, by retention or because the topic is another one"
    );
    not_whole(partition, what)
}

fn another_log(partition: Partition, offset: Offset, next: Offset) -> JournalError {
    let what = format!(
        "its record {offset} is not the one that was read before the position {next}: it lost its newest records and has grown since, or the topic is another one"
    );
    not_whole(partition, what)
}
