//! The cut-offs that were in force over time. The bounds of a business day in accounting files are
//! computed here, so that days never overlap or leave a gap when the cut-off changes.
//!
//! A day ends by the cut-off that was in force at 00:00 (Asia/Taipei) of its date, and begins where
//! the day before ends. No cut-off lets a day end before noon of its date. So a day's end is fixed
//! twelve hours in advance, and a later change of the cut-off, also one that lands late, does not
//! move it.

use crate::{BusinessDay, CutOff, UnixMs};

/// The cut-offs that were in force over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOffs {
    oldest: CutOff,
    /// The later ones, each with the time from which on it is in force; the newest last.
    later: Vec<(UnixMs, CutOff)>,
}

impl CutOffs {
    /// Takes the oldest known cut-off, which counts for all earlier dates too, and the later ones
    /// in the order in which they were taken, each with its time.
    pub fn new(oldest: CutOff, later: Vec<(UnixMs, CutOff)>) -> Self {
        Self { oldest, later }
    }

    /// The business day of the same date, from the end of the day before to its own end.
    pub fn day(&self, date: BusinessDay) -> BusinessDay {
        date.bounded(self.end_of(date.previous()), self.end_of(date))
    }

    /// The business day to which a time belongs.
    pub fn day_of(&self, at: UnixMs) -> BusinessDay {
        let day = self.day(BusinessDay::of(at, self.oldest));
        if at < day.from() {
            self.day(day.previous())
        } else if at < day.to() {
            day
        } else {
            self.day(day.next())
        }
    }

    fn end_of(&self, date: BusinessDay) -> CutOff {
        let midnight = date.midnight();
        let in_force = self.later.iter().rev().find(|(at, _)| *at <= midnight);
        in_force.map_or(self.oldest, |(_, cut_off)| *cut_off)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn cut_off(text: &str) -> CutOff {
        CutOff::parse(text).unwrap()
    }

    fn date(text: &str) -> BusinessDay {
        BusinessDay::parse(text, CutOff::default()).unwrap()
    }

    #[test]
    fn a_day_ends_by_the_cut_off_in_force_at_its_midnight() {
        let changed = |to: &str, when: &str| CutOffs::new(cut_off("02:00"), vec![(at(when), cut_off(to))]);
        let (earlier, later) = ("2025-03-10T00:00:00+08:00", "2025-03-10T00:00:00.001+08:00");
        for (to, when, from, end) in [
            ("23:00", earlier, "2025-03-10T02:00:00+08:00", "2025-03-10T23:00:00+08:00"),
            ("23:00", later, "2025-03-10T02:00:00+08:00", "2025-03-11T02:00:00+08:00"),
            ("12:00", earlier, "2025-03-10T02:00:00+08:00", "2025-03-11T12:00:00+08:00"),
            ("12:01", earlier, "2025-03-10T02:00:00+08:00", "2025-03-10T12:01:00+08:00"),
        ] {
            let day = changed(to, when).day(date("2025-03-10"));
            assert_eq!((day.from(), day.to()), (at(from), at(end)), "{to} from {when}");
        }
    }

    /// Changes between all kinds of cut-offs, at every hour of a day.
    #[test]
    fn days_follow_each_other_whatever_the_cut_off_was() {
        let kinds = ["00:00", "02:00", "12:00", "12:01", "23:00", "23:59"];
        let first = date("2025-03-10");
        for (old, new) in kinds.iter().flat_map(|old| kinds.map(|new| (cut_off(old), cut_off(new)))) {
            for hour in 0..24 {
                let change = first.midnight().plus(hour * HOUR_MS);
                let (before, after) = (CutOffs::new(old, Vec::new()), CutOffs::new(old, vec![(change, new)]));
                let mut day = after.day(first.previous());
                for _ in 0..4 {
                    let next = after.day(day.next());
                    assert_eq!(day.to(), next.from(), "{old} to {new} at {hour}");
                    assert!(day.from() < day.to(), "{old} to {new} at {hour}");
                    for time in [day.from(), day.to().plus(-1)] {
                        assert_eq!(after.day_of(time), day, "{old} to {new} at {hour}");
                    }
                    if day.midnight() < change {
                        assert_eq!(before.day(day), day, "{old} to {new} at {hour}");
                    }
                    day = next;
                }
            }
        }
    }

    #[test]
    fn a_day_has_its_end_twelve_hours_before_it_comes() {
        for minutes in 0..1_440 {
            let day = CutOffs::new(CutOff::from_minutes(minutes).unwrap(), Vec::new()).day(date("2025-03-10"));
            assert!(day.to() > day.noon(), "{minutes}");
        }
    }
}
