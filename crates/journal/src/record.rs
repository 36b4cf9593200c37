//! Entries to append, the records that readers get, and the positions of readers, with the size
//! limits that every implementation checks.

use std::fmt;

use bytes::Bytes;

use crate::topic::Offset;

/// The largest entry that an append accepts: key and value together, in bytes.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// The longest metadata of a position, in bytes. Brokers accept at most 4,096 characters of
/// metadata, and base64 turns three bytes into four characters.
pub const POSITION_METADATA_BYTES_MAX: usize = 3_072;

const _: () = assert!(POSITION_METADATA_BYTES_MAX.div_ceil(3) * 4 <= 4_096);

/// A key and a value to append. A compacted topic keeps the newest entry of each key; an entry
/// without a value removes the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Empty on topics that are not compacted.
    pub key: Bytes,
    /// Absent only on a compacted topic.
    pub value: Option<Bytes>,
}

impl Entry {
    /// An entry for a topic that is not compacted.
    pub fn plain(value: impl Into<Bytes>) -> Self {
        Self { key: Bytes::new(), value: Some(value.into()) }
    }

    /// Key and value together, in bytes; an append accepts at most [`ENTRY_BYTES_MAX`].
    pub fn byte_len(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Entry {
    /// Prints lengths only: a record may hold a card token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map(Bytes::len);
        f.debug_struct("Entry").field("key_bytes", &self.key.len()).field("value_bytes", &value).finish()
    }
}

/// Fails if an entry is too large, so that the whole append must be refused; the error is the
/// reason.
pub fn check_entries(entries: &[Entry]) -> Result<(), String> {
    match entries.iter().map(Entry::byte_len).find(|bytes| *bytes > ENTRY_BYTES_MAX) {
        Some(bytes) => Err(format!("the entry has {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed")),
        None => Ok(()),
    }
}

/// An entry read from a partition, with its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the partition.
    pub offset: Offset,
    /// The entry exactly as it was appended.
    pub entry: Entry,
}

/// The position of a reader, with the metadata that it needs to continue from there (protocol rule
/// P6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the next record to read.
    pub next: Offset,
    /// Stored together with the offset; at most [`POSITION_METADATA_BYTES_MAX`] bytes.
    pub metadata: Bytes,
}

impl Position {
    /// Fails if the metadata is too long to be stored; the error is the reason.
    pub fn check(&self) -> Result<(), String> {
        let bytes = self.metadata.len();
        if bytes <= POSITION_METADATA_BYTES_MAX {
            return Ok(());
        }
        Err(format!("the position's metadata has {bytes} bytes, at most {POSITION_METADATA_BYTES_MAX} are allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_key_or_value() {
        let entry = Entry { key: Bytes::from_static(b"SECRET"), value: Some(Bytes::from_static(b"22SECRET")) };
        let printed = format!("{:?} {:#?}", Record { offset: 7, entry: entry.clone() }, [entry]);
        assert!(printed.contains("key_bytes: 6, value_bytes: Some(8)") && !printed.contains("SECRET"), "{printed}");
        assert!(!printed.contains("83, 69"), "{printed}");
    }
}
