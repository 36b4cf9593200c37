//! The records that were fetched for one reader and that it has not taken yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::sync::Notify;

use super::MESSAGE_BYTES_MAX;
use crate::{Record, kafka::lock};

/// Size of a reader's buffer, in bytes, above which fetching its partition pauses. The buffer can
/// exceed this only by what was requested by then.
pub(super) const BUFFER_BYTES_MAX: usize = 4 << 20;

// Fetching resumes when a buffer is less than half full, so half of it must have room for the
// largest message.
const _: () = assert!(BUFFER_BYTES_MAX / 2 > MESSAGE_BYTES_MAX);

/// The buffer of one reader.
#[derive(Default)]
pub(super) struct Buffer {
    content: Mutex<BufferContent>,
    more: Notify,
}

#[derive(Default)]
struct BufferContent {
    records: VecDeque<Record>,
    bytes: usize,
    /// Since when fetching pauses, because the buffer is full.
    paused_since: Option<Instant>,
    stop: Option<Stop>,
}

/// Why no further record comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The partition cannot be read at present; it may be possible later.
    Failed(Arc<str>),
    /// The log lacks records that were read, or that should follow.
    NotWhole(Arc<str>),
    /// The next records are compressed, which only the client library reads.
    Compressed,
}

/// What a reader takes at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Records(Vec<Record>),
    Stop(Stop),
    Nothing,
}

impl Buffer {
    /// Adds a record; `pause` is called when the buffer has become full, and returns whether
    /// fetching pauses.
    pub(super) fn push(&self, record: Record, pause: impl FnOnce() -> bool) {
        let mut content = lock(&self.content);
        content.bytes += record.entry.byte_len();
        content.records.push_back(record);
        if content.bytes > BUFFER_BYTES_MAX && content.paused_since.is_none() && pause() {
            content.paused_since = Some(Instant::now());
        }
    }

    /// Wakes the reader.
    pub(super) fn wake(&self) {
        self.more.notify_one();
    }

    /// Lets the reader stop after the records in the buffer.
    pub(super) fn stop(&self, reason: Stop) {
        lock(&self.content).stop = Some(reason);
        self.wake();
    }

    /// Since when nothing is fetched for this buffer, if that is so.
    pub(super) fn paused_since(&self) -> Option<Instant> {
        lock(&self.content).paused_since
    }

    /// Whether the reader has not heard yet why it must stop.
    pub(super) fn has_stop(&self) -> bool {
        lock(&self.content).stop.is_some()
    }

    /// Takes at most `max` records, or why there are none. When the buffer has room again, it calls
    /// `resume`, which returns whether fetching goes on; returns whether it did.
    pub(super) fn take(&self, max: usize, resume: impl FnOnce() -> bool) -> (Taken, bool) {
        let mut content = lock(&self.content);
        let count = content.records.len().min(max);
        let records: Vec<Record> = content.records.drain(..count).collect();
        content.bytes -= records.iter().map(|record| record.entry.byte_len()).sum::<usize>();
        let has_room = content.paused_since.is_some() && content.bytes < BUFFER_BYTES_MAX / 2;
        let is_resumed = has_room && resume();
        if is_resumed {
            content.paused_since = None;
        }
        let taken = match (records.is_empty(), &content.stop) {
            (false, _) => Taken::Records(records),
            (true, Some(Stop::Failed(_))) => content.stop.take().map_or(Taken::Nothing, Taken::Stop),
            (true, Some(stop)) => Taken::Stop(stop.clone()),
            (true, None) => Taken::Nothing,
        };
        (taken, is_resumed)
    }

    /// Waits until there may be something to take.
    pub(super) async fn changed(&self) {
        self.more.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn record(offset: u64, bytes: usize) -> Record {
        Record { offset, entry: Entry::plain(vec![0; bytes]) }
    }

    #[test]
    fn a_full_buffer_pauses_until_it_is_half_empty() {
        let buffer = Buffer::default();
        let mut pauses = 0;
        for offset in 0..6 {
            buffer.push(record(offset, 1 << 20), || {
                pauses += 1;
                true
            });
        }
        assert_eq!((pauses, buffer.paused_since().is_some()), (1, true), "5 of 4 MiB");
        let resumed: Vec<bool> = (0..6).map(|_| buffer.take(1, || true).1).collect();
        assert_eq!(resumed, [false, false, false, false, true, false]);
    }

    #[test]
    fn what_cannot_pause_or_resume_is_tried_again() {
        let buffer = Buffer::default();
        buffer.push(record(0, 5 << 20), || false);
        assert_eq!(buffer.paused_since(), None);
        buffer.push(record(1, 1), || true);
        assert!(buffer.paused_since().is_some());
        assert!(!buffer.take(1, || false).1 && buffer.paused_since().is_some());
        assert!(buffer.take(1, || true).1 && buffer.paused_since().is_none());
    }

    #[test]
    fn a_reader_stops_after_the_records_before_and_only_a_failure_is_forgotten() {
        for (stop, again) in [
            (Stop::Failed("down".into()), Taken::Nothing),
            (Stop::NotWhole("short".into()), Taken::Stop(Stop::NotWhole("short".into()))),
            (Stop::Compressed, Taken::Stop(Stop::Compressed)),
        ] {
            let buffer = Buffer::default();
            buffer.push(record(7, 1), || true);
            buffer.stop(stop.clone());
            assert_eq!(buffer.take(9, || true).0, Taken::Records(vec![record(7, 1)]));
            assert_eq!(buffer.take(9, || true).0, Taken::Stop(stop));
            assert_eq!(buffer.take(9, || true).0, again);
        }
    }
}
