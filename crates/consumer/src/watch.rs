//! Decides when a process claims a partition that it does not hold (protocol rule P4). It depends
//! only on the records and times that it is given, without I/O.
//!
//! A holder shows signs of life from protocol version 1 on. If it shows none for a while, the watch
//! first doubts it in the log: a doubt that was read back proves that the broker and the reader
//! work, and a living holder answers it. Only after that does the process claim the partition. Its
//! claim names the claim that it replaces, so that of several such claims only the first one
//! counts.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::time::Instant;
use twqr_journal::{Offset, Partition};
use twqr_order::{Alive, HoldRecord, Process, claim_counts};

/// How long the holder may show no sign of life before it is doubted.
const SILENCE: Duration = Duration::from_millis(500);
/// How long the holder has to answer a doubt.
const DOUBT: Duration = Duration::from_millis(300);
/// How much longer the next candidate waits before it claims.
const RANK: Duration = Duration::from_millis(150);
/// The range of the random part of a wait. It depends on the process and the partition, so that the
/// partitions of one process that ended go to several others.
const JITTER_MS: u64 = 100;
/// How long a doubt or an intent may take until it is read back; after that it is written again.
const READ_BACK: Duration = Duration::from_secs(1);
/// How long a holder that shows no signs of life, since its protocol version is 0, has to release
/// the partition.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// How long an assigned process waits for a first sign of life before it counts the partition as
/// not held.
const FIRST_SIGN_WAIT: Duration = Duration::from_millis(500);
/// How much longer a process waits that should leave partitions to others: longer than they need to
/// replace a holder.
const YIELD: Duration = Duration::from_secs(2);
/// A watch that was not asked for longer than this was paused itself, and starts again.
const OWN_PAUSE_MAX: Duration = Duration::from_millis(200);

/// The next action of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing for the moment.
    Wait,
    /// Append a doubt.
    Doubt,
    /// Append an intent.
    Intend,
    /// Append a claim.
    Claim { replaces: Option<Offset> },
}

/// The state of the partition when a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The newest claim that counts.
    pub(crate) newest: Option<Offset>,
    /// Whether the partition may be claimed without a wait.
    pub(crate) is_vacant: bool,
    /// Whether the holders of the partition show signs of life.
    pub(crate) shows_signs: bool,
}

/// The watch of one partition by one process that does not hold it.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    me: Process,
    jitter: Duration,
    /// Whether a worker may be asked to release the partition before any sign of life was seen.
    may_intend_early: bool,
    known: Known,
    /// The offset of the first record that was read.
    read_from: Option<Offset>,
    /// When the partition became vacant.
    vacant_at: Option<Instant>,
    /// When the holder showed life, or when this watch began to count again.
    life_at: Instant,
    doubt: Option<OwnDoubt>,
    /// Whether the holder has answered a doubt of ours since that was asked.
    is_answered: bool,
    /// The other processes that have doubted since the last life.
    other_doubters: BTreeSet<u64>,
    first_other_doubt_at: Option<Instant>,
    /// Whether this process claims the partition only if no other one does.
    yields: bool,
    /// How many times as long as usual the holder may be silent.
    patience: u32,
    /// Since when the group assigns the partition to this process.
    wanted_at: Option<Instant>,
    intended_at: Option<Instant>,
    /// The process that declared its intent last.
    last_intent: Option<u64>,
    /// When the holder announced that it leaves.
    leaving_at: Option<Instant>,
    asked_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct OwnDoubt {
    written_at: Instant,
    /// When it was read back, and how many others had doubted before.
    read: Option<(Instant, u32)>,
}

impl Watch {
    pub(crate) fn begin(now: Instant, me: Process, partition: Partition, known: Known) -> Self {
        let mut hasher = DefaultHasher::new();
        (&me.name, partition).hash(&mut hasher);
        Self {
            jitter: Duration::from_millis(hasher.finish() % JITTER_MS),
            may_intend_early: partition.topic != twqr_journal::Topic::Orders,
            me,
            known,
            read_from: None,
            vacant_at: known.is_vacant.then_some(now),
            life_at: now,
            doubt: None,
            is_answered: false,
            other_doubters: BTreeSet::new(),
            first_other_doubt_at: None,
            yields: false,
            patience: 1,
            wanted_at: None,
            intended_at: None,
            last_intent: None,
            leaving_at: None,
            asked_at: now,
        }
    }

