//! Decides which claim a task belongs to: only the worker of that claim may send the task (protocol
//! rule P4). It depends only on claims and releases, without I/O.
//!
//! A claim counts if it replaces none, or replaces the newest claim before it that counts. A
//! release counts only if it names the newest claim before it that counts. A task belongs to the
//! newest claim before it that counts. If that claim was released before the task, or if there is
//! none, the task belongs to the first claim after it that counts.

use twqr_order::claim_counts;

/// A claim or a release on a task partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Claim { replaces: Option<u64> },
    Release { claim: u64 },
}

/// Represents a claim that is not known: retention has deleted it, or it is unknown whether it
/// counts. Its tasks may have been sent.
pub(crate) const UNKNOWN_CLAIM: u64 = u64::MAX;

/// The holder of the partition at some offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldBy {
    /// The newest claim that counts; [`UNKNOWN_CLAIM`] if it is unknown.
    pub(crate) newest: Option<u64>,
    /// The same claim, unless it was released.
    pub(crate) holder: Option<u64>,
}

impl HeldBy {
    /// Retention or an earlier build has left it open who holds the partition.
    pub(crate) const UNKNOWN: Self = Self { newest: Some(UNKNOWN_CLAIM), holder: Some(UNKNOWN_CLAIM) };

    /// Takes the claim or release at the offset `at`. Returns whether it counts, or may count.
    fn take(&mut self, at: u64, hold: Hold) -> bool {
        match hold {
            Hold::Claim { replaces: Some(_) } if self.newest == Some(UNKNOWN_CLAIM) => {
                // This cannot be known here. Its tasks are not ours; their owner stays unknown.
                self.holder = Some(UNKNOWN_CLAIM);
                true
            }
            Hold::Claim { replaces } => {
                let counts = claim_counts(replaces, self.newest);
                if counts {
                    *self = Self { newest: Some(at), holder: Some(at) };
                }
                counts
            }
            Hold::Release { claim } => {
                let counts = self.newest == Some(claim);
                if counts {
                    self.holder = None;
                }
                counts
            }
        }
    }
}

/// The claims and releases from a starting point up to our claim.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    start: HeldBy,
    holds: Vec<(u64, Hold)>,
    own: u64,
    own_counts: bool,
}

impl Holding {
    /// `holds` are the claims and releases from the starting point up to our claim at `own`, in the
    /// order of their offsets; `own` is among them.
    pub(crate) fn new(start: HeldBy, holds: Vec<(u64, Hold)>, own: u64) -> Self {
        let mut holding = Self { start, holds, own, own_counts: true };
        holding.holds.retain(|(at, _)| *at <= own);
        holding.own_counts = holding.before(own + 1).newest == Some(own);
        holding
    }

    /// The offset of our claim.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// Whether our claim is known to count. If not, nothing may be sent.
    pub(crate) fn own_counts(&self) -> bool {
        self.own_counts
    }

    /// Whether a claim after ours counts. Valid only as long as ours is the newest that counts.
    pub(crate) fn is_superseded_by(&self, replaces: Option<u64>) -> bool {
        claim_counts(replaces, Some(self.own))
    }

    /// Whether the task at `offset` belongs to our claim. Valid only as long as no newer claim that
    /// counts has been read.
    pub(crate) fn owns(&self, offset: u64) -> bool {
        if !self.own_counts {
            return false;
        }
        if offset > self.own {
            return true;
        }
        let mut held = self.before(offset);
        if held.holder.is_some() {
            return false;
        }
        // The first claim after the task that counts must be ours.
        let mut after = self.holds.iter().filter(|(at, _)| *at >= offset && *at < self.own);
        !after.any(|(at, hold)| held.take(*at, *hold) && matches!(hold, Hold::Claim { .. }))
    }

