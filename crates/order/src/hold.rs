//! The records by which processes agree on the holder of a partition: a shard of `orders`, or a
//! task partition (protocol rule P4). They change no order and are not tasks.

/// A record by which processes share a partition. Each name in it is for people; numbers identify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldRecord {
    /// A process takes the partition; the offset of this record is its epoch.
    Claim {
        /// The name of the process.
        owner: Box<str>,
        /// A random number by which the process recognises its own claim.
        nonce: u64,
        /// The offset of the claim that it replaces. The claim counts only if that is the newest
        /// claim that counts; a claim that replaces none always counts.
        replaces: Option<u64>,
    },
    /// The holder gives the partition back. Counts only if it names the newest claim that counts.
    Release {
        /// The offset of the claim that it releases.
        claim: u64,
    },
    /// A process wants the partition and asks its holder to release it.
    Intent(Process),
    /// The holder works: a sign of life.
    Alive(Alive),
    /// A process has seen no sign of life from the holder for a while; a living holder answers with
    /// one.
    Doubt(Process),
}

/// A process, as it names itself in these records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The name of the process: the same after a restart.
    pub name: Box<str>,
    /// A random number, drawn when the process started.
    pub nonce: u64,
}

/// A sign of life of the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The offset of the holder's claim.
    pub claim: u64,
    /// The offset of the next record that the holder reads; past its claim, once it knows that its
    /// claim counts.
    pub position: u64,
    /// The process that holds the partition.
    pub by: Process,
    /// Whether the holder leaves, and waits for a process that declares its intent.
    pub is_leaving: bool,
    /// The newest protocol version that the build of that process knows; 0 of a build that does not
    /// say.
    pub protocol_known: u32,
}

impl Alive {
    /// Whether the holder knows that its claim counts.
    pub fn has_judged_claim(&self) -> bool {
        self.position > self.claim
    }
}

/// Whether a claim counts that replaces the claim `replaces`, where `newest` is the newest claim
/// before it that counts.
pub fn claim_counts(replaces: Option<u64>, newest: Option<u64>) -> bool {
    replaces.is_none() || replaces == newest
}