    /// Notes whether the group assigns the partition to this process.
    pub(crate) fn want(&mut self, now: Instant, is_wanted: bool) {
        self.wanted_at = is_wanted.then(|| self.wanted_at.unwrap_or(now));
    }

    /// Notes whether this process should leave the partition to others for now.
    pub(crate) fn set_yields(&mut self, yields: bool) {
        self.yields = yields;
    }

    /// Sets how many times as long as usual the holder may be silent, and has to answer a doubt.
    pub(crate) fn set_patience(&mut self, factor: u32) {
        self.patience = factor;
    }

    /// Whether the holder has shown life since this process doubted it and last asked this.
    pub(crate) fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.is_answered)
    }

    /// How much longer this process waits than others do.
    fn extra_wait(&self) -> Duration {
        if self.yields { YIELD } else { Duration::ZERO }
    }

    /// Takes a record of the partition. Returns whether it is a claim that counts.
    pub(crate) fn read(&mut self, now: Instant, offset: Offset, hold: &HoldRecord) -> bool {
        self.read_from.get_or_insert(offset);
        match hold {
            HoldRecord::Claim { replaces, .. } => {
                let counts = self.known.newest.is_none() || claim_counts(*replaces, self.known.newest);
                if counts {
                    self.known.newest = Some(offset);
                    (self.vacant_at, self.leaving_at, self.last_intent) = (None, None, None);
                    self.note_life(now);
                }
                return counts;
            }
            HoldRecord::Release { claim } if self.known.newest.is_none_or(|newest| newest == *claim) => {
                self.known.newest = Some(*claim);
                self.vacant_at = Some(now);
            }
            HoldRecord::Release { .. } => {}
            HoldRecord::Intent(by) => self.last_intent = Some(by.nonce),
            HoldRecord::Alive(alive) => self.read_alive(now, alive),
            HoldRecord::Doubt(by) if by.nonce == self.me.nonce => {
                let rank = u32::try_from(self.other_doubters.len()).unwrap_or(u32::MAX);
                if let Some(doubt) = &mut self.doubt {
                    doubt.read.get_or_insert((now, rank));
                }
            }
            HoldRecord::Doubt(by) => {
                self.first_other_doubt_at.get_or_insert(now);
                self.other_doubters.insert(by.nonce);
            }
        }
        false
    }

    fn read_alive(&mut self, now: Instant, alive: &Alive) {
        self.known.shows_signs = true;
        if alive.by.nonce == self.me.nonce {
            // From a claim of ours that has ended, or has turned out not to count.
            return;
        }
        // A holder that has read the newest claim and still works knows that it does not count.
        let is_stale = self.known.newest.is_some_and(|newest| alive.claim < newest && alive.position <= newest);
        if is_stale || self.knows_better(alive) {
            return;
        }
        if self.known.newest != Some(alive.claim) {
            self.known.newest = Some(alive.claim);
            self.vacant_at = None;
        }
        match (alive.is_leaving, self.leaving_at) {
            (true, None) => (self.leaving_at, self.last_intent) = (Some(now), None),
            (true, Some(_)) => {}
            (false, _) => self.leaving_at = None,
        }
        self.is_answered |= self.doubt.is_some();
        self.note_life(now);
    }

    /// Whether this watch has read a claim and knows that it does not count, while its author has
    /// not found out yet. If such signs counted, two processes could make each other claim in vain
    /// again and again.
    fn knows_better(&self, alive: &Alive) -> bool {
        let has_read = self.read_from.is_some_and(|from| from <= alive.claim);
        let is_newer = self.known.newest.is_some_and(|newest| newest < alive.claim);
        has_read && is_newer && !alive.has_judged_claim()
    }

    fn note_life(&mut self, now: Instant) {
        self.life_at = now;
        self.doubt = None;
        self.other_doubters.clear();
        self.first_other_doubt_at = None;
    }

    /// Decides what to do now. Must be called several times within [`OWN_PAUSE_MAX`], or it begins
    /// to count again.
    pub(crate) fn decide(&mut self, now: Instant) -> Action {
        if now.duration_since(self.asked_at) > OWN_PAUSE_MAX {
            self.note_life(now);
        }
        self.asked_at = now;
        if let Some(vacant_at) = self.vacant_at {
            self.take_vacant(now, vacant_at)
        } else if !self.known.shows_signs {
            self.without_signs(now)
        } else if now >= self.life_at + SILENCE * self.patience + self.jitter + self.extra_wait() {
            self.in_silence(now)
        } else {
            self.ask_living(now)
        }
    }

    /// A claim names the one it replaces only where signs of life show that every build knows such
    /// claims.
    fn claim(&self) -> Action {
        Action::Claim { replaces: self.known.newest.filter(|_| self.known.shows_signs) }
    }

    fn take_vacant(&self, now: Instant, vacant_at: Instant) -> Action {
        let wait = match self.last_intent {
            _ if !self.known.shows_signs && self.wanted_at.is_none() => return Action::Wait,
            Some(nonce) if nonce == self.me.nonce => Duration::ZERO,
            Some(_) => RANK + self.jitter,
            None if self.wanted_at.is_some() || self.known.is_vacant => Duration::ZERO,
            None => self.jitter,
        };
        if now >= vacant_at + wait + self.extra_wait() { self.claim() } else { Action::Wait }
    }

    /// No sign of life was seen: the protocol version is 0, or there is no holder. Only the
    /// assignment decides then.
    fn without_signs(&mut self, now: Instant) -> Action {
        let Some(wanted_at) = self.wanted_at.map(|at| at + self.extra_wait()) else { return Action::Wait };
        if now < wanted_at {
            return Action::Wait;
        }
        if self.may_intend_early && self.known.newest.is_some() {
            let Some(intended_at) = self.intended_at else { return self.intend(now) };
            return if now >= intended_at + RELEASE_WAIT { self.claim() } else { Action::Wait };
        }
        let waited = now >= wanted_at.max(self.life_at) + FIRST_SIGN_WAIT;
        if waited { self.claim() } else { Action::Wait }
    }

    fn in_silence(&mut self, now: Instant) -> Action {
        let answer_wait = DOUBT * self.patience;
        match self.doubt {
            None if self.first_other_doubt_at.is_some_and(|at| now < at + answer_wait + RANK + self.jitter) => {
                Action::Wait
            }
            None => {
                self.doubt = Some(OwnDoubt { written_at: now, read: None });
                Action::Doubt
            }
            Some(OwnDoubt { written_at, read: None }) => {
                // The silence may be the broker's.
                if now >= written_at + READ_BACK {
                    self.note_life(now);
                }
                Action::Wait
            }
            Some(OwnDoubt { read: Some((read_at, rank)), .. }) => {
                if now >= read_at + answer_wait + RANK * rank {
                    self.claim()
                } else {
                    Action::Wait
                }
            }
        }
    }

    /// Asks a living holder for the partition if the group assigns it to this process, or if the
    /// holder leaves and no other process has asked yet. A process that yields does not ask.
    fn ask_living(&mut self, now: Instant) -> Action {
        if self.yields {
            return Action::Wait;
        }
        let is_invited = self.leaving_at.is_some_and(|at| now >= at + self.jitter) && self.last_intent.is_none();
        let has_asked = self.intended_at.is_some_and(|at| now < at + READ_BACK);
        if (is_invited || self.wanted_at.is_some()) && !has_asked { self.intend(now) } else { Action::Wait }
    }

    fn intend(&mut self, now: Instant) -> Action {
        self.intended_at = Some(now);
        Action::Intend
    }
}

#[cfg(test)]
mod tests;
