//! Decides which claims of a shard count (protocol rule P4). A watch reads only the end of the log,
//! so it may take a claim for valid that does not count. A router has more information: the owner
//! that wrote the highest marker had read no newer claim that counts up to the marker's position,
//! so the marker's epoch is the newest claim at that position. From there on the router reads every
//! claim itself.

use twqr_order::claim_counts;

use crate::store::StoreMark;

/// The newest claim that counts, up to the record that was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewestClaim {
    /// An earlier build has stored the marker without its epoch.
    Unknown,
    /// The offset of the claim; `None` if there is no claim yet.
    Known(Option<u64>),
}

impl NewestClaim {
    /// The newest claim at the highest marker.
    pub(crate) fn at_marker(mark: &StoreMark) -> Self {
        if mark.position > 0 && mark.epoch.is_none() { Self::Unknown } else { Self::Known(mark.epoch) }
    }

    /// Takes the claim at the offset `at`. Returns whether it is known to count.
    pub(crate) fn take(&mut self, at: u64, replaces: Option<u64>) -> bool {
        let counts = match *self {
            Self::Unknown => replaces.is_none(),
            Self::Known(newest) => claim_counts(replaces, newest),
        };
        if counts {
            *self = Self::Known(Some(at));
        }
        counts
    }

    /// The offset of the claim, if it is known.
    pub(crate) fn offset(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Known(newest) => newest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_judged_by_the_epoch_of_the_marker_and_the_claims_after_it() {
        let mark = |position, epoch| StoreMark { position, epoch, ..StoreMark::default() };
        for (mark, claims, expected) in [
            (mark(0, None), vec![(0, None, true), (5, Some(0), true), (6, Some(0), false)], Some(5)),
            (mark(9, Some(3)), vec![(9, Some(5), false), (12, Some(3), true), (14, Some(9), false)], Some(12)),
            (mark(9, Some(3)), vec![(12, None, true), (14, Some(3), false)], Some(12)),
            (mark(9, None), vec![(12, Some(3), false)], None),
            (mark(9, None), vec![(12, Some(3), false), (13, None, true), (14, Some(13), true)], Some(14)),
        ] {
            let mut newest = NewestClaim::at_marker(&mark);
            for (at, replaces, counts) in claims {
                assert_eq!(newest.take(at, replaces), counts, "{mark:?}: {at} replaces {replaces:?}");
            }
            assert_eq!(newest.offset(), expected, "{mark:?}");
        }
    }
}
