//! The rules of an issuer: which refunds it accepts, how many calls it gets and when, and its
//! maintenance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twqr_types::{Issuer, StatusCode, UnixMs};

use super::{RefundRule, Window};

/// The largest number of maintenance windows that a new policy may announce for an issuer.
pub(super) const WINDOWS_MAX: usize = 64;

/// The rules of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRules {
    /// The issuer that has these rules.
    pub issuer: Issuer,
    /// When inquiries are sent to the issuer.
    pub resolution: Resolution,
    /// The refunds that the issuer accepts.
    pub refund: RefundRule,
    /// The limits on calls to the issuer.
    pub limits: Limits,
    /// The announced windows in which no calls to the issuer are started.
    pub maintenance: Vec<Window>,
    /// StatusCodes by the issuer's own refusal code. A refusal with another code gets the policy's
    /// code for its kind.
    pub status_codes: BTreeMap<String, StatusCode>,
    /// Whether the issuer is idempotent for charges, as `proto/README.md` defines it (section
    /// Idempotent backends). False unless an operator knows that it is.
    pub idempotent_charges: bool,
    /// The same for refunds.
    pub idempotent_refunds: bool,
}

/// When inquiries about a movement whose result is unknown are sent to an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// How long after its `send_by` a request may still take effect, in ms: because of the network,
    /// clock skew, or pauses. 1,000 to 3,600,000.
    pub window_ms: i64,
    /// The delay from an unknown result to the first inquiry, in ms: 100 to 600,000.
    pub first_delay_ms: i64,
    /// The spacing of inquiries doubles up to this, in ms: `first_delay_ms` to 86,400,000. Later it
    /// is at least an eighth of the age, up to six hours.
    pub delay_max_ms: i64,
}

/// The limits on the calls from one worker to an issuer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest number of calls in flight that move money: 1 to 100,000.
    pub in_flight_max: u32,
    /// The largest number of calls that wait while `in_flight_max` are in flight: 0 to 100,000. A
    /// further call is not sent. Calls of idempotent movements also wait here for a connection, and
    /// while the circuit is open.
    pub queue_max: u32,
    /// How many calls in a row without an answer, or with one that decides nothing, open the
    /// circuit: 1 to 10,000.
    pub failures_to_open: u32,
    /// How long an open circuit stays open before one call tries again, in ms: 10 to 600,000.
    pub open_ms: u32,
    /// The largest number of inquiries per second: 1 to 100,000. The tracker appends due records
    /// for no more orders of the issuer per second. If a worker gets more inquiries all the same,
    /// it reports the results as unknown, and others follow later.
    pub inquiries_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight_max: 512, queue_max: 2_048, failures_to_open: 20, open_ms: 2_000, inquiries_per_s: 500 }
    }
}

impl Resolution {
    /// The defaults, for issuers without rules of their own.
    pub const DEFAULT: Self = Self { window_ms: 6_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };

    /// The defaults of a protocol version. The window of version 0 is too long for a caller to hear
    /// the result of a lost call.
    pub(crate) fn default_of_version(protocol_version: u32) -> Self {
        let window_ms = if protocol_version == 0 { 10_000 } else { Self::DEFAULT.window_ms };
        Self { window_ms, ..Self::DEFAULT }
    }
}

impl IssuerRules {
    /// The default rules, for an issuer that the policy does not name.
    pub fn default_of(issuer: Issuer) -> Self {
        Self {
            issuer,
            resolution: Resolution::DEFAULT,
            refund: RefundRule::default(),
            limits: Limits::default(),
            maintenance: Vec::new(),
            status_codes: BTreeMap::new(),
            idempotent_charges: false,
            idempotent_refunds: false,
        }
    }

    /// Whether `at` falls into announced maintenance.
    pub fn is_in_maintenance(&self, at: UnixMs) -> bool {
        self.maintenance.iter().any(|window| window.contains(at))
    }

    /// The end of the announced maintenance that `at` falls into, if any. Windows that touch count
    /// as one.
    pub fn maintenance_until(&self, at: UnixMs) -> Option<UnixMs> {
        if !self.is_in_maintenance(at) {
            return None;
        }
        // A policy from an earlier build may have thousands of windows.
        let mut windows: Vec<&Window> = self.maintenance.iter().filter(|window| at < window.to).collect();
        windows.sort_unstable_by_key(|window| window.from);
        let mut end = at;
        for window in windows {
            if window.from > end {
                break;
            }
            end = end.max(window.to);
        }
        Some(end)
    }

