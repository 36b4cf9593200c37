//! One partition of a process: watches it while another process holds it, claims it when that
//! holder is dead or releases it, and then runs the holder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tracing::{info, warn};
use twqr_journal::{JournalError, Offset, Partition, Record, Topic};
use twqr_order::HoldRecord;
use twqr_service::{Backoff, CancellationToken, Part, StallWatch};

use crate::{
    doubles::Doubles,
    holders::{Holders, Seen},
    patience::Patience,
    signs::{HoldWriter, Signs},
    watch::{Action, Known, Watch},
};

/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// How many records before the end a watch reads first: they may tell who holds the partition.
const LOOK_BACK: u64 = 64;
/// The time between two decisions of the watch.
const DECIDE: Duration = Duration::from_millis(50);
/// How long a claim may take until it is read back. After that the watch continues; a claim that
/// lands later is recognised.
const CLAIM_READ_BACK: Duration = Duration::from_secs(2);
/// The first pause after a failure, in ms; it doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 5_000;
/// The pause before a partition is checked again that must not be claimed.
const CHECK_AGAIN: Duration = Duration::from_secs(5);
/// How long a process that has lost or released its partition does not ask for it, although the
/// group still assigns it.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A partition that this process has claimed.
pub struct Held {
    /// The partition that is held.
    pub partition: Partition,
    /// The offset of our claim.
    pub claim: Offset,
    /// Must be shown by the loop that does the holder's work.
    pub signs: Signs,
    /// Fires when the process shuts down; without signs of life also when the group no longer
    /// assigns the partition to this process.
    pub stop: CancellationToken,
    /// Where the holder reports whether it is ready.
    pub part: Part,
    /// Detects that the holder stalls; shared by all holders of the partition in this process.
    pub stall_watch: StallWatch,
}

/// How a holder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It failed; this process claims the partition again, unless another one does.
    Failed,
    /// Another process has the partition, or may have it: it was released or claimed.
    Lost,
    /// Our claim does not count, or is not known to.
    Void {
        /// The newest claim that counts, if it is known. Otherwise our next claim replaces none, so
        /// that it counts in any case.
        newest: Option<Offset>,
    },
    /// This process must not hold the partition again.
    Final,
}

/// Whether this process should leave partitions to others for now: it then takes only those that no
/// other process takes.
pub type Yields = Arc<dyn Fn() -> bool + Send + Sync>;

/// The role of this process at one partition: watcher, claimant or holder.
pub(crate) struct Seat {
    writer: HoldWriter,
    /// Whether the group assigns the partition to this process.
    assigned: watch::Receiver<bool>,
    shutdown: CancellationToken,
    doubles: Doubles,
    holders: Arc<Holders>,
    yields: Yields,
    /// Whether signs of life are shown on the partition.
    signs_on: Arc<AtomicBool>,
    /// The nonces of our claims that were not read back yet.
    pending: Vec<u64>,
    /// When this process asks for the partition again.
    ask_after: Option<Instant>,
    /// Whether the next claim must count in any case.
    claims_always: bool,
    patience: Patience,
    stall_watch: StallWatch,
}

impl Seat {
    pub(crate) fn new(
        writer: HoldWriter,
        assigned: watch::Receiver<bool>,
        shutdown: CancellationToken,
        doubles: Doubles,
        holders: Arc<Holders>,
        yields: Yields,
    ) -> Self {
        Self {
            writer,
            assigned,
            shutdown,
            doubles,
            holders,
            yields,
            signs_on: Arc::default(),
            pending: Vec::new(),
            ask_after: None,
            claims_always: false,
            patience: Patience::default(),
            stall_watch: StallWatch::default(),
        }
    }

