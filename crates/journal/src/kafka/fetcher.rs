//! Reads records, with one of two kinds of fetchers that behave alike. Both move records into the
//! readers' buffers (`buffer.rs`).
//!
//! `direct.rs` asks each broker for the records of all partitions in one request. The client
//! library (`library.rs`) costs more CPU time; it is used if properties of the library are
//! configured, such as TLS and SASL, and for partitions with compressed records.

mod buffer;
mod direct;
mod library;
mod reader;

use std::sync::Arc;

use super::client::{Client, MESSAGE_BYTES_MAX};
use crate::{JournalError, Offset, Partition};
use buffer::Buffer;
use direct::DirectFetcher;
use library::LibraryFetchers;

#[doc(hidden)]
pub use direct::fuzz_records;
pub(super) use reader::KafkaReader;

/// How long the broker waits for a first record before it answers, in ms.
const PROMPT_WAIT_MS: u32 = 100;
/// For how many bytes of records the broker waits, and for how long, in ms, where readers are not
/// in a hurry.
const GATHERED_BYTES: u32 = 64 << 10;
const GATHERING_MS: u32 = 50;

/// When the broker answers a fetcher's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// With the first record.
    Prompt,
    /// With [`GATHERED_BYTES`] of records, or what there is after [`GATHERING_MS`].
    Gathering,
}

impl Pace {
    /// For how many bytes the broker waits, and for how many ms.
    fn wait(self) -> (u32, u32) {
        match self {
            Self::Prompt => (1, PROMPT_WAIT_MS),
            Self::Gathering => (GATHERED_BYTES, GATHERING_MS),
        }
    }
}

/// All fetchers of a process.
pub(super) struct Fetchers {
    library: LibraryFetchers,
    direct: Option<DirectFetcher>,
}

/// The part of a fetcher that fills one reader's buffer; dropping it ends that.
trait Source: Send + Sync {
    /// Called under the buffer's lock when the full buffer has room again. Returns whether fetching
    /// goes on.
    fn resume(&self) -> bool;

    /// Called after `resume`, without the lock.
    fn resumed(&self) {}
}

impl Fetchers {
    /// Starts what the fetchers need. Must be called on a runtime.
    pub(super) fn new(client: Arc<Client>) -> Arc<Self> {
        let settings = &client.settings;
        let direct = settings.properties.is_empty().then(|| DirectFetcher::start(settings, client.member()));
        Arc::new(Self { library: LibraryFetchers::new(client), direct })
    }

    /// Starts to fetch a partition.
    pub(super) fn open(
        self: &Arc<Self>,
        partition: Partition,
        from: Offset,
        pace: Pace,
    ) -> Result<KafkaReader, JournalError> {
        let (buffer, source) = match &self.direct {
            Some(direct) => direct.open(partition, from, pace),
            None => self.library.open(partition, from, pace)?,
        };
        Ok(KafkaReader { fetchers: self.clone(), partition, pace, next: from, buffer, source })
    }

    /// Lets the client library fetch a partition from here on.
    fn open_with_library(
        &self,
        partition: Partition,
        from: Offset,
        pace: Pace,
    ) -> Result<(Arc<Buffer>, Box<dyn Source>), JournalError> {
        self.library.open(partition, from, pace)
    }
}
