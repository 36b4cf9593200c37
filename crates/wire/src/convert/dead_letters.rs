//! The records of `dead-letters`: log records that could not be used, kept for an operator.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use twqr_types::UnixMs;

use super::fault::{RecordFault, check_version};
use crate::{RECORD_VERSION, bus};

/// How much of an unusable record is kept, in bytes: the dead letter must itself be small enough
/// for the journal.
const PAYLOAD_BYTES_MAX: usize = 512 * 1024;

/// A log record that could not be used.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic in which the record is.
    pub topic: String,
    /// The record's partition within the topic.
    pub partition: u32,
    /// The record's offset within the partition.
    pub offset: u64,
    /// The record's bytes, which may contain a card token.
    pub payload: Bytes,
    /// The reason why it could not be used; must not contain a part of the payload.
    pub reason: String,
    /// When the dead letter was written, by its writer's clock.
    pub at: UnixMs,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("payload_bytes", &self.payload.len())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Writes a dead letter. A payload that is too long is cut, and the reason then says so.
pub fn encode_dead_letter(letter: &DeadLetter) -> Bytes {
    let payload = letter.payload.slice(..letter.payload.len().min(PAYLOAD_BYTES_MAX));
    let cut = if payload.len() < letter.payload.len() {
        format!("; only the first {} of {} bytes are kept", payload.len(), letter.payload.len())
    } else {
        String::new()
    };
    let record = bus::DeadLetter {
        version: RECORD_VERSION,
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        payload,
        reason: format!("{}{cut}", letter.reason),
        at_ms: letter.at.0,
    };
    record.encode_to_vec().into()
}

/// Reads a dead letter.
pub fn decode_dead_letter(bytes: Bytes) -> Result<DeadLetter, RecordFault> {
    let record = bus::DeadLetter::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    Ok(DeadLetter {
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        payload: record.payload,
        reason: record.reason,
        at: UnixMs(record.at_ms),
    })
}