    /// Watches, claims and holds the partition until shutdown. `part` is where the holder reports;
    /// it exists while the partition is assigned or held.
    pub(crate) async fn keep<F, C, E>(
        mut self,
        part: impl Fn() -> Part,
        check: impl Fn() -> C,
        hold: impl Fn(Held) -> F,
    ) where
        F: Future<Output = HoldEnd> + Send,
        C: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display,
    {
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        let mut known = Known { is_vacant: !self.writer.journal.is_shared(), ..Known::default() };
        let mut reported: Option<Part> = None;
        while !self.shutdown.is_cancelled() {
            known.shows_signs = self.signs_on.load(Ordering::Acquire);
            // Not kept across an await: it need not be `Send`.
            let refused = check().await.err().map(|error| error.to_string());
            if let Some(error) = refused {
                warn!(partition = %self.writer.partition, error, "the partition is not claimed");
                self.saw(Seen::Refused);
                if self.is_wanted() {
                    reported.get_or_insert_with(&part).not_ready(error);
                }
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = tokio::time::sleep(CHECK_AGAIN) => {}
                }
                continue;
            }
            let claimed = self.until_claimed(known, &part, &mut reported).await;
            let claim = match claimed {
                Ok(Some(claim)) => claim,
                Ok(None) => break,
                Err(error) => {
                    warn!(partition = %self.writer.partition, %error, "the partition cannot be watched; trying again");
                    self.saw(Seen::Nothing);
                    self.pause(&mut backoff).await;
                    continue;
                }
            };
            let began = Instant::now();
            let reports = reported.get_or_insert_with(&part).clone();
            self.saw(Seen::Here);
            let ended = self.hold(claim, reports.clone(), &hold).await;
            self.saw(if ended == HoldEnd::Lost { self.other_has_it() } else { Seen::Nothing });
            known = Known { newest: Some(claim), ..Known::default() };
            match ended {
                HoldEnd::Final => return,
                HoldEnd::Failed => known.is_vacant = true,
                HoldEnd::Lost if self.signs_on.load(Ordering::Acquire) => {
                    self.ask_after = Some(Instant::now() + ASK_AGAIN);
                }
                HoldEnd::Lost => {}
                HoldEnd::Void { newest } => (known.newest, self.claims_always) = (newest, newest.is_none()),
            }
            if self.shutdown.is_cancelled() {
                break;
            }
            if ended == HoldEnd::Lost {
                // Another process has it and reports about it.
                if let Some(part) = reported.take() {
                    part.remove();
                }
            } else {
                reports.not_ready("claiming the partition again");
            }
            if began.elapsed() > Duration::from_millis(PAUSE_MS_MAX) {
                backoff.reset();
            }
            if ended != HoldEnd::Lost {
                self.pause(&mut backoff).await;
            }
        }
        if let Some(part) = reported {
            part.remove();
        }
    }

    /// Notes what is known about the partition's holder.
    fn saw(&self, seen: Seen) {
        self.holders.set(self.writer.partition.index, seen);
    }

    /// The knowledge about the holder once another process has claimed the partition.
    fn other_has_it(&self) -> Seen {
        if self.signs_on.load(Ordering::Acquire) { Seen::Life(Instant::now()) } else { Seen::Claimed }
    }

    async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }

    /// Runs the holder of our claim.
    async fn hold<F>(&mut self, claim: Offset, part: Part, hold: &impl Fn(Held) -> F) -> HoldEnd
    where
        F: Future<Output = HoldEnd> + Send,
    {
        let stop = self.shutdown.child_token();
        let is_released = Arc::<AtomicBool>::default();
        let signs = Signs::new(self.writer.clone(), claim, self.signs_on.clone(), is_released.clone());
        let (partition, stall_watch) = (self.writer.partition, self.stall_watch.clone());
        let holding = hold(Held { partition, claim, signs, stop: stop.clone(), part, stall_watch });
        tokio::pin!(holding);
        loop {
            let is_unwanted = !*self.assigned.borrow_and_update() && !self.signs_on.load(Ordering::Acquire);
            if is_unwanted {
                stop.cancel();
            }
            tokio::select! {
                ended = &mut holding => {
                    if ended == HoldEnd::Lost && !is_released.load(Ordering::Acquire) {
                        self.patience.note_replaced(Instant::now());
                    }
                    return ended;
                }
                Ok(()) = self.assigned.changed() => {}
            }
        }
    }

    /// Watches the partition until this process has claimed it; `None` at shutdown.
    async fn until_claimed(
        &mut self,
        known: Known,
        part: &impl Fn() -> Part,
        reported: &mut Option<Part>,
    ) -> Result<Option<Offset>, JournalError> {
        let (journal, partition) = (self.writer.journal.clone(), self.writer.partition);
        let (start, end) = (journal.start(partition).await?, journal.end(partition).await?);
        let mut view = View { next: start.max(end.saturating_sub(LOOK_BACK)), end_at_start: end };
        let mut reader = journal.follower(partition, view.next).await?;
        let known = Known { is_vacant: known.is_vacant || end == 0, ..known };
        let mut watch = Watch::begin(Instant::now(), self.writer.me.clone(), partition, known);
        let mut decide = tokio::time::interval(DECIDE);
        decide.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // While it is set, our claim is on its way.
        let mut claiming_until: Option<Instant> = None;
        loop {
            let is_wanted = self.is_wanted();
            watch.want(Instant::now(), is_wanted);
            watch.set_yields((self.yields)());
            watch.set_patience(self.patience.factor(Instant::now()));
            if is_wanted {
                reported.get_or_insert_with(part);
            } else if let Some(part) = reported.take() {
                part.remove();
            }
            tokio::select! {
                () = self.shutdown.cancelled(), if claiming_until.is_none() => return Ok(None),
                Ok(()) = self.assigned.changed() => self.ask_after = None,
                records = reader.next(BATCH_RECORDS_MAX) => {
                    if let Some(claim) = self.read(records?, &mut watch, &mut view) {
                        return Ok(Some(claim));
                    }
                }
                _ = decide.tick() => {}
            }
            let now = Instant::now();
            if watch.take_answered() {
                self.patience.note_answered(now);
            }
            let has_read = view.next >= view.end_at_start;
            if has_read {
                self.holders.read_to_end(self.writer.partition.index, now);
            }
            let may_decide = has_read && !self.must_not_claim();
            if claiming_until.is_none_or(|until| now >= until) && may_decide {
                claiming_until = self.act(watch.decide(now), now);
            }
        }
    }

    /// Whether the clock of this process is too wrong for the tasks of the partition: the holder
    /// compares it with their times. On `orders` a holder compares it with nothing.
    fn must_not_claim(&self) -> bool {
        self.writer.partition.topic != Topic::Orders && self.writer.clock.is_skewed()
    }

    fn is_wanted(&mut self) -> bool {
        *self.assigned.borrow_and_update() && self.ask_after.is_none_or(|after| Instant::now() >= after)
    }

    /// Gives the records to the watch; returns our claim once it was read and counts.
    fn read(&mut self, records: Vec<Record>, watch: &mut Watch, view: &mut View) -> Option<Offset> {
        let (now, topic) = (Instant::now(), self.writer.topic());
        let mut own = None;
        for record in records {
            view.next = record.offset + 1;
            let Some(hold) = record.entry.value.as_ref().and_then(|value| topic.decode_hold(value)) else { continue };
            let counts = watch.read(now, record.offset, &hold);
            match &hold {
                HoldRecord::Claim { nonce, .. } if self.pending.contains(nonce) => {
                    self.pending.retain(|pending| pending != nonce);
                    own = counts.then_some(record.offset);
                }
                // Another claim that counts: ours is superseded already.
                HoldRecord::Claim { .. } if counts => {
                    own = None;
                    if record.offset >= view.end_at_start {
                        self.saw(self.other_has_it());
                    }
                }
                HoldRecord::Alive(alive) => {
                    self.signs_on.store(self.writer.journal.is_shared(), Ordering::Release);
                    if record.offset >= view.end_at_start {
                        self.doubles.note(now, &alive.by);
                        self.saw(Seen::Life(now));
                    }
                }
                HoldRecord::Claim { .. }
                | HoldRecord::Release { .. }
                | HoldRecord::Intent(_)
                | HoldRecord::Doubt(_) => {}
            }
        }
        own
    }

    /// Does what the watch decided. After a claim, returns until when to wait for it.
    fn act(&mut self, action: Action, now: Instant) -> Option<Instant> {
        let partition = self.writer.partition;
        match action {
            Action::Wait => None,
            Action::Doubt => {
                info!(%partition, "the holder shows no sign of life; appending a doubt");
                drop(self.writer.append(HoldRecord::Doubt(self.writer.me.clone())));
                None
            }
            Action::Intend => {
                drop(self.writer.append(HoldRecord::Intent(self.writer.me.clone())));
                None
            }
            Action::Claim { replaces } => {
                let replaces = replaces.filter(|_| !std::mem::take(&mut self.claims_always));
                let nonce = rand::rng().random();
                self.pending.push(nonce);
                drop(self.writer.append(HoldRecord::Claim { owner: self.writer.me.name.clone(), nonce, replaces }));
                Some(now + CLAIM_READ_BACK)
            }
        }
    }
}

/// The position of a watch.
struct View {
    next: Offset,
    /// The end of the partition when the watch began: records before it are no news.
    end_at_start: Offset,
}

#[cfg(test)]
mod tests;