    /// Lists everything that is wrong with the rules, as field and problem.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let (r, l) = (self.resolution, self.limits);
        let ranges = [
            ("resolution.window_ms", r.window_ms, 1_000..=3_600_000),
            ("resolution.first_delay_ms", r.first_delay_ms, 100..=600_000),
            ("resolution.delay_max_ms", r.delay_max_ms, r.first_delay_ms..=86_400_000),
            ("limits.in_flight_max", l.in_flight_max.into(), 1..=100_000),
            ("limits.queue_max", l.queue_max.into(), 0..=100_000),
            ("limits.failures_to_open", l.failures_to_open.into(), 1..=10_000),
            ("limits.open_ms", l.open_ms.into(), 10..=600_000),
            ("limits.inquiries_per_s", l.inquiries_per_s.into(), 1..=100_000),
            ("refund.window_days", self.refund.window_days.unwrap_or(1).into(), 1..=3_650),
            ("refund.min_amount", self.refund.min_amount, 1..=i64::from(i32::MAX)),
        ];
        let out_of_range = |(field, value, range): (&str, i64, std::ops::RangeInclusive<i64>)| {
            let (least, most) = (range.start(), range.end());
            (!range.contains(&value)).then(|| (field.to_owned(), format!("is {value}, must be {least} to {most}")))
        };
        let mut faults: Vec<_> = ranges.into_iter().filter_map(out_of_range).collect();
        for (i, window) in self.maintenance.iter().enumerate() {
            if window.from >= window.to {
                faults.push((format!("maintenance[{i}]"), "from must be before to".to_owned()));
            }
        }
        for (theirs, code) in &self.status_codes {
            if !code.proves_refusal() {
                faults.push((format!("status_codes.{theirs}"), not_a_refusal(code.as_str())));
            }
        }
        faults
    }
}

/// The fault of a text that is not a valid StatusCode for an issuer's refusal.
pub(super) fn not_a_refusal(raw: &str) -> String {
    format!("is {raw:?}, must be three digits, and none of 000, 301, 801, 901, 909, 916")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alphabet, Policy, Route, RouteTarget};

    fn rules(windows: impl IntoIterator<Item = (i64, i64)>) -> IssuerRules {
        let window = |(from, to)| Window { from: UnixMs(from), to: UnixMs(to) };
        IssuerRules {
            maintenance: windows.into_iter().map(window).collect(),
            ..IssuerRules::default_of(Issuer::Wallet)
        }
    }

    /// Fails if a window that touches or overlaps an earlier one is left out, or if their sequence
    /// in the policy matters.
    #[test]
    fn maintenance_ends_where_no_window_follows() {
        let windows = [(0, 9), (2, 4), (9, 12), (11, 13), (14, 15), (14, 20), (30, 40)];
        for turn in 0..windows.len() {
            let mut turned = windows;
            turned.rotate_left(turn);
            for (rules, name) in [(rules(turned), "forward"), (rules(turned.into_iter().rev()), "backward")] {
                for at in -1..45 {
                    let is_in = |at: i64| windows.iter().any(|(from, to)| (*from..*to).contains(&at));
                    let end = is_in(at).then(|| (at..50).find(|at| !is_in(*at)).map(UnixMs)).flatten();
                    assert_eq!(rules.maintenance_until(UnixMs(at)), end, "at {at}, turned by {turn}, {name}");
                    assert_eq!(rules.is_in_maintenance(UnixMs(at)), end.is_some(), "at {at}");
                }
            }
        }
    }

    /// Fails if the bound is among the faults of every policy: then no shard could read a log of an
    /// earlier build.
    #[test]
    fn a_new_policy_has_a_limited_number_of_windows_and_an_earlier_one_stays_readable() {
        let policy = |windows: i64| Policy {
            routes: vec![Route {
                prefix: "22".into(),
                target: RouteTarget::Issuer(Issuer::Wallet),
                code_lengths: vec![18],
                alphabet: Alphabet::Printable,
            }],
            issuers: vec![rules((0..windows).map(|n| (1_790_000_000_000 + n, 1_790_000_000_001 + n)))],
            ..Policy::default()
        };
        for (windows, new) in [(64, vec![]), (65, vec!["issuers[0].maintenance"])] {
            assert_eq!(policy(windows).faults(), [], "{windows}");
            let faults = policy(windows).faults_of_new();
            let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
            assert_eq!(places, new, "{windows}");
        }
        let large = policy(10_000);
        assert_eq!(large.issuers[0].maintenance_until(UnixMs(1_790_000_000_000)), Some(UnixMs(1_790_000_010_000)));
    }
}
