//! Measures the wall clock of this process by small records that it appends to `replies` and that
//! the brokers stamp. Every build ignores such a record. The measurement needs no partition, so
//! also a process that has released its partitions notices when its clock is right again. The
//! records also contain the process's members and the newest protocol version that its build knows,
//! for the check before the version is raised.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{task::JoinSet, time::Instant};
use tracing::{error, info, warn};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_service::{CLOCK_PART, Clock, Context, MeasuredClock, Part, join_background};
use twqr_types::UnixMs;
use twqr_wire::convert::{Presence, encode_presence};

use crate::metrics::SKEW;

/// The time between two measurements.
const SPACING: Duration = Duration::from_secs(1);
/// How long an append may take to count as a measurement.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// How long the start waits for the first measurement: nothing waits for `replies` for longer.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// The time between two reports of the state.
const REPORT: Duration = Duration::from_millis(250);
/// After so long without a measurement the clock is reported as not measured.
const UNMEASURED_MAX: Duration = Duration::from_mins(1);

/// Measures the clock of one process, and reports it as the part [`CLOCK_PART`].
pub struct ClockMeter {
    journal: Arc<dyn Journal>,
    clock: Arc<MeasuredClock>,
    part: Part,
    presence: Presence,
}

/// The partitions of `replies` in turn, so that their leaders are asked one after the other.
struct Probes {
    next: u32,
    measured_at: Option<Instant>,
    is_stamped: bool,
}

impl ClockMeter {
    /// Measures once, for at most 2 s, so that a process with a wrong clock begins nothing by it.
    /// Then measures every second until `context.shutdown` fires, in a task of its own. `members`
    /// are the names of the process's services.
    pub async fn begin(journal: Arc<dyn Journal>, clock: Arc<MeasuredClock>, members: Vec<String>, context: &Context) {
        SKEW.describe();
        let part = context.health.side_part(CLOCK_PART);
        let presence = Presence { members, replies_partition: None };
        let meter = Self { journal, clock, part, presence };
        let mut probes = Probes { next: rand::rng().random(), measured_at: None, is_stamped: true };
        let first = tokio::time::timeout(FIRST_WITHIN, meter.measure(&mut probes)).await;
        if first.is_err() {
            warn!("the first measurement of the clock takes long; starting without it");
        }
        let mut is_reported = meter.report(false, &probes);
        let (shutdown, watched) = (context.shutdown.clone(), meter.part.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut measure_at = Instant::now() + SPACING;
            while !shutdown.is_cancelled() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep_until(measure_at) => {
                        meter.measure(&mut probes).await;
                        measure_at = Instant::now() + SPACING;
                    }
                    () = tokio::time::sleep(REPORT) => {}
                }
                is_reported = meter.report(is_reported, &probes);
            }
        });
        tokio::spawn(async move { join_background(&mut tasks, &watched).await });
    }

    /// Appends a record and compares its time with the clock.
    async fn measure(&self, probes: &mut Probes) {
        let index = probes.next % self.journal.partitions(Topic::Replies).max(1);
        probes.next = index + 1;
        let record = encode_presence(rand::rng().random_range(1..=u64::MAX), &self.presence);
        let sent = Instant::now();
        let ack = self.journal.append(Partition { topic: Topic::Replies, index }, vec![Entry::plain(record)]);
        match tokio::time::timeout(PROBE_WITHIN, ack.log_time()).await {
            Ok(Ok(Some(log_time))) => {
                self.clock.measured(sent, UnixMs(log_time));
                (probes.measured_at, probes.is_stamped) = (Some(Instant::now()), true);
            }
            Ok(Ok(None)) => probes.is_stamped = false,
            // Whatever fails is logged by those that need it; the bounds stay as they were.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// Reports the state of the clock, and logs a change. Returns whether the clock is skewed.
    fn report(&self, was_skewed: bool, probes: &Probes) -> bool {
        let is_skewed = self.clock.is_skewed();
        let Some(skew) = self.clock.skew() else {
            self.report_unmeasured(probes);
            return is_skewed;
        };
        let least_ms = skew.min_ms.max(0) + skew.max_ms.min(0);
        SKEW.gauge(&[]).set(least_ms as f64 / 1_000.0);
        let bound_ms = self.clock.skew_max_ms();
        match (was_skewed, is_skewed) {
            (false, true) => error!(
                skew_min_ms = skew.min_ms,
                skew_max_ms = skew.max_ms,
                bound_ms,
                "the clock of this machine is {skew}; this process takes no payments and gives no evidence until the clock is right: check its time synchronisation"
            ),
            (true, false) => {
                info!(
                    skew_min_ms = skew.min_ms,
                    skew_max_ms = skew.max_ms,
                    bound_ms,
                    "the clock of this machine is right again"
                );
            }
            (true, true) | (false, false) => {}
        }
        if is_skewed {
            self.part.not_ready(format!(
                "the clock is {skew}, clock_skew_max_ms is {bound_ms}; check the machine's time synchronisation"
            ));
        } else if probes.measured_at.is_none_or(|at| at.elapsed() > UNMEASURED_MAX) {
            self.report_unmeasured(probes);
        } else {
            self.part.ready();
        }
        is_skewed
    }

    fn report_unmeasured(&self, probes: &Probes) {
        self.part.degraded(if probes.is_stamped {
            "the clock is not measured: replies cannot be written"
        } else {
            "the clock is not measured: the brokers do not stamp records; `twqr topics apply` changes message.timestamp.type"
        });
    }
}

#[cfg(test)]
mod tests;
