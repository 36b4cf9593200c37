//! Recognises the log of `order-states` of one shard, although compaction may remove any record
//! that a newer one replaces.
//!
//! Each owner first writes a record under a unique key, a beginning, which is never replaced. A
//! beginning and each marker name the newest beginning that their writer had read. So a reader that
//! continues at a stored position detects each of these cases:
//!
//! - Its first beginning is missing or differs: the topic was created again, or lost its oldest
//!   records.
//! - A record names a newer beginning than any that was read: the topic lost its newest records,
//!   and has grown since.
//!
//! Earlier builds wrote no beginnings. A reader whose position was stored by such a build accepts
//! the first beginning that it reads.

use std::time::Duration;

use twqr_journal::{Journal, JournalError, Offset, Partition, Reader, Record, Witness, check_end};
use twqr_wire::convert::{BeginningsRead, decode_beginnings_read};

/// How long to wait for a record that is known to exist.
const BEGINNING_WAIT: Duration = Duration::from_secs(20);

/// The beginnings that were read, as they are stored with the position in `order-states`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownBeginnings {
    /// The first one.
    pub first: Option<Witness>,
    /// The highest epoch of them.
    pub newest: Option<u64>,
}

/// Checks the records of `order-states` in the order in which they are read.
#[derive(Clone, Copy, Debug)]
pub struct BeginningsCheck {
    partition: Partition,
    known: KnownBeginnings,
    /// Whether every beginning in the topic before the next record is known.
    is_complete: bool,
}

impl BeginningsCheck {
    /// A check for a reader of the partition that continues at `next` with what it had read before.
    pub fn new(partition: Partition, next: Offset, known: KnownBeginnings) -> Self {
        Self { partition, known, is_complete: next == 0 || known.first.is_some() }
    }

    /// The records that were read so far.
    pub fn known(&self) -> KnownBeginnings {
        self.known
    }

    /// Takes the next record. Fails with [`JournalError::NotWhole`] if it names a beginning that
    /// should have been read before it.
    pub fn take(&mut self, record: &Record) -> Result<(), JournalError> {
        match beginnings_read(record) {
            Some(read) => self.take_read(record.offset, read),
            None => Ok(()),
        }
    }

    /// Takes what the next markers and beginnings say, each with its offset.
    pub fn take_all(&mut self, read: &[(Offset, BeginningsRead)]) -> Result<(), JournalError> {
        read.iter().try_for_each(|(offset, read)| self.take_read(*offset, *read))
    }

    fn take_read(&mut self, offset: Offset, read: BeginningsRead) -> Result<(), JournalError> {
        if self.is_complete && read.newest > self.known.newest {
            return Err(self.unread(offset, read));
        }
        self.known.newest = self.known.newest.max(read.newest);
        if let Some(mark) = read.number {
            self.is_complete = true;
            self.known.newest = self.known.newest.max(Some(read.epoch));
            self.known.first.get_or_insert(Witness { offset, mark });
        }
        Ok(())
    }

    fn unread(&self, offset: Offset, read: BeginningsRead) -> JournalError {
        let newest = read.newest.unwrap_or_default();
        let what = format!(
            "its record {offset} follows the beginning of the epoch {newest}, which was not found before it: the topic lost records, or is another one"
        );
        not_whole(self.partition, what)
    }

    /// Opens a reader of `order-states` that continues at `next`; fails as [`Self::verify`] does.
    pub async fn open(&self, journal: &dyn Journal, next: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.verify(journal, next).await?;
        journal.follower(self.partition, next).await
    }

    /// Fails with [`JournalError::NotWhole`] if the topic ends before `next`, below which all
    /// records were read, or if its first beginning is not the one that was read.
    pub async fn verify(&self, journal: &dyn Journal, next: Offset) -> Result<(), JournalError> {
        let read_below = self.known.first.map_or(next, |first| next.max(first.offset + 1));
        check_end(journal, self.partition, read_below).await?;
        match self.known.first {
            Some(first) => self.find(journal, first).await,
            None => Ok(()),
        }
    }

    /// Reads the first beginning again.
    async fn find(&self, journal: &dyn Journal, first: Witness) -> Result<(), JournalError> {
        let partition = self.partition;
        let mut reader = journal.reader(partition, first.offset).await?;
        let late = |_| JournalError::Read {
            partition,
            reason: format!("nothing was read from offset {} on", first.offset).into(),
        };
        let read = tokio::time::timeout(BEGINNING_WAIT, reader.next(1)).await.map_err(late)??;
        let is_first = |record: &Record| {
            let mark = beginnings_read(record).and_then(|read| read.number);
            record.offset == first.offset && mark == Some(first.mark)
        };
        if read.first().is_some_and(is_first) {
            return Ok(());
        }
        let what = format!(
            "its record {} is not the beginning that was read before: the topic lost its oldest records, or is another one",
            first.offset
        );
        Err(not_whole(partition, what))
    }
}

/// The beginnings that a record names; `None` if it is neither a marker nor a beginning.
pub fn beginnings_read(record: &Record) -> Option<BeginningsRead> {
    decode_beginnings_read(&record.entry.key, record.entry.value.clone()?)
}

