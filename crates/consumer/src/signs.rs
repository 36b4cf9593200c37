//! The signs of life of a holder: small records that show other processes that the loop which does
//! the work still runs (protocol rule P4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use twqr_journal::{Ack, Entry, Journal, Offset, Partition, Topic};
use twqr_order::{Alive, HoldRecord, PROTOCOL_VERSION_NEWEST, Process};
use twqr_service::Clock;
use twqr_wire::convert::HeldTopic;

/// The time between two signs of life.
const SIGN: Duration = Duration::from_millis(250);
/// The shortest time between two signs, however many doubts there are.
const SIGN_SPACING: Duration = Duration::from_millis(20);

/// The protocol version from which on holders show signs of life.
const SINCE_PROTOCOL: u32 = 1;

/// Writes the records by which a process shares one partition.
#[derive(Clone)]
pub(crate) struct HoldWriter {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) partition: Partition,
    pub(crate) me: Process,
}

impl HoldWriter {
    pub(crate) fn topic(&self) -> HeldTopic {
        if self.partition.topic == Topic::Orders { HeldTopic::Orders } else { HeldTopic::Tasks }
    }

    /// Appends a record. Whether it is in the log is seen by reading it, so the acknowledgement may
    /// be dropped.
    pub(crate) fn append(&self, hold: HoldRecord) -> Ack {
        let record = self.topic().encode_hold(self.clock.now(), hold);
        self.journal.append(self.partition, vec![Entry::plain(record)])
    }
}

/// The signs of life of one holder, which its own loop shows.
pub struct Signs {
    writer: HoldWriter,
    claim: Offset,
    /// Shared with the partition's later holders in this process: signs are never turned off.
    is_on: Arc<AtomicBool>,
    shown_at: Option<Instant>,
    is_doubted: bool,
    is_leaving: bool,
    /// Whether the release was appended; shared with the partition's seat.
    is_released: Arc<AtomicBool>,
}

impl Signs {
    pub(crate) fn new(writer: HoldWriter, claim: Offset, is_on: Arc<AtomicBool>, is_released: Arc<AtomicBool>) -> Self {
        Self { writer, claim, is_on, shown_at: None, is_doubted: false, is_leaving: false, is_released }
    }

    /// Whether signs of life are shown.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Notes a protocol version that was read from the partition; from 1 on, signs are shown if
    /// other processes can take the partition over.
    pub fn note_protocol(&mut self, version: u32) {
        if version >= SINCE_PROTOCOL && self.writer.journal.is_shared() {
            self.is_on.store(true, Ordering::Release);
        }
    }

    /// Waits until the next sign is due; never returns while none are shown, nor after the release.
    pub async fn due(&self) {
        if !self.is_on() || self.is_released() {
            return std::future::pending().await;
        }
        let Some(shown_at) = self.shown_at else { return };
        tokio::time::sleep_until(shown_at + if self.is_doubted { SIGN_SPACING } else { SIGN }).await;
    }

    /// Shows a sign of life; the holder's next record to read is at `position`.
    pub fn show(&mut self, position: Offset) {
        (self.shown_at, self.is_doubted) = (Some(Instant::now()), false);
        let (by, is_leaving) = (self.writer.me.clone(), self.is_leaving);
        let protocol_known = PROTOCOL_VERSION_NEWEST;
        let alive = Alive { claim: self.claim, position, by, is_leaving, protocol_known };
        drop(self.writer.append(HoldRecord::Alive(alive)));
    }

    /// Makes a sign due at once, since another process doubts the holder.
    pub fn answer_doubt(&mut self) {
        self.is_doubted = true;
    }

    /// From here on the signs invite other processes to declare their intent.
    pub fn leave(&mut self) {
        (self.is_leaving, self.shown_at) = (true, None);
    }

    /// Whether the signs invite other processes to declare their intent, although the holder does
    /// not leave: it cannot do all of its work, and another process may be able to.
    pub fn invite(&mut self, invites: bool) {
        self.is_leaving = invites;
    }

    /// Whether this is another process.
    pub fn is_other(&self, by: &Process) -> bool {
        by.nonce != self.writer.me.nonce
    }

    /// The random number of this process.
    pub fn process_nonce(&self) -> u64 {
        self.writer.me.nonce
    }

    /// Whether the release was appended.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    /// Appends the release of the holder's claim.
    pub fn release(&mut self) -> Ack {
        self.is_released.store(true, Ordering::Release);
        self.writer.append(HoldRecord::Release { claim: self.claim })
    }

    /// Runs `work`, and shows signs of life meanwhile.
    pub async fn during<T>(&mut self, position: Offset, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.due() => self.show(position),
                done = &mut work => return done,
            }
        }
    }
}
