//! Encodes messages of one partition as a batch, the unit that a broker writes and recognises.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    records::{Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

use crate::Entry;

/// The largest size that the protocol adds to an entry, in bytes.
pub(super) const RECORD_OVERHEAD: usize = 64;

/// By what a broker recognises a batch that it has already written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer: i64,
    pub(super) epoch: i16,
    /// The number of the next message.
    pub(super) next: i32,
}

impl Identity {
    /// The identity after so many messages. Numbers begin again at 0 after the largest.
    pub(super) fn after(self, messages: usize) -> Self {
        let sum = i64::from(self.next) + i64::try_from(messages).unwrap_or(i64::MAX);
        let next = i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0);
        Self { next, ..self }
    }
}

/// Encodes the entries under this identity.
pub(super) fn encode<'a>(entries: impl Iterator<Item = &'a Entry>, identity: Identity) -> Result<Bytes, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let timestamp = i64::try_from(now).unwrap_or(i64::MAX);
    let records: Vec<Record> =
        (0_i32..).zip(entries).map(|(index, entry)| record(entry, index, identity, timestamp)).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).map_err(|error| error.to_string())?;
    Ok(bytes.freeze())
}

fn record(entry: &Entry, index: i32, identity: Identity, timestamp: i64) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: identity.producer,
        producer_epoch: identity.epoch,
        timestamp_type: TimestampType::Creation,
        offset: index.into(),
        sequence: identity.next.wrapping_add(index),
        timestamp,
        key: (!entry.key.is_empty()).then(|| entry.key.clone()),
        value: entry.value.clone(),
        headers: IndexMap::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    #[test]
    fn a_batch_holds_keys_values_and_numbers_in_order() {
        let entries = [
            Entry { key: Bytes::from_static(b"key"), value: None },
            Entry::plain("value"),
            Entry { key: Bytes::from_static(b"key"), value: Some(Bytes::from_static(b"")) },
        ];
        for next in [0, 7, i32::MAX - 3] {
            let identity = Identity { producer: 5, epoch: 2, next };
            let mut bytes = encode(entries.iter(), identity).unwrap();
            let read = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
            let expected: Vec<_> = entries
                .iter()
                .zip(next..)
                .map(|(entry, number)| {
                    (5, 2, number, (!entry.key.is_empty()).then(|| entry.key.clone()), entry.value.clone())
                })
                .collect();
            let found: Vec<_> = read
                .into_iter()
                .map(|record| (record.producer_id, record.producer_epoch, record.sequence, record.key, record.value))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn numbers_begin_again_after_the_largest() {
        let at = |next| Identity { producer: 1, epoch: 0, next };
        for (next, messages, after) in [(0, 3, 3), (i32::MAX, 1, 0), (i32::MAX - 1, 3, 1)] {
            assert_eq!(at(next).after(messages), at(after));
        }
    }
}
