//! A state of the handover model: the partition's claims, releases and intents, and three
//! processes.

use super::rules::HandoverRules;
use crate::bounded::Bounded;

/// Stands for "no claim" and "no process".
pub(super) const NONE: u8 = u8::MAX;

/// A record of the partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Hold {
    Claim { replaces: u8 },
    Release { claim: u8 },
    Intent { by: u8 },
}

impl Default for Hold {
    fn default() -> Self {
        Self::Claim { replaces: NONE }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum HolderPhase {
    Down,
    Watching,
    /// Its doubt was read back.
    Doubting,
    /// Its claim is under way.
    Claiming {
        replaces: u8,
    },
    /// Has read its claim, believes that it counts, and shows signs of life; finds out by which
    /// position it holds the partition.
    Restoring,
    Holding,
    /// Goes on for a second, or until it reads the next claim.
    Released {
        ends: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Process {
    pub(super) phase: HolderPhase,
    pub(super) is_paused: bool,
    pub(super) is_assigned: bool,
    /// The offset at which it began to read.
    pub(super) from: u8,
    /// The next record to read.
    pub(super) position: u8,
    /// The newest claim that counts, as far as it knows.
    pub(super) newest: u8,
    pub(super) is_vacant: bool,
    /// The claim by which it holds the partition.
    pub(super) claim: u8,
    /// Its claims that have landed and that it has not read yet, as bits of their offsets.
    pub(super) landed: u16,
    /// Its latest claim that did not count, whose signs of life it may still read.
    pub(super) void: u8,
}

impl Process {
    pub(super) const DOWN: Self = Self {
        phase: HolderPhase::Down,
        is_paused: false,
        is_assigned: false,
        from: 0,
        position: 0,
        newest: NONE,
        is_vacant: false,
        claim: NONE,
        landed: 0,
        void: NONE,
    };

    /// Whether it shows signs of life.
    pub(super) fn shows_life(&self) -> bool {
        !self.is_paused && matches!(self.phase, HolderPhase::Restoring | HolderPhase::Holding)
    }
}

/// A claim on its way, of which its author, if it lives, does not wait any longer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct LateClaim {
    pub(super) by: u8,
    pub(super) replaces: u8,
}

/// An event that a scope limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum HandoverEvent {
    Crash,
    Pause,
    FalseSilence,
    SlowClaim,
    SlowRelease,
    Failure,
    Stop,
    Hint,
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct HandoverWorld {
    pub(super) log: Bounded<Hold, 16>,
    pub(super) processes: [Process; 3],
    pub(super) late_claims: Bounded<LateClaim, 3>,
    pub(super) late_releases: Bounded<u8, 3>,
    /// The claims whose author was killed, paused, or has ended by itself, as bits: it may be
    /// replaced without its release.
    pub(super) silent_claims: u16,
    pub(super) has_replaced_living: bool,
    pub(super) has_stopped_for_void: bool,
    /// How often each event may still happen, by [`HandoverEvent`].
    pub(super) left: [u8; 8],
}

impl HandoverWorld {
    /// The first process holds the partition, and the others know it.
    pub(super) fn initial(rules: &HandoverRules) -> Self {
        let watching = Process { phase: HolderPhase::Watching, position: 1, newest: 0, ..Process::DOWN };
        let holding = Process { phase: HolderPhase::Holding, claim: 0, ..watching };
        let mut log = Bounded::new();
        log.push(Hold::Claim { replaces: NONE });
        Self {
            log,
            processes: [holding, watching, watching],
            late_claims: Bounded::new(),
            late_releases: Bounded::new(),
            silent_claims: 0,
            has_replaced_living: false,
            has_stopped_for_void: false,
            left: [
                rules.crashes,
                rules.pauses,
                rules.false_silences,
                rules.slow_claims,
                rules.slow_releases,
                rules.failures,
                rules.stops,
                rules.hints,
            ],
        }
    }

    /// Whether the event may happen once more.
    pub(super) fn may(&self, event: HandoverEvent) -> bool {
        self.left[event as usize] > 0
    }

    /// Counts the event.
    pub(super) fn spend(&mut self, event: HandoverEvent) {
        self.left[event as usize] -= 1;
    }

    /// The newest claim before `end` that counts, and whether it was released, by the true rule.
    pub(super) fn newest_claim(&self, end: u8) -> (u8, bool) {
        let (mut newest, mut is_released) = (NONE, false);
        for (offset, record) in self.log.iter().enumerate().take(usize::from(end)) {
            match record {
                Hold::Claim { replaces } if *replaces == NONE || *replaces == newest => {
                    (newest, is_released) = (offset as u8, false);
                }
                Hold::Release { claim } if *claim == newest => is_released = true,
                Hold::Claim { .. } | Hold::Release { .. } | Hold::Intent { .. } => {}
            }
        }
        (newest, is_released)
    }

    /// Appends a claim, and notes whether it takes the partition from a holder that shows life.
    pub(super) fn append_claim(&mut self, by: u8, replaces: u8) {
        let offset = self.log.len() as u8;
        let (newest, is_released) = self.newest_claim(offset);
        let counts = replaces == NONE || replaces == newest;
        let is_silent = newest == NONE || self.silent_claims & (1 << newest) != 0;
        self.has_replaced_living |= counts && !is_released && !is_silent;
        self.log.push(Hold::Claim { replaces });
        match self.processes.get_mut(usize::from(by)) {
            Some(author) => {
                author.landed |= 1 << offset;
                self.silent_claims |= u16::from(author.is_paused) << offset;
            }
            None => self.silent_claims |= 1 << offset,
        }
    }

    /// Appends a release.
    pub(super) fn append_release(&mut self, claim: u8) {
        self.log.push(Hold::Release { claim });
    }

    /// Notes that the claims of a process may be replaced.
    pub(super) fn set_silent(&mut self, index: usize) {
        let Process { claim, landed, .. } = self.processes[index];
        self.silent_claims |= landed;
        if claim != NONE {
            self.silent_claims |= 1 << claim;
        }
    }

    /// Whether one process holds the partition by the newest claim, and every other one knows it.
    pub(super) fn has_one_holder(&self) -> bool {
        let end = self.log.len() as u8;
        let (newest, is_released) = self.newest_claim(end);
        let is_in_place = |process: &Process| match process.phase {
            HolderPhase::Holding => process.claim == newest && !process.is_paused && process.position == end,
            HolderPhase::Watching => process.newest == newest && !process.is_vacant && process.position == end,
            HolderPhase::Down => true,
            HolderPhase::Doubting
            | HolderPhase::Claiming { .. }
            | HolderPhase::Restoring
            | HolderPhase::Released { .. } => false,
        };
        let holders = self.processes.iter().filter(|process| process.phase == HolderPhase::Holding).count();
        holders == 1 && !is_released && self.processes.iter().all(is_in_place)
    }

    /// The processes differ only by their names, so they are put in order.
    pub(super) fn normalise(&mut self) {
        let mut order = [0, 1, 2];
        order.sort_by_key(|index| {
            let own_intents = |record: &&Hold| **record == Hold::Intent { by: *index as u8 };
            (self.processes[*index], self.log.iter().filter(own_intents).count())
        });
        let renamed = |by: &mut u8| {
            if let Some(index) = order.iter().position(|index| *index == usize::from(*by)) {
                *by = index as u8;
            }
        };
        self.processes = order.map(|index| self.processes[index]);
        for record in self.log.iter_mut() {
            if let Hold::Intent { by } = record {
                renamed(by);
            }
        }
        self.late_claims.iter_mut().for_each(|claim| renamed(&mut claim.by));
        self.late_claims.sort_unstable();
        self.late_releases.sort_unstable();
    }
}
