//! The hops of a share of the calls, from their answers. They are kept beside the records, since
//! most calls have none.

use twqr_wire::hops::HopReport;

use super::record::CallRecord;

/// A call whose answer carried its hops.
#[derive(Clone, Copy, Debug)]
pub struct HopSample {
    /// The call; it had one attempt.
    pub record: CallRecord,
    /// Its hops from the arrival at the ingress to the answer there.
    pub hops: HopReport,
}

impl HopSample {
    /// What the client measured beyond the hops, in µs: the network and the client itself.
    pub fn outside_us(&self) -> u64 {
        (self.record.answered_us - self.record.sent_us).saturating_sub(self.hops.total_us())
    }
}

/// Whether the call of this number asks for its hops: such calls are spread evenly.
pub(super) fn is_asked(call: usize, share: f64) -> bool {
    let asked_before = |calls: usize| (calls as f64 * share).floor();
    asked_before(call + 1) > asked_before(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_calls_asks_and_they_are_spread_evenly() {
        for (share, expected) in [(0.0, 0), (0.05, 50), (1.0, 1_000)] {
            let asked = (0..1_000).filter(|call| is_asked(*call, share)).count();
            assert_eq!(asked, expected, "{share}");
        }
        assert!((0..40).filter(|call| is_asked(*call, 0.05)).eq([19, 39]));
    }
}
