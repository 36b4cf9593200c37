//! What can be set about the ingress.

use std::{net::SocketAddr, time::Duration};

use crate::Error;

/// The settings of one ingress instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where gRPC is served. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Names this instance among others: unique, and the same after a restart.
    pub member: String,
    /// StatusCode of a payment in progress, three digits (POS API, section 3: `fisc_abnormal`).
    pub in_progress_code: String,
    /// A call is answered after this at the latest, 10 ms to 60 s. The POS gives up after 15 s.
    pub answer_within: Duration,
    /// An answer leaves this long before the caller's own deadline, 0 to 5 s.
    pub deadline_margin: Duration,
    /// Calls in flight, 1 to 1,000,000; more are refused with a retry hint.
    pub calls_in_flight_max: usize,
    /// Open `WatchOrder` streams, 1 to 100,000; more are refused.
    pub watches_max: usize,
    /// For how long the router tells a watch every change unless it asks again, 1 s to 10 min. Renewed at half of it.
    pub watch_lease: Duration,
    /// How long one `WatchOrder` stream may last, 1 s to 24 h; the caller may then watch again.
    pub watch_for_max: Duration,
    /// Payments whose answers are kept for repeats, 1,000 to 10,000,000.
    pub repeats_kept: usize,
    /// Streams that one HTTP/2 connection may have open, 1 to 65,536.
    pub streams_per_connection_max: u32,
    /// The largest request in bytes, 16 KiB (a full payment form is about 12 KiB) to 1 MiB.
    pub request_bytes_max: usize,
    /// At shutdown, how long calls in flight may take to finish, 0 to 60 s.
    pub drain_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            member: "ingress-0".to_owned(),
            in_progress_code: "982".to_owned(),
            answer_within: Duration::from_secs(12),
            deadline_margin: Duration::from_millis(200),
            calls_in_flight_max: 16_384,
            watches_max: 1_024,
            watch_lease: Duration::from_secs(60),
            watch_for_max: Duration::from_secs(3_600),
            repeats_kept: 65_536,
            streams_per_connection_max: 4_096,
            request_bytes_max: 64 * 1024,
            drain_within: Duration::from_secs(13),
        }
    }
}

impl Settings {
    /// Checks every range; the error names the first setting that is outside of its own.
    pub fn check(&self) -> Result<(), Error> {
        let seconds = Duration::from_secs;
        let code_fits = self.in_progress_code.len() == 3
            && self.in_progress_code.bytes().all(|b| b.is_ascii_digit())
            && self.in_progress_code != "000";
        let checks = [
            (!self.member.is_empty(), "member", "must not be empty"),
            (code_fits, "in_progress_code", "must be three digits, not 000"),
            (within(self.answer_within, Duration::from_millis(10), seconds(60)), "answer_within", "10 ms to 60 s"),
            (self.deadline_margin <= seconds(5), "deadline_margin", "must be 0 to 5 s"),
            (within(self.calls_in_flight_max, 1, 1_000_000), "calls_in_flight_max", "must be 1 to 1,000,000"),
            (within(self.watches_max, 1, 100_000), "watches_max", "must be 1 to 100,000"),
            (within(self.watch_lease, seconds(1), seconds(600)), "watch_lease", "must be 1 s to 10 min"),
            (within(self.watch_for_max, seconds(1), seconds(86_400)), "watch_for_max", "must be 1 s to 24 h"),
            (within(self.repeats_kept, 1_000, 10_000_000), "repeats_kept", "must be 1,000 to 10,000,000"),
            (
                within(self.streams_per_connection_max, 1, 65_536),
                "streams_per_connection_max",
                "must be 1 to 65,536",
            ),
            (
                within(self.request_bytes_max, 16 * 1024, 1024 * 1024),
                "request_bytes_max",
                "must be 16 KiB to 1 MiB, in bytes",
            ),
            (self.drain_within <= seconds(60), "drain_within", "must be 0 to 60 s"),
        ];
        match checks.into_iter().find(|(good, ..)| !good) {
            Some((_, name, allowed)) => Err(Error::Setting { name, allowed }),
            None => Ok(()),
        }
    }
}

fn within<T: PartialOrd>(value: T, min: T, max: T) -> bool {
    (min..=max).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_each_range_is_checked() {
        assert!(Settings::default().check().is_ok());
        type Spoil = fn(&mut Settings);
        let spoiled: [(&str, Spoil); 12] = [
            ("member", |s| s.member.clear()),
            ("in_progress_code", |s| s.in_progress_code = "000".into()),
            ("answer_within", |s| s.answer_within = Duration::ZERO),
            ("deadline_margin", |s| s.deadline_margin = Duration::from_secs(6)),
            ("calls_in_flight_max", |s| s.calls_in_flight_max = 0),
            ("watches_max", |s| s.watches_max = 0),
            ("watch_lease", |s| s.watch_lease = Duration::ZERO),
            ("watch_for_max", |s| s.watch_for_max = Duration::ZERO),
            ("repeats_kept", |s| s.repeats_kept = 0),
            ("streams_per_connection_max", |s| s.streams_per_connection_max = 0),
            ("request_bytes_max", |s| s.request_bytes_max = 1),
            ("drain_within", |s| s.drain_within = Duration::from_secs(61)),
        ];
        for (name, spoil) in spoiled {
            let mut settings = Settings::default();
            spoil(&mut settings);
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
