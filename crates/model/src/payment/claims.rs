//! Which claims count, and to whom a task belongs (protocol rules P4 and P6).
//!
//! - A claim that names the one it replaces counts only if that one is the newest that counts. A
//!   claim without a name always counts.
//! - A release counts only if it names the newest claim that counts.
//! - A task belongs to the newest claim before it that counts. If there is none, or it was released
//!   before the task, the task belongs to the first claim after it that counts.

use super::{
    machine::{NONE, Record, Task},
    rules::PaymentRules,
};

/// A record on the task partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum TaskRecord {
    Task(Task),
    /// A worker's claim; `replaces` is `NONE` if it names none.
    Claim {
        replaces: u8,
    },
    Release {
        claim: u8,
    },
}

impl Default for TaskRecord {
    fn default() -> Self {
        Self::Claim { replaces: NONE }
    }
}

/// Account of the claims that a reader has read.
#[derive(Clone, Copy)]
pub(super) struct ClaimReader<'a> {
    rules: &'a PaymentRules,
    /// Counts this claim whatever it names: a claimant that breaks the rule.
    trusted: u8,
    /// The newest claim that counts, released or not.
    pub(super) newest: u8,
    /// The newest claim of all.
    latest: u8,
    is_unknown: bool,
    is_released: bool,
}

impl<'a> ClaimReader<'a> {
    pub(super) fn new(rules: &'a PaymentRules) -> Self {
        Self { rules, trusted: NONE, newest: NONE, latest: NONE, is_unknown: false, is_released: true }
    }

    /// A reader that began to read at `from` without knowing the claims before it.
    fn from(self, from: u8) -> Self {
        Self { is_unknown: from > 0, is_released: from == 0, ..self }
    }

    /// Reads a claim; returns whether it counts.
    pub(super) fn claim(&mut self, offset: u8, replaces: u8) -> bool {
        if self.is_unknown && replaces != NONE && !self.rules.trusts_unknown {
            // It may count, so its tasks belong to somebody else.
            self.is_released = false;
            return true;
        }
        let is_valid = replaces == NONE || replaces == self.newest || self.is_unknown;
        let counts = is_valid || self.rules.counts_all_claims || offset == self.trusted;
        self.latest = offset;
        if counts {
            self.newest = offset;
            self.is_released = false;
            self.is_unknown = false;
        }
        counts
    }

    pub(super) fn release(&mut self, claim: u8) {
        if claim == self.newest || !self.rules.strict_release {
            self.is_released = true;
        }
    }

    /// The claim that a claimant names as the one it replaces.
    pub(super) fn replaced(&self) -> u8 {
        match (self.rules.conditional_claims, self.rules.names_counting) {
            (false, _) => NONE,
            (true, true) => self.newest,
            (true, false) => self.latest,
        }
    }

    fn read_task_record(&mut self, offset: u8, record: TaskRecord) -> bool {
        match record {
            TaskRecord::Task(_) => false,
            TaskRecord::Claim { replaces } => self.claim(offset, replaces),
            TaskRecord::Release { claim } => {
                self.release(claim);
                false
            }
        }
    }
}

/// The claims of a task partition as one worker sees them.
#[derive(Clone, Copy)]
pub(super) struct PartitionView<'a> {
    rules: &'a PaymentRules,
    tasks: &'a [TaskRecord],
    /// Where the worker began to read, if the claims before it are unknown to it; otherwise 0.
    from: u8,
    own: u8,
}

impl<'a> PartitionView<'a> {
    pub(super) fn new(rules: &'a PaymentRules, tasks: &'a [TaskRecord], from: u8, own: u8) -> Self {
        Self { rules, tasks, from, own }
    }

    fn records(&self, until: u8) -> impl Iterator<Item = (u8, TaskRecord)> + 'a {
        let range = usize::from(self.from.min(until))..usize::from(until);
        let from = range.start as u8;
        self.tasks[range].iter().enumerate().map(move |(index, record)| (from + index as u8, *record))
    }

    /// The account of all claims before `until`.
    pub(super) fn claims(&self, until: u8) -> ClaimReader<'a> {
        let mut reader = ClaimReader::new(self.rules).from(self.from);
        if self.rules.claimant_counts_all {
            reader.trusted = self.own;
        }
        for (offset, record) in self.records(until) {
            reader.read_task_record(offset, record);
        }
        reader
    }

    /// Whether the claim at `offset` counts.
    pub(super) fn counts(&self, offset: u8) -> bool {
        let mut reader = self.claims(offset);
        reader.read_task_record(offset, self.tasks[usize::from(offset)])
    }

    /// Whether nobody can tell from the records read whether a claim at `offset` counts that names
    /// another one.
    pub(super) fn is_undecidable(&self, offset: u8) -> bool {
        self.claims(offset).is_unknown && !self.rules.trusts_unknown
    }

    /// Whether the task at `offset` belongs to the worker's own claim, as long as it has read no
    /// newer one that counts.
    pub(super) fn owns(&self, offset: u8) -> bool {
        if offset > self.own {
            return true;
        }
        let mut reader = self.claims(offset);
        reader.is_released
            && !self.records(self.own).any(|(at, record)| at >= offset && reader.read_task_record(at, record))
    }
}

/// The account of the claims of routers in a log.
pub(super) fn router_claims<'a>(rules: &'a PaymentRules, log: &[Record]) -> ClaimReader<'a> {
    let mut reader = ClaimReader::new(rules);
    for (offset, record) in log.iter().enumerate() {
        if let Record::Claim { replaces } = record {
            reader.claim(offset as u8, *replaces);
        } else if let Record::Release { claim } = record {
            reader.release(*claim);
        }
    }
    reader
}
