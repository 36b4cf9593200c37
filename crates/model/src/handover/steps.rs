//! The steps of the processes of a partition, and their faults.

use super::{
    rules::HandoverRules,
    world::{HandoverEvent, HandoverWorld, Hold, HolderPhase, LateClaim, NONE, Process},
};
use crate::checker::Steps;

/// The steps from one state.
pub(super) struct HandoverMoves<'a> {
    pub(super) rules: &'a HandoverRules,
    pub(super) from: &'a HandoverWorld,
    pub(super) steps: &'a mut Steps<HandoverWorld>,
}

impl HandoverMoves<'_> {
    /// Adds every step.
    pub(super) fn add_all(&mut self) {
        if self.from.log.is_full() {
            return;
        }
        for index in 0..self.from.processes.len() {
            let process = self.from.processes[index];
            if process.is_paused {
                self.add_resume(index);
                continue;
            }
            match process.phase {
                HolderPhase::Down => self.add_start(index),
                HolderPhase::Watching | HolderPhase::Doubting | HolderPhase::Claiming { .. } => self.add_watch(index),
                HolderPhase::Restoring => self.add_judgement(index),
                HolderPhase::Holding | HolderPhase::Released { .. } => self.add_holding(index),
            }
            if process.phase != HolderPhase::Down {
                self.add_faults(index);
            }
        }
        for index in 0..self.from.late_claims.len() {
            let LateClaim { by, replaces } = self.from.late_claims[index];
            self.add(
                false,
                || format!("a late claim of {by} lands; it replaces {replaces}"),
                |to| {
                    to.late_claims.remove(index);
                    to.append_claim(by, replaces);
                },
            );
        }
        for index in 0..self.from.late_releases.len() {
            let claim = self.from.late_releases[index];
            self.add(
                false,
                || format!("a late release of {claim} lands"),
                |to| {
                    to.late_releases.remove(index);
                    to.append_release(claim);
                },
            );
        }
    }

    fn add(&mut self, is_fault: bool, label: impl FnOnce() -> String, change: impl FnOnce(&mut HandoverWorld)) {
        let mut to = self.from.clone();
        change(&mut to);
        to.normalise();
        self.steps.add(is_fault, label, to);
    }

    /// Adds a step that changes one process only.
    fn add_own(&mut self, index: usize, label: &str, change: impl FnOnce(&mut Process)) {
        self.add(false, || format!("{index} {label}"), |to| change(&mut to.processes[index]));
    }

    /// A process begins to read somewhere in the log, without knowledge of what was before.
    fn add_start(&mut self, index: usize) {
        for from in 0..=self.from.log.len() as u8 {
            self.add_own(index, &format!("starts, and reads from {from}"), |process| {
                *process = Process { phase: HolderPhase::Watching, from, position: from, ..Process::DOWN };
            });
        }
    }

    fn add_resume(&mut self, index: usize) {
        let rules = self.rules;
        self.add_own(index, "resumes", |process| {
            process.is_paused = false;
            if process.phase == HolderPhase::Doubting {
                let replaces = process.newest;
                process.phase =
                    if rules.begins_anew { HolderPhase::Watching } else { HolderPhase::Claiming { replaces } };
            }
        });
    }

    fn add_faults(&mut self, index: usize) {
        let Process { phase, claim, .. } = self.from.processes[index];
        if self.from.may(HandoverEvent::Crash) {
            self.add(
                true,
                || format!("{index} is killed"),
                |to| {
                    to.spend(HandoverEvent::Crash);
                    to.set_silent(index);
                    if let HolderPhase::Claiming { replaces } = phase {
                        to.late_claims.push(LateClaim { by: NONE, replaces });
                    }
                    let mut late_claims = to.late_claims;
                    late_claims.iter_mut().filter(|late| usize::from(late.by) == index).for_each(|late| late.by = NONE);
                    to.late_claims = late_claims;
                    to.processes[index] = Process::DOWN;
                },
            );
        }
        if self.from.may(HandoverEvent::Pause) {
            self.add(
                true,
                || format!("{index} stands still"),
                |to| {
                    to.spend(HandoverEvent::Pause);
                    to.set_silent(index);
                    to.processes[index].is_paused = true;
                },
            );
        }
        if self.from.may(HandoverEvent::Hint) && !self.from.processes[index].is_assigned {
            self.add(
                true,
                || format!("the group assigns the partition to {index}"),
                |to| {
                    to.spend(HandoverEvent::Hint);
                    to.processes.iter_mut().for_each(|process| process.is_assigned = false);
                    to.processes[index].is_assigned = true;
                },
            );
        }
        if phase == HolderPhase::Holding && self.from.may(HandoverEvent::Failure) {
            self.add(
                true,
                || format!("an append of {index} fails; it claims again"),
                |to| {
                    to.spend(HandoverEvent::Failure);
                    to.set_silent(index);
                    let holder = &mut to.processes[index];
                    *holder = Process {
                        phase: HolderPhase::Watching,
                        newest: claim,
                        is_vacant: true,
                        claim: NONE,
                        ..*holder
                    };
                },
            );
        }
        if phase == HolderPhase::Holding && self.from.may(HandoverEvent::Stop) {
            self.add_release(index, Some(HandoverEvent::Stop), |to| {
                to.processes[index].phase = HolderPhase::Released { ends: true };
            });
        }
    }

    /// The release of a holder lands at once or later. After its release it answers no doubt.
    fn add_release(&mut self, index: usize, event: Option<HandoverEvent>, change: impl Fn(&mut HandoverWorld)) {
        let claim = self.from.processes[index].claim;
        for is_slow in [false, true] {
            if is_slow && (!self.from.may(HandoverEvent::SlowRelease) || self.from.late_releases.is_full()) {
                continue;
            }
            self.add(
                is_slow || event.is_some(),
                || format!("{index} releases {claim}{}", if is_slow { "; that lands later" } else { "" }),
                |to| {
                    if let Some(event) = event {
                        to.spend(event);
                    }
                    if is_slow {
                        to.spend(HandoverEvent::SlowRelease);
                        to.late_releases.push(claim);
                    } else {
                        to.append_release(claim);
                    }
                    to.set_silent(index);
                    change(to);
                },
            );
        }
    }

    fn add_watch(&mut self, index: usize) {
        let process = self.from.processes[index];
        if usize::from(process.position) < self.from.log.len() {
            self.add_read(index);
        }
        for other in 0..self.from.processes.len() {
            self.add_sign(index, other);
        }
        let is_silent = !self.has_life_for(&process);
        match process.phase {
            HolderPhase::Claiming { replaces } => self.add_claim(index, replaces),
            // It waits for its claim.
            HolderPhase::Watching | HolderPhase::Doubting if process.landed != 0 => {}
            HolderPhase::Watching if process.is_vacant => self.add_decision(index, "claims, since it was released"),
            HolderPhase::Watching if process.newest == NONE => self.add_first_claim(index, is_silent),
            HolderPhase::Watching if is_silent || self.from.may(HandoverEvent::FalseSilence) => {
                let doubted = if self.rules.doubts {
                    HolderPhase::Doubting
                } else {
                    HolderPhase::Claiming { replaces: process.newest }
                };
                self.add(
                    !is_silent,
                    || format!("{index} sees no sign of life, and doubts"),
                    |to| {
                        if !is_silent {
                            to.spend(HandoverEvent::FalseSilence);
                        }
                        to.processes[index].phase = doubted;
                    },
                );
            }
            HolderPhase::Doubting if is_silent => self.add_decision(index, "has no answer, and claims"),
            HolderPhase::Watching
            | HolderPhase::Doubting
            | HolderPhase::Down
            | HolderPhase::Restoring
            | HolderPhase::Holding
            | HolderPhase::Released { .. } => {}
        }
        if process.is_assigned && process.phase == HolderPhase::Watching && !process.is_vacant && !is_silent {
            self.add_hint(index);
        }
    }

    /// Whether a process shows life that this watch would not ignore, or will do so in time.
    fn has_life_for(&self, watcher: &Process) -> bool {
        self.from.processes.iter().any(|other| {
            let is_stale = watcher.newest != NONE && other.claim < watcher.newest && other.position <= watcher.newest;
            let is_void =
                other.phase == HolderPhase::Restoring && watcher.newest != NONE && other.claim > watcher.newest;
            let is_ignored = is_stale || (is_void && self.rules.ignores_unproven);
            (other.shows_life() && !is_ignored) || (other.landed != 0 && !other.is_paused)
        })
    }

    /// The process decides to claim; the claim is on its way from here on.
    fn add_decision(&mut self, index: usize, label: &str) {
        let conditional = self.rules.conditional_claims;
        self.add_own(index, label, |process| {
            process.phase = HolderPhase::Claiming { replaces: if conditional { process.newest } else { NONE } };
        });
    }

    /// A process that has seen neither a claim nor a sign of life claims without a name.
    fn add_first_claim(&mut self, index: usize, is_silent: bool) {
        if !is_silent || usize::from(self.from.processes[index].position) < self.from.log.len() {
            return;
        }
        if self.rules.quick_first_claim {
            self.add(
                false,
                || format!("{index} has seen no sign of life, and claims without a name"),
                |to| to.append_claim(index as u8, NONE),
            );
        } else {
            self.add_decision(index, "has seen no sign of life, and claims without a name");
        }
    }

    fn add_claim(&mut self, index: usize, replaces: u8) {
        self.add(
            false,
            || format!("the claim of {index} lands at {}; it replaces {replaces}", self.from.log.len()),
            |to| {
                to.processes[index].phase = HolderPhase::Watching;
                to.append_claim(index as u8, replaces);
            },
        );
        if self.from.may(HandoverEvent::SlowClaim) && !self.from.late_claims.is_full() {
            self.add(
                true,
                || format!("{index} waits no longer for its claim, and watches"),
                |to| {
                    to.spend(HandoverEvent::SlowClaim);
                    to.late_claims.push(LateClaim { by: index as u8, replaces });
                    to.processes[index].phase = HolderPhase::Watching;
                },
            );
        }
    }

    fn add_hint(&mut self, index: usize) {
        let has_asked = |record: &Hold| *record == Hold::Intent { by: index as u8 };
        if self.rules.hint_claims {
            self.add_decision(index, "claims, since the group assigns the partition to it");
        } else if !self.from.log.iter().any(has_asked) {
            self.add(
                false,
                || format!("{index} asks for the partition"),
                |to| to.log.push(Hold::Intent { by: index as u8 }),
            );
        }
    }

    /// A watch reads a sign of life of another process, or a late one of its own.
    fn add_sign(&mut self, index: usize, other: usize) {
        let (watcher, author) = (self.from.processes[index], self.from.processes[other]);
        let (claim, position) =
            if other == index { (watcher.void, watcher.void) } else { (author.claim, author.position) };
        let is_shown = if other == index { claim != NONE && !self.rules.knows_own_signs } else { author.shows_life() };
        let is_stale = watcher.newest != NONE && claim < watcher.newest && position <= watcher.newest;
        // Its author does not know yet whether its claim counts; this watch has read the claim.
        let is_judged = position <= claim && watcher.newest != NONE && claim > watcher.newest && claim >= watcher.from;
        let is_ignored = is_stale || (is_judged && self.rules.ignores_unproven);
        if !is_shown || is_ignored || watcher.position < position || watcher.position <= claim {
            return;
        }
        let phase = if watcher.phase == HolderPhase::Doubting { HolderPhase::Watching } else { watcher.phase };
        let is_vacant = watcher.is_vacant && watcher.newest == claim;
        let told = Process { phase, newest: claim, is_vacant, ..watcher };
        if told != watcher {
            self.add_own(index, &format!("reads a sign of life of {other} for {claim}"), |process| *process = told);
        }
    }

    /// A watch reads a record.
    fn add_read(&mut self, index: usize) {
        let rules = self.rules;
        let Process { position, newest, landed, .. } = self.from.processes[index];
        let record = self.from.log[usize::from(position)];
        self.add(
            false,
            || format!("{index} reads {position}: {record:?}"),
            |to| {
                let process = &mut to.processes[index];
                process.position += 1;
                match record {
                    Hold::Claim { replaces } => {
                        let counts = newest == NONE || replaces == NONE || replaces == newest;
                        if counts {
                            (process.newest, process.is_vacant) = (position, false);
                        }
                        let is_own = landed & (1 << position) != 0;
                        match (is_own, counts, process.phase) {
                            (true, true, _) => {
                                // It has to judge the records up to its claim.
                                *process =
                                    Process { phase: HolderPhase::Restoring, claim: position, position, ..*process };
                            }
                            (true, false, _) | (false, true, HolderPhase::Doubting) => {
                                process.phase = HolderPhase::Watching;
                            }
                            (false, ..) => {}
                        }
                        if is_own {
                            process.landed &= !(1 << position);
                        }
                        if is_own && !counts {
                            to.silent_claims |= 1 << position;
                        }
                    }
                    Hold::Release { claim } if newest == NONE || claim == newest || !rules.strict_release => {
                        process.newest = if newest == NONE { claim } else { newest };
                        process.is_vacant = true;
                    }
                    Hold::Release { .. } | Hold::Intent { .. } => {}
                }
            },
        );
    }

    /// A process judges its own claim.
    fn add_judgement(&mut self, index: usize) {
        let Process { claim, .. } = self.from.processes[index];
        let (newest, is_vacant) = self.from.newest_claim(claim);
        let Hold::Claim { replaces } = self.from.log[usize::from(claim)] else { return };
        let counts = replaces == NONE || replaces == newest || !self.rules.judges_own_claim;
        let learns = self.rules.learns_newest;
        self.add_own(
            index,
            &format!("finds that its claim {}", if counts { "counts" } else { "is void" }),
            |process| {
                process.position = claim + 1;
                if counts {
                    process.phase = HolderPhase::Holding;
                } else {
                    let newest = if learns { newest } else { claim };
                    // Its new watch need not read the claim again.
                    process.from = claim + 1;
                    *process = Process {
                        phase: HolderPhase::Watching,
                        newest,
                        is_vacant,
                        claim: NONE,
                        void: claim,
                        ..*process
                    };
                }
            },
        );
    }

    /// A holder reads a record, or ends after its release.
    fn add_holding(&mut self, index: usize) {
        let Process { phase, claim, position, .. } = self.from.processes[index];
        if let HolderPhase::Released { ends } = phase {
            self.add_own(index, "ends after its release", |process| {
                let watching =
                    Process { phase: HolderPhase::Watching, newest: claim, is_vacant: true, claim: NONE, ..*process };
                *process = if ends { Process::DOWN } else { watching };
            });
        }
        self.add_signs_of_newer(index);
        let Some(record) = self.from.log.get(usize::from(position)).copied() else { return };
        if let Hold::Intent { by } = record
            && usize::from(by) != index
            && phase == HolderPhase::Holding
        {
            self.add_release(index, None, |to| {
                to.processes[index].position += 1;
                to.processes[index].phase = HolderPhase::Released { ends: false };
            });
            return;
        }
        let rules = self.rules;
        self.add(
            false,
            || format!("{index}, which holds the partition by {claim}, reads {position}: {record:?}"),
            |to| {
                let process = &mut to.processes[index];
                process.position += 1;
                process.landed &= !(1 << position);
                let Hold::Claim { replaces } = record else { return };
                let counts = replaces == NONE || replaces == claim;
                if counts {
                    *process = Process { phase: HolderPhase::Watching, newest: position, claim: NONE, ..*process };
                } else if rules.stops_for_void {
                    *process = Process { phase: HolderPhase::Watching, is_vacant: true, claim: NONE, ..*process };
                    to.has_stopped_for_void = true;
                }
            },
        );
    }

    fn add_signs_of_newer(&mut self, index: usize) {
        let Process { phase, claim, position, .. } = self.from.processes[index];
        let is_newer = |other: &&Process| other.shows_life() && other.claim > claim && position > other.claim;
        let Some(newer) = self.from.processes.iter().find(is_newer) else { return };
        if self.rules.stops_for_signs && phase == HolderPhase::Holding {
            let newest = newer.claim;
            self.add(
                false,
                || format!("{index} reads a sign of life for {newest}, and stops"),
                |to| {
                    to.has_stopped_for_void = true;
                    let process = &mut to.processes[index];
                    *process = Process { phase: HolderPhase::Watching, newest, claim: NONE, ..*process };
                },
            );
        }
    }
}
