//! Reads the batches of records that a broker returns. A batch is as the producer wrote it, or what
//! compaction left of it: without some records, or without any. The first batch may begin before
//! the offset that was asked for, and the last one may be cut off.
//!
//! The decoding library reserves memory for as many records as a batch claims to have, so the
//! records are read here.

use bytes::{Buf, Bytes};

use crate::{Entry, Offset, Record};

/// The bytes of a batch before its length ends, and before its checksum's content begins.
const LENGTH_END: usize = 12;
const CHECKED_FROM: usize = 21;
/// The bytes before the first record.
const HEADER: usize = 61;
/// The only form of batches since Kafka 0.11.
const MAGIC: i8 = 2;
/// Bits of a batch's attributes.
const COMPRESSION: i16 = 0b111;
const CONTROL: i16 = 1 << 5;

/// What an answer has for one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    /// The records from the offset that was asked for on, in order.
    pub(super) records: Vec<Record>,
    /// The offset after them, and after what compaction removed behind them.
    pub(super) next: Offset,
    /// The leader's epoch of the last batch, unless there is none.
    pub(super) epoch: Option<i32>,
    /// Why the rest was not read.
    pub(super) obstacle: Option<Obstacle>,
}

/// Why a batch is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Compressed,
    /// What is wrong with it.
    Damaged(&'static str),
}

const DAMAGED_RECORD: Obstacle = Obstacle::Damaged("a record is damaged");

/// Reads the records from `next` on.
pub(super) fn read(mut bytes: Bytes, next: Offset) -> Fetched {
    let mut fetched = Fetched { records: Vec::new(), next, epoch: None, obstacle: None };
    while let Some(batch) = split_batch(&mut bytes) {
        let read = batch.and_then(|batch| read_batch(&batch, &mut fetched));
        if let Err(obstacle) = read {
            fetched.obstacle = Some(obstacle);
            break;
        }
    }
    fetched
}

/// Takes the first batch; `None` if it is not there as a whole.
fn split_batch(bytes: &mut Bytes) -> Option<Result<Bytes, Obstacle>> {
    let length = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let Ok(length) = usize::try_from(length) else { return Some(Err(Obstacle::Damaged("its length is negative"))) };
    if length < HEADER - LENGTH_END {
        return Some(Err(Obstacle::Damaged("it is too short")));
    }
    (bytes.len() - LENGTH_END >= length).then(|| Ok(bytes.split_to(LENGTH_END + length)))
}

fn read_batch(batch: &Bytes, fetched: &mut Fetched) -> Result<(), Obstacle> {
    let mut header = &batch[..HEADER];
    let first = header.get_i64();
    let _length = header.get_i32();
    let epoch = header.get_i32();
    if header.get_i8() != MAGIC {
        return Err(Obstacle::Damaged("its form is older than Kafka 0.11"));
    }
    if header.get_u32() != crc32c::crc32c(&batch[CHECKED_FROM..]) {
        return Err(Obstacle::Damaged("its checksum is wrong"));
    }
    let attributes = header.get_i16();
    let last = first.checked_add(header.get_i32().into()).and_then(|last| Offset::try_from(last).ok());
    let last = last.ok_or(Obstacle::Damaged("its last offset is negative"))?;
    // Times, producer and its numbers.
    header.advance(8 + 8 + 8 + 2 + 4);
    let count = header.get_i32();
    if last < fetched.next {
        return Ok(());
    }
    // Markers of transactions, which twqr does not use, are no records.
    if attributes & CONTROL == 0 {
        if attributes & COMPRESSION != 0 {
            return Err(Obstacle::Compressed);
        }
        let mut records = batch.slice(HEADER..);
        for _ in 0..count {
            let record = read_record(&mut records, first)?;
            if record.offset > last {
                return Err(DAMAGED_RECORD);
            }
            if record.offset >= fetched.next {
                fetched.next = record.offset + 1;
                fetched.records.push(record);
            }
        }
    }
    fetched.next = fetched.next.max(last + 1);
    fetched.epoch = Some(epoch);
    Ok(())
}

/// Reads a record. Its key and value are copied: otherwise each record would keep the whole answer
/// in memory.
fn read_record(batch: &mut Bytes, first: i64) -> Result<Record, Obstacle> {
    let length = usize::try_from(varint(batch)?).map_err(|_| DAMAGED_RECORD)?;
    if batch.len() < length {
        return Err(DAMAGED_RECORD);
    }
    let mut bytes = batch.split_to(length);
    bytes.try_get_u8().map_err(|_| DAMAGED_RECORD)?;
    let _time = varint(&mut bytes)?;
    let offset = first.checked_add(varint(&mut bytes)?).and_then(|offset| Offset::try_from(offset).ok());
    let (key, value) = (read_bytes(&mut bytes)?, read_bytes(&mut bytes)?);
    // Headers, which twqr does not write, are left.
    let entry = Entry { key: key.unwrap_or_default(), value };
    Ok(Record { offset: offset.ok_or(DAMAGED_RECORD)?, entry })
}