    /// The holder of the partition right before `offset`.
    pub(crate) fn before(&self, offset: u64) -> HeldBy {
        let mut held = self.start;
        for (at, hold) in self.holds.iter().filter(|(at, _)| *at < offset) {
            held.take(*at, *hold);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds of records on a partition: `t` is a task, `c` a claim that always counts, `n` a
    /// claim that replaces the newest claim which counts, `f` one that replaces the first claim,
    /// `r` a release of the newest claim that counts, `o` a release of the first claim.
    const KINDS: [char; 6] = ['t', 'c', 'n', 'f', 'r', 'o'];

    fn decode(mut code: usize, length: usize) -> Vec<char> {
        (0..length)
            .map(|_| {
                let kind = KINDS[code % KINDS.len()];
                code /= KINDS.len();
                kind
            })
            .collect()
    }

    /// The claims that count below `offset`, written directly from the rule.
    fn counting(holds: &[(u64, Hold)], offset: u64) -> Vec<u64> {
        let mut counting: Vec<u64> = Vec::new();
        for (at, hold) in holds.iter().filter(|(at, _)| *at < offset) {
            if let Hold::Claim { replaces } = hold
                && (replaces.is_none() || *replaces == counting.last().copied())
            {
                counting.push(*at);
            }
        }
        counting
    }

    fn holds(log: &[char]) -> Vec<(u64, Hold)> {
        let mut holds: Vec<(u64, Hold)> = Vec::new();
        for (at, kind) in (0..).zip(log) {
            let newest = counting(&holds, at).last().copied();
            let first = holds.iter().find(|(_, hold)| matches!(hold, Hold::Claim { .. })).map(|(at, _)| *at);
            let hold = match kind {
                'c' => Some(Hold::Claim { replaces: None }),
                'n' => newest.map(|newest| Hold::Claim { replaces: Some(newest) }),
                'f' => first.map(|first| Hold::Claim { replaces: Some(first) }),
                'r' => newest.map(|claim| Hold::Release { claim }),
                'o' => first.map(|claim| Hold::Release { claim }),
                _ => None,
            };
            holds.extend(hold.map(|hold| (at, hold)));
        }
        holds
    }

    /// The claim to which the task at `offset` belongs, written directly from the rule.
    fn owner(holds: &[(u64, Hold)], offset: u64) -> Option<u64> {
        let newest = counting(holds, offset).last().copied();
        let released = holds.iter().any(|(at, hold)| {
            *at < offset
                && matches!(hold, Hold::Release { claim }
                    if Some(*claim) == newest && counting(holds, *at).last().copied() == newest)
        });
        match newest {
            Some(claim) if !released => Some(claim),
            _ => counting(holds, u64::MAX).into_iter().find(|at| *at > offset),
        }
    }

    /// What the worker of the claim at `own` knows if it begins to read at `from`.
    fn begin_at(all: &[(u64, Hold)], from: u64, own: u64) -> Holding {
        let before = Holding::new(HeldBy::default(), all.to_vec(), u64::MAX - 1).before(from);
        let holds = all.iter().filter(|(at, _)| *at >= from && *at <= own).copied().collect();
        Holding::new(before, holds, own)
    }

    #[test]
    fn every_short_history_gives_a_task_to_the_claim_that_the_rule_names() {
        let mut checked = 0;
        for length in 1..=6_usize {
            for code in 0..KINDS.len().pow(length as u32) {
                let log = decode(code, length);
                let all = holds(&log);
                let counting = counting(&all, u64::MAX);
                for (own, _) in all.iter().filter(|(_, hold)| matches!(hold, Hold::Claim { .. })) {
                    let newer = counting.iter().find(|at| *at > own).copied().unwrap_or(u64::MAX);
                    let own_released = all.iter().any(|(_, hold)| *hold == Hold::Release { claim: *own });
                    for from in 0..=*own {
                        let holding = begin_at(&all, from, *own);
                        assert_eq!(holding.own_counts(), counting.contains(own), "{log:?} own {own} from {from}");
                        for task in (from..length as u64).filter(|i| log[*i as usize] == 't' && *i < newer) {
                            // After its release a holder reads nothing more.
                            if own_released && task > *own {
                                continue;
                            }
                            let expected = owner(&all, task) == Some(*own);
                            assert_eq!(holding.owns(task), expected, "{log:?} own {own} from {from} task {task}");
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 10_000, "{checked}");
    }

    #[test]
    fn no_task_belongs_to_two_claims_even_if_one_worker_does_not_know_which_claim_was_the_newest() {
        let mut checked = 0;
        for code in 0..KINDS.len().pow(6) {
            let log = decode(code, 6);
            let all = holds(&log);
            for (own, _) in all.iter().filter(|(_, hold)| matches!(hold, Hold::Claim { .. })) {
                for from in 0..=*own {
                    let holds = all.iter().filter(|(at, _)| *at >= from && *at <= *own).copied().collect();
                    let holding = Holding::new(HeldBy::UNKNOWN, holds, *own);
                    let own_released = all.iter().any(|(_, hold)| *hold == Hold::Release { claim: *own });
                    for task in (from..6).filter(|task| log[*task as usize] == 't' && holding.owns(*task)) {
                        if own_released && task > *own {
                            continue;
                        }
                        let is_kept_back = counting(&all, task).last().is_some_and(|newest| newest > own);
                        assert!(is_kept_back || owner(&all, task) == Some(*own), "{all:?} own {own} task {task}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 10_000, "{checked}");
    }

    #[test]
    fn a_start_in_the_middle_takes_the_holder_from_the_committed_metadata() {
        let (start, claim) = (HeldBy { newest: Some(3), holder: Some(3) }, Hold::Claim { replaces: Some(3) });
        let holding = Holding::new(start, vec![(12, Hold::Release { claim: 3 }), (20, claim)], 20);
        assert!(!holding.owns(10), "held by the claim at 3");
        assert!(holding.owns(15), "released at 12");
        assert!(holding.owns(21));
        assert_eq!(holding.before(13), HeldBy { newest: Some(3), holder: None });
        assert_eq!(holding.before(21), HeldBy { newest: Some(20), holder: Some(20) });
    }
}
