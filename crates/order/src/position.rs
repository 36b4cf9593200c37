//! Positions in the logs, and the identities of effects, which are made from them.

use std::fmt;

use twqr_types::ShardId;

/// The position of a record in the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The shard whose log it is.
    pub shard: ShardId,
    /// The record's offset in that log.
    pub offset: u64,
}

/// The identity of an effect: the position of its cause, and the effect's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId {
    /// The shard of the cause.
    pub shard: ShardId,
    /// The offset of the cause.
    pub offset: u64,
    /// The effect's number among those of its cause, from 0.
    pub n: u32,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.shard.0, self.offset, self.n)
    }
}
