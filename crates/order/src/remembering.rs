//! Which ingresses may have cached an answer to a payment.
//!
//! An ingress caches only answers to payment requests that it appended itself, and only in memory.
//! It reads one partition of `replies` while it runs, and names that partition in each of its
//! requests. So every ingress that may have cached an answer reads one of the partitions in the
//! payment's requests, and a cancel makes it discard the answer by a record on these partitions
//! only. An ingress discards the payment also while its own request is pending, so an answer that
//! arrives later is not cached.

/// The most partitions that a payment keeps. One request more, and every partition counts.
const PARTITIONS_MAX: usize = 16;

/// The partitions of `replies` whose ingresses may remember an answer to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembering {
    /// Every partition: the payment was made before protocol version 2, or there are more than 16.
    All,
    /// These, in ascending order.
    Only(Vec<u32>),
}

impl Remembering {
    /// That of a payment which is made under this protocol version; no request was applied yet.
    pub(crate) fn new(protocol_version: u32) -> Self {
        if protocol_version >= 2 { Self::Only(Vec::new()) } else { Self::All }
    }

    /// Adds the partition of a request that was applied. Returns false if it counts already.
    pub(crate) fn add(&mut self, partition: u32) -> bool {
        let Self::Only(partitions) = self else { return false };
        let Err(place) = partitions.binary_search(&partition) else { return false };
        if partitions.len() < PARTITIONS_MAX {
            partitions.insert(place, partition);
        } else {
            *self = Self::All;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_keeps_up_to_sixteen_partitions() {
        let mut remembering = Remembering::new(2);
        assert_eq!(remembering, Remembering::Only(Vec::new()));
        for partition in (0..16).rev() {
            assert!(remembering.add(partition) && !remembering.add(partition), "{partition}");
        }
        assert_eq!(remembering, Remembering::Only((0..16).collect()));
        assert!(remembering.add(16) && !remembering.add(17));
        assert_eq!(remembering, Remembering::All);
    }

    #[test]
    fn before_protocol_version_2_every_partition_counts() {
        let mut remembering = Remembering::new(1);
        assert!(!remembering.add(7));
        assert_eq!(remembering, Remembering::All);
    }
}