fn not_whole(partition: Partition, what: String) -> JournalError {
    JournalError::NotWhole { partition, reason: what.into() }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use twqr_journal::Topic;

    use super::*;

    const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
    const SEEDS: u64 = 2_000;

    /// A topic with random owners, of which earlier ones may write late.
    struct Simulated {
        random: StdRng,
        /// Offsets, and what markers and beginnings say; orders' states say nothing.
        records: Vec<(Offset, Option<BeginningsRead>)>,
        end: Offset,
        /// The epochs of the owners.
        owners: Vec<u64>,
    }

    impl Simulated {
        fn new(seed: u64) -> Self {
            Self { random: StdRng::seed_from_u64(seed), records: Vec::new(), end: 0, owners: Vec::new() }
        }

        fn append(&mut self, read: Option<BeginningsRead>) {
            self.records.push((self.end, read));
            self.end += 1;
        }

        /// Reads from `next` on; fails if the topic is not whole.
        fn read(&self, next: Offset, known: KnownBeginnings) -> Result<KnownBeginnings, JournalError> {
            let is_first = |first: Witness| {
                let has_mark = |read: &Option<BeginningsRead>| read.and_then(|read| read.number) == Some(first.mark);
                self.records.iter().any(|(offset, read)| *offset == first.offset && has_mark(read))
            };
            if known.first.is_some_and(|first| !is_first(first)) {
                return Err(not_whole(STATES, "another one".to_owned()));
            }
            let mut check = BeginningsCheck::new(STATES, next, known);
            for (offset, read) in self.records.iter().filter(|(offset, _)| *offset >= next) {
                if let Some(read) = read {
                    check.take_read(*offset, *read)?;
                }
            }
            Ok(check.known())
        }

        /// A new owner restores the shard, and begins.
        fn add_owner(&mut self, epoch: u64) {
            let newest = self.read(0, KnownBeginnings::default()).unwrap().newest;
            let number = self.random.random();
            self.append(Some(BeginningsRead { epoch, number: Some(number), newest }));
            self.owners.push(epoch);
        }

        fn checkpoint(&mut self) {
            let epoch = self.owners[self.random.random_range(0..self.owners.len())];
            self.append(None);
            self.append(Some(BeginningsRead { epoch, number: None, newest: Some(epoch) }));
        }

        /// Removes markers that a newer one replaces or has deleted, but never the newest record.
        fn compact(&mut self) {
            let markers = || self.records.iter().filter_map(|(_, read)| read.filter(|read| read.number.is_none()));
            let newest = markers().map(|read| read.epoch).max();
            let keeps_states: bool = self.random.random();
            let mut kept = self.records.clone();
            let last = |epoch| {
                self.records.iter().rfind(|(_, read)| read.is_some_and(|r| r.epoch == epoch && r.number.is_none()))
            };
            kept.retain(|(offset, read)| match read {
                Some(read) if read.number.is_none() => {
                    let is_last = last(read.epoch).is_some_and(|(last, _)| last == offset);
                    *offset + 1 == self.end || (is_last && Some(read.epoch) == newest)
                }
                Some(_) => true,
                None => keeps_states || *offset + 1 == self.end,
            });
            self.records = kept;
        }

        fn grow(&mut self, steps: u64, epoch: &mut u64) {
            for _ in 0..steps {
                match self.random.random_range(0..8) {
                    0 | 1 => {
                        *epoch += self.random.random_range(1..5);
                        self.add_owner(*epoch);
                    }
                    2 => self.compact(),
                    _ if self.owners.is_empty() => {}
                    _ => self.checkpoint(),
                }
            }
        }
    }

    #[test]
    fn a_whole_topic_is_never_refused_and_one_that_lost_records_always() {
        let (mut lost, mut cut) = (0, 0);
        for seed in 0..SEEDS {
            let (mut topic, mut epoch) = (Simulated::new(seed), 0);
            let steps = topic.random.random_range(1..30);
            topic.grow(steps, &mut epoch);
            let (next, known) = (topic.end, topic.read(0, KnownBeginnings::default()).unwrap());
            topic.grow(steps, &mut epoch);
            topic.read(next, known).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if known.first.is_none() {
                continue;
            }

            // Without its newest records, it grows beyond the earlier end by other owners.
            let end = topic.random.random_range(0..next);
            topic.records.retain(|(offset, _)| *offset < end);
            (topic.end, topic.owners) = (end, Vec::new());
            epoch += 1;
            topic.add_owner(epoch);
            while topic.end <= next + 1 {
                topic.grow(1, &mut epoch);
            }
            assert!(topic.read(next, known).is_err(), "seed {seed}: lost the records from {end} to {next}");
            lost += 1;

            // Without its oldest records, by a reader that has read nothing.
            let beginnings = topic.records.iter().filter(|(_, read)| read.is_some_and(|read| read.number.is_some()));
            if beginnings.count() > 1 {
                let first = topic.records.iter().position(|(_, read)| read.is_some_and(|read| read.number.is_some()));
                topic.records.drain(..=first.unwrap());
                assert!(topic.read(0, KnownBeginnings::default()).is_err(), "seed {seed}: cut");
                cut += 1;
            }
        }
        assert!(lost > SEEDS / 2 && cut > SEEDS / 4, "{lost} and {cut} topics lost records");
    }
}
