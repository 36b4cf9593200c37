//! What goes wrong, and how often.

/// Shares are in a thousand; times in ms of virtual time. The default has no faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How long an append takes at the most; drawn for each.
    pub append_delay_ms_max: u64,
    /// Appends that land and are reported as failed.
    pub ack_lost: u32,
    /// Appends that are reported as failed and never land.
    pub append_lost: u32,
    /// Appends that are reported as failed and land later.
    pub append_late: u32,
    /// How much later at the most.
    pub late_ms_max: u64,
    /// Reads that fail.
    pub read_failed: u32,
    /// Appends to a compacted topic after which it is compacted.
    pub compacted: u32,
    /// How long a session may be gone or paused before its partitions are assigned to others.
    pub session_timeout_ms: u64,
    /// Every session is told to claim everything: the hint at its worst.
    pub everybody_owns_all: bool,
    /// Readers get batches of drawn sizes.
    pub batches_vary: bool,
}

/// What happens to one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lands,
    AckLost,
    Lost,
    Late { after_ms: u64 },
}

impl Faults {
    /// By a number below 1,000 and another for the delay.
    pub(super) fn fate(&self, drawn: u32, delay: u64) -> Fate {
        let mut below = 0;
        let late = Fate::Late { after_ms: delay % self.late_ms_max.max(1) };
        for (share, fate) in [(self.ack_lost, Fate::AckLost), (self.append_lost, Fate::Lost), (self.append_late, late)]
        {
            below += share;
            if drawn < below {
                return fate;
            }
        }
        Fate::Lands
    }
}
