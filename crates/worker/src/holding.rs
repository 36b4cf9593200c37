//! Decides which claim a task belongs to: only the worker of that claim may send the task (protocol
//! rule P4). It only keeps account of claims and releases, without I/O.
//!
//! A task belongs to the newest claim before it. If that claim was released before the task, or if
//! there is no claim before it, the task belongs to the first claim after it. A release counts only
//! if it names the newest claim before it.

/// A claim or a release on a task partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Claim,
    Release { claim: u64 },
}

/// The claims and releases from a starting point up to our claim.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    /// The claim that held the partition at the starting point.
    holder: Option<u64>,
    holds: Vec<(u64, Hold)>,
    own: u64,
}

impl Holding {
    /// `holds` are the claims and releases from the starting point up to, not including, our claim,
    /// in the order of their offsets.
    pub(crate) fn new(holder: Option<u64>, holds: Vec<(u64, Hold)>, own: u64) -> Self {
        Self { holder, holds, own }
    }

    /// The offset of our claim.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// Whether the task at `offset` belongs to our claim. Valid only as long as no newer claim has
    /// been read.
    pub(crate) fn owns(&self, offset: u64) -> bool {
        let claimed_between = self.holds.iter().any(|(at, hold)| *at >= offset && *hold == Hold::Claim);
        offset > self.own || (!claimed_between && self.holder_before(offset).is_none())
    }

    /// The newest claim before `offset` that was not released before it.
    pub(crate) fn holder_before(&self, offset: u64) -> Option<u64> {
        if offset > self.own {
            return Some(self.own);
        }
        let mut holder = self.holder;
        for (at, hold) in self.holds.iter().filter(|(at, _)| *at < offset) {
            match hold {
                Hold::Claim => holder = Some(*at),
                Hold::Release { claim } if holder == Some(*claim) => holder = None,
                Hold::Release { .. } => {}
            }
        }
        holder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds of records on a partition: `c` is a claim, `t` a task, `r` a release of the newest
    /// claim, `o` a release of the oldest claim.
    const KINDS: [char; 4] = ['c', 't', 'r', 'o'];

    fn decode(mut code: usize, length: usize) -> Vec<char> {
        (0..length)
            .map(|_| {
                let kind = KINDS[code % 4];
                code /= 4;
                kind
            })
            .collect()
    }

    fn holds(log: &[char]) -> Vec<(u64, Hold)> {
        let claims = |below: usize| (0..below).filter(|i| log[*i] == 'c').map(|i| i as u64).collect::<Vec<_>>();
        let hold = |(i, kind): (usize, &char)| match kind {
            'c' => Some((i as u64, Hold::Claim)),
            'r' => claims(i).last().map(|claim| (i as u64, Hold::Release { claim: *claim })),
            'o' => claims(i).first().map(|claim| (i as u64, Hold::Release { claim: *claim })),
            _ => None,
        };
        log.iter().enumerate().filter_map(hold).collect()
    }

    /// The claim to which the task at `offset` belongs, written directly from the rule.
    fn owner(holds: &[(u64, Hold)], offset: u64) -> Option<u64> {
        let claims = || holds.iter().filter(|(_, hold)| *hold == Hold::Claim).map(|(at, _)| *at);
        let newest = claims().filter(|at| *at < offset).max();
        let newest_before = |at: u64| claims().filter(|claim| *claim < at).max();
        let released = holds.iter().any(|(at, hold)| {
            *at < offset
                && matches!(hold, Hold::Release { claim } if Some(*claim) == newest && newest_before(*at) == newest)
        });
        match newest {
            Some(claim) if !released => Some(claim),
            _ => claims().find(|at| *at > offset),
        }
    }

    #[test]
    fn every_short_history_gives_a_task_to_the_claim_that_the_rule_names() {
        let mut checked = 0;
        for length in 1..=7_usize {
            for code in 0..4_usize.pow(length as u32) {
                let log = decode(code, length);
                let all = holds(&log);
                for (own, _) in all.iter().filter(|(_, hold)| *hold == Hold::Claim) {
                    let newer =
                        all.iter().find(|(at, hold)| at > own && *hold == Hold::Claim).map_or(u64::MAX, |(at, _)| *at);
                    let own_released = all.iter().any(|(_, hold)| *hold == Hold::Release { claim: *own });
                    let before = all.iter().filter(|(at, _)| at < own).copied().collect();
                    let holding = Holding::new(None, before, *own);
                    for task in (0..length as u64).filter(|i| log[*i as usize] == 't' && *i < newer) {
                        // After its release a holder reads nothing more.
                        if own_released && task > *own {
                            continue;
                        }
                        assert_eq!(
                            holding.owns(task),
                            owner(&all, task) == Some(*own),
                            "{log:?} own {own} task {task}"
                        );
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 10_000, "{checked}");
    }

    #[test]
    fn a_start_in_the_middle_takes_the_holder_from_the_committed_metadata() {
        let holding = Holding::new(Some(3), vec![(12, Hold::Release { claim: 3 })], 20);
        assert!(!holding.owns(10), "held by the claim at 3");
        assert!(holding.owns(15), "released at 12");
        assert!(holding.owns(21));
        assert_eq!(holding.holder_before(13), None);
        assert_eq!(holding.holder_before(21), Some(20));
    }
}
