//! The faults of a simulated cluster: what goes wrong, and how often.

use twqr_journal::Topic;

/// The faults of a cluster. Shares are per mille; times are in ms of virtual time. The default has
/// no faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The longest time that an append takes; drawn for each append.
    pub append_delay_ms_max: u64,
    /// The longest time until a question for the end of a partition is looked up; drawn for each.
    pub end_delay_ms_max: u64,
    /// Share of appends that land but are reported as failed.
    pub ack_lost: u32,
    /// Share of appends that are reported as failed and never land.
    pub append_lost: u32,
    /// Share of appends that are reported as failed and land later.
    pub append_late: u32,
    /// The longest time until such a late append lands.
    pub late_ms_max: u64,
    /// A topic to which every append is lost.
    pub failing_topic: Option<Topic>,
    /// Share of reads that fail.
    pub read_failed: u32,
    /// Share of appends to a compacted topic after which it is compacted.
    pub compacted: u32,
    /// How long a session may be crashed or paused before its partitions are assigned to others.
    pub session_timeout_ms: u64,
    /// Whether every partition is assigned to every session, which is the worst that a group may
    /// do.
    pub everybody_owns_all: bool,
    /// Whether readers get batches of random sizes.
    pub batches_vary: bool,
}

/// The fate of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    AckLost,
    Lost,
    Late { after_ms: u64 },
}

impl Faults {
    /// Maps two random numbers to a fate: `drawn`, below 1,000, selects it, and `delay` gives the
    /// time until a late append lands.
    pub(crate) fn fate(&self, drawn: u32, delay: u64) -> Fate {
        let mut below = 0;
        let late = Fate::Late { after_ms: delay % self.late_ms_max.max(1) };
        for (share, fate) in [(self.ack_lost, Fate::AckLost), (self.append_lost, Fate::Lost), (self.append_late, late)]
        {
            below += share;
            if drawn < below {
                return fate;
            }
        }
        Fate::Acknowledged
    }
}
