//! Reads the topic `callers` from its first record on, and keeps the resulting callers in memory.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tracing::{error, info, warn};
use twqr_callers::{Book, Caller, CallerChange, CallerName};
use twqr_journal::{Journal, JournalError, Offset, Partition, Record, Topic};
use twqr_service::{Backoff, Health, Part};
use twqr_wire::convert::decode_caller_change;

use crate::metrics;

/// The partition with the changes of callers.
pub const CALLERS: Partition = Partition { topic: Topic::Callers, index: 0 };

/// How often the end of the topic is compared with what is read, in ms: a reader that is cut off
/// from the log may wait for ever.
const CHECK_MS: u64 = 5_000;
/// How long the answer to one such question may take, in ms.
const QUESTION_MS: u64 = 15_000;
/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// The shortest and the longest pause after a failure, in ms.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 2_000;

/// The callers in force, as a follower has read them; absent until it has read all of them.
#[derive(Clone, Debug)]
pub struct CallersView(watch::Receiver<Option<Arc<Book>>>);

impl CallersView {
    /// The callers now; `None` if they have not been read yet.
    pub fn now(&self) -> Option<Arc<Book>> {
        self.0.borrow().clone()
    }

    /// Waits until the callers have been read. Returns at once if the follower has ended.
    pub async fn read(&mut self) {
        drop(self.0.wait_for(Option::is_some).await);
    }

    /// Waits until the caller has at least this version. Returns the change in force then.
    pub async fn wait_for(&mut self, name: &CallerName, version: u64) -> Option<CallerChange> {
        let has = |book: &Option<Arc<Book>>| book.as_ref().is_some_and(|book| book.version(name) >= version);
        self.0.wait_for(has).await.ok()?.as_ref()?.get(name).cloned()
    }

    /// Waits for the next change of any caller; for ever if the follower has ended.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Follows the topic `callers`.
pub struct CallersFollower {
    journal: Arc<dyn Journal>,
    part: Part,
    /// The callers so far. They are shown once every record that was there at the start is read.
    book: Book,
    next: Offset,
    /// The reason why changes may be missing permanently; absent if none is missing.
    gap: Option<String>,
    shown: watch::Sender<Option<Arc<Book>>>,
}

impl CallersFollower {
    /// `configured` are the callers of the configuration. The part `callers` of the process is
    /// degraded while changes cannot be read, and from the first on that is missing.
    pub fn new(journal: Arc<dyn Journal>, health: &Health, configured: Vec<Caller>) -> (Self, CallersView) {
        let (shown, view) = watch::channel(None);
        let part = health.side_part(Topic::Callers.name());
        let book = Book::configured(configured);
        (Self { journal, part, book, next: 0, gap: None, shown }, CallersView(view))
    }

    /// Follows until it is dropped.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        loop {
            if let Err(error) = self.follow(&mut backoff).await {
                let pause = backoff.next_pause();
                metrics::read_failure();
                self.part.degraded(format!("changes of callers cannot be read ({error}); trying again"));
                warn!(%error, ?pause, "changes of callers cannot be read; the callers read so far stay in force");
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<(), JournalError> {
        let end = self.journal.end(CALLERS).await?;
        let start = self.journal.start(CALLERS).await?;
        if start > self.next {
            error!(start, next = self.next, "records of callers are missing; a revoked key may be valid again");
            self.gap = Some(format!("the records of callers below {start} are gone"));
            self.next = start;
        }
        let mut reader = self.journal.reader(CALLERS, self.next).await?;
        self.show(end);
        loop {
            let records = tokio::select! {
                records = reader.next(BATCH_RECORDS_MAX) => records?,
                cut_off = cut_off(&*self.journal, self.next) => return Err(cut_off),
            };
            self.next = records.last().map_or(self.next, |record| record.offset + 1);
            let changes: Vec<CallerChange> = records.into_iter().filter_map(|record| self.decode(record)).collect();
            let taken = self.book.take(changes.iter().cloned());
            for (change, is_taken) in changes.iter().zip(taken) {
                let CallerChange { name, version, who, why, .. } = change;
                info!(caller = %name, version, is_taken, %who, %why, "read a change of a caller");
            }
            backoff.reset();
            self.show(end);
        }
    }

    /// The change in a record; `None`, which leaves a gap, if it cannot be read.
    fn decode(&mut self, record: Record) -> Option<CallerChange> {
        let offset = record.offset;
        let decoded = decode_caller_change(record.entry.value.unwrap_or_default());
        let report = |fault: &_| {
            error!(partition = %CALLERS, offset, %fault, "a change of a caller cannot be read");
            metrics::unreadable();
            self.gap = Some(format!("the record {offset} of callers cannot be read"));
        };
        let change = decoded.inspect_err(report).ok()?;
        if !change.is_whole {
            let CallerChange { name, version, .. } = &change;
            error!(partition = %CALLERS, offset, caller = %name, version, "a caller cannot be read in full; it lacks rights here");
            metrics::unreadable();
        }
        Some(change)
    }

    /// Shows the callers, if every record below `end` is read.
    fn show(&self, end: Offset) {
        if self.next >= end {
            match &self.gap {
                Some(gap) => self.part.degraded(format!("{gap}; a revoked key may be accepted: see revoke-a-key.md")),
                None => self.part.ready(),
            }
            self.shown.send_replace(Some(Arc::new(self.book.clone())));
        }
    }
}

/// Waits until a reader that should have read every record below `next`, and reads nothing
/// meanwhile, must be opened again; returns why.
async fn cut_off(journal: &dyn Journal, next: Offset) -> JournalError {
    let failed = |reason: &str| JournalError::Read { partition: CALLERS, reason: reason.into() };
    let mut was_behind = false;
    loop {
        tokio::time::sleep(Duration::from_millis(CHECK_MS)).await;
        let is_behind = match timeout(Duration::from_millis(QUESTION_MS), journal.end(CALLERS)).await {
            Ok(Ok(end)) => end > next,
            Ok(Err(error)) => return error,
            Err(_) => return failed("no answer about its end"),
        };
        if is_behind && was_behind {
            return failed("its reader gets no records");
        }
        was_behind = is_behind;
    }
}

#[cfg(test)]
mod tests;
