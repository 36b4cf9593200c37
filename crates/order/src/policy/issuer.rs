//! What an issuer allows, how many calls it gets, and when it is asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twqr_types::{Issuer, StatusCode, UnixMs};

use super::{RefundRule, Window};

/// The rules of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRules {
    /// Whose.
    pub issuer: Issuer,
    /// How it is asked about what has no answer.
    pub resolution: Resolution,
    /// Which refunds it takes.
    pub refund: RefundRule,
    /// How many calls it gets.
    pub limits: Limits,
    /// When it is neither charged nor asked.
    pub maintenance: Vec<Window>,
    /// StatusCodes for the issuer's own codes of refusal; a code that is not here gets the one for
    /// refusals of its kind.
    pub status_codes: BTreeMap<String, StatusCode>,
}

/// How an issuer is asked about a movement without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// How long a request may still take effect after its `send_by`, in ms: flight, clock skew,
    /// pauses. 1,000 to 3,600,000.
    pub window_ms: i64,
    /// From the unknown outcome to the first inquiry, in ms: 100 to 600,000.
    pub first_delay_ms: i64,
    /// The spacing of inquiries doubles up to this, in ms: `first_delay_ms` to 86,400,000.
    pub delay_max_ms: i64,
}

/// How many calls an issuer gets, from each worker.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls in flight that move money, at the most: 1 to 100,000.
    pub in_flight_max: u32,
    /// Fresh ones that wait for a place: 0 to 100,000. One beyond is not sent.
    pub queue_max: u32,
    /// So many calls without an answer, one after the other, open the circuit: 1 to 10,000.
    pub failures_to_open: u32,
    /// How long an open circuit stays open before one call tries again, in ms: 10 to 600,000.
    pub open_ms: u32,
    /// Inquiries a second: 1 to 100,000. One beyond stays unanswered and is asked later.
    pub inquiries_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight_max: 512, queue_max: 2_048, failures_to_open: 20, open_ms: 2_000, inquiries_per_s: 500 }
    }
}

impl Resolution {
    /// For issuers without rules of their own.
    pub const DEFAULT: Self = Self { window_ms: 10_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };
}

impl IssuerRules {
    /// Of an issuer that the policy does not name.
    pub fn default_of(issuer: Issuer) -> Self {
        Self {
            issuer,
            resolution: Resolution::DEFAULT,
            refund: RefundRule::default(),
            limits: Limits::default(),
            maintenance: Vec::new(),
            status_codes: BTreeMap::new(),
        }
    }

    /// The end of the announced maintenance in which `at` is; windows that touch are one.
    pub fn in_maintenance(&self, at: UnixMs) -> Option<UnixMs> {
        let mut end = self.maintenance.iter().find(|window| window.has(at))?.to;
        while let Some(next) = self.maintenance.iter().find(|window| window.has(end)) {
            end = next.to;
        }
        Some(end)
    }

    /// Field and problem of everything that is wrong with it.
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

/// What is wrong with `raw` as the StatusCode of an issuer's refusal.
pub(super) fn not_a_refusal(raw: &str) -> String {
    format!("is {raw:?}, must be three digits, and none of 000, 301, 801, 901, 909, 916")
}
