//! The budgets of due records: how many the tracker writes per second for each issuer, over all
//! shards. Each due record leads to an inquiry, and to two more records, so a backlog of unresolved
//! orders must not determine their number.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use twqr_order::PolicyVersions;
use twqr_service::IssuerMetrics;
use twqr_types::{Issuer, UnixMs};

use crate::metrics::{IssuerGauges, issuer_gauges};

/// The due records per second for orders without an issuer, which are mostly refunds that ask their
/// payments.
const WITHOUT_ISSUER_PER_S: u32 = 10_000;
/// The due records per second for an issuer before the first policy.
const WITHOUT_POLICY_PER_S: u32 = 500;
/// The part of a second whose budget may be used at once, as a divisor.
const BURSTS_PER_S: u32 = 10;

/// The budgets of all issuers, shared by the followers of all shards.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// When each budget is unused again, in Unix µs.
    unused_at_us: Mutex<HashMap<Option<Issuer>, i64>>,
    /// The gauges of the issuers, which all shards share, too.
    pub(crate) gauges: IssuerMetrics<IssuerGauges>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { unused_at_us: Mutex::default(), gauges: issuer_gauges() }
    }
}

impl Budgets {
    /// Shows how long an order that is due now would wait for the budget of its issuer. The series
    /// of each issuer that a policy names exist from that policy on.
    pub(crate) fn show_delays(&self, policies: Option<&PolicyVersions>, now: UnixMs) {
        let newest = policies.and_then(PolicyVersions::newest);
        self.gauges.touch(newest.into_iter().flat_map(|change| change.policy.named_issuers()));
        let unused_at_us = self.unused_at_us.lock().unwrap_or_else(PoisonError::into_inner);
        for (issuer, unused_at) in unused_at_us.iter().filter_map(|(issuer, at)| Some(((*issuer)?, *at))) {
            let delay_us = unused_at.saturating_sub(now.0.saturating_mul(1_000)).max(0);
            self.gauges.of(issuer).budget_delay.set(delay_us as f64 / 1_000_000.0);
        }
    }

    /// Reserves the next `inquiries` of an issuer's budget of `per_s` a second; returns when they
    /// may be made. Each caller reserves behind those before it, so shards take turns.
    pub(crate) fn reserve(&self, issuer: Option<Issuer>, per_s: u32, inquiries: usize, now: UnixMs) -> UnixMs {
        let mut unused_at_us = self.unused_at_us.lock().unwrap_or_else(PoisonError::into_inner);
        let unused_at = unused_at_us.entry(issuer).or_default();
        let start = (*unused_at).max(now.0.saturating_mul(1_000));
        let each_us = 1_000_000 / i64::from(per_s.max(1));
        let inquiries = i64::try_from(inquiries).unwrap_or(i64::MAX);
        *unused_at = start.saturating_add(each_us.saturating_mul(inquiries));
        UnixMs(start.saturating_add(999) / 1_000)
    }
}

/// The due records per second for this issuer, by the newest policy of the shard.
pub(crate) fn per_s(issuer: Option<Issuer>, policies: Option<&PolicyVersions>) -> u32 {
    let Some(issuer) = issuer else { return WITHOUT_ISSUER_PER_S };
    let newest = policies.and_then(PolicyVersions::newest);
    newest.map_or(WITHOUT_POLICY_PER_S, |change| change.policy.issuer(issuer).limits.inquiries_per_s)
}

/// How many inquiries of a budget may be made at once.
pub(crate) fn burst(per_s: u32) -> usize {
    per_s.div_ceil(BURSTS_PER_S) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stand_behind_each_other_and_issuers_do_not_wait_for_each_other() {
        let budgets = Budgets::default();
        let now = UnixMs(1_000_000);
        for (inquiries, at) in [(10, 0), (10, 100), (5, 200), (1, 250)] {
            assert_eq!(budgets.reserve(Some(Issuer::Wallet), 100, inquiries, now), now.plus(at));
        }
        assert_eq!(budgets.reserve(None, 100, 1, now), now);
        let later = now.plus(10_000);
        assert_eq!(budgets.reserve(Some(Issuer::Wallet), 100, 1, later), later, "an unused budget is not saved up");
    }
}