/// Reads bytes after their length; a negative length stands for none.
fn read_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>, Obstacle> {
    let Ok(length) = usize::try_from(varint(bytes)?) else { return Ok(None) };
    let content = bytes.get(..length).map(Bytes::copy_from_slice).ok_or(DAMAGED_RECORD)?;
    bytes.advance(length);
    Ok(Some(content))
}

/// Reads a number of variable length, with its sign in the lowest bit.
fn varint(bytes: &mut Bytes) -> Result<i64, Obstacle> {
    let mut number = 0_u64;
    for shift in (0..10).map(|index| index * 7) {
        let byte = bytes.try_get_u8().map_err(|_| DAMAGED_RECORD)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    Err(DAMAGED_RECORD)
}

/// The entry point of the fuzz target: batches, which are read from offset 0 on. Returns whether
/// all could be read.
///
/// # Panics
///
/// If records are not in order, or would be read again.
pub fn fuzz_records(input: &[u8]) -> bool {
    let fetched = read(Bytes::copy_from_slice(input), 0);
    assert!(fetched.records.is_sorted_by(|one, other| one.offset < other.offset), "records are not in order");
    assert!(fetched.records.last().is_none_or(|last| last.offset < fetched.next), "a record would be read again");
    fetched.obstacle.is_none() && fetched.epoch.is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{
        super::simulated::{batch, stored},
        *,
    };

    fn offsets(fetched: &Fetched) -> Vec<Offset> {
        fetched.records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn records_are_read_from_an_offset_on() {
        let entries = [stored(5, "five"), stored(7, "seven"), stored(8, "eight")];
        let both = [batch(&entries, 9, 3), batch(&[stored(10, "ten")], 10, 4)].concat();
        let cases = [(0, vec![5, 7, 8, 10]), (6, vec![7, 8, 10]), (8, vec![8, 10]), (9, vec![10]), (11, vec![])];
        for (next, expected) in cases {
            let fetched = read(both.clone().into(), next);
            assert_eq!((offsets(&fetched), fetched.next, fetched.obstacle), (expected, 11, None), "from {next}");
        }
        let fetched = read(both.into(), 0);
        assert_eq!(fetched.records[1].entry, entries[1].entry);
        assert_eq!(fetched.epoch, Some(4));
    }

    #[test]
    fn what_compaction_removed_is_passed_over() {
        let fetched = read(batch(&[], 9, 2).into(), 3);
        assert_eq!((offsets(&fetched), fetched.next, fetched.epoch), (vec![], 10, Some(2)));
    }

    #[test]
    fn a_batch_that_was_cut_off_is_read_with_the_next_request() {
        let whole = [batch(&[stored(0, "a")], 0, 1), batch(&[stored(1, "b")], 1, 1)].concat();
        let first = batch(&[stored(0, "a")], 0, 1).len();
        for length in 0..whole.len() {
            let fetched = read(whole[..length].to_vec().into(), 0);
            let expected = u64::from(length >= first);
            assert_eq!((fetched.next, fetched.obstacle), (expected, None), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_damaged_batch_ends_the_records_before_it() {
        let (good, bad) = (batch(&[stored(0, "a")], 0, 1), batch(&[stored(1, "b")], 1, 1));
        // The offset and the epoch in front of the checksum are the broker's own.
        for at in CHECKED_FROM - 5..bad.len() {
            let mut damaged = bad.clone();
            damaged[at] ^= 0x10;
            let fetched = read([good.clone(), damaged].concat().into(), 0);
            assert_eq!((offsets(&fetched), fetched.next), (vec![0], 1), "byte {at}");
            assert!(matches!(fetched.obstacle, Some(Obstacle::Damaged(_))), "byte {at}");
        }
    }

    #[test]
    fn a_batch_that_lies_behind_its_checksum_does_no_harm() {
        for at in CHECKED_FROM..HEADER + 12 {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut lying = batch(&[stored(0, "a"), stored(1, "b")], 1, 1);
                lying[at] = value;
                let checksum = crc32c::crc32c(&lying[CHECKED_FROM..]);
                lying[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
                fuzz_records(&lying);
            }
        }
    }

    #[test]
    fn compressed_batches_and_markers_of_transactions_are_recognised() {
        let with = |attributes: i16| {
            let mut bytes = batch(&[stored(0, "a")], 0, 1);
            bytes[CHECKED_FROM..CHECKED_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
            let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
            bytes[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
            read(bytes.into(), 0)
        };
        assert_eq!(with(4).obstacle, Some(Obstacle::Compressed));
        let marker = with(CONTROL);
        assert_eq!((offsets(&marker), marker.next, marker.obstacle), (vec![], 1, None));
    }
}
