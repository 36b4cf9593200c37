//! What the fetcher knows about one open reader: where it is, and what troubles it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;
use tracing::warn;

use super::{
    super::buffer::{Buffer, Stop},
    Lane,
};
use crate::{Offset, Partition, kafka::wire::Leader};

/// How long a partition may fail before its reader is told, so that a new one is opened. Brokers
/// that start may not know a topic for a while.
pub(super) const TROUBLE: Duration = Duration::from_secs(10);
/// How long a partition is left out after its first error, and after many.
const LEFT_OUT: Duration = Duration::from_millis(20);
const LEFT_OUT_MAX: Duration = Duration::from_secs(1);

/// An open reader.
pub(super) struct Subscription {
    pub(super) partition: Partition,
    pub(super) lane: Lane,
    /// The offset of the next record to fetch.
    pub(super) next: Offset,
    /// The leader's epoch of the newest record that was fetched; -1 if there is none.
    pub(super) epoch: i32,
    /// The leader whose log is known to contain that record.
    pub(super) checked: Option<Leader>,
    pub(super) buffer: Arc<Buffer>,
    /// What fails, if something does.
    trouble: Option<Trouble>,
    /// How many answers about the leaders there were when the log did not have the next offset.
    pub(super) doubted_at: Option<u64>,
    /// Nothing more is fetched.
    pub(super) is_stopped: bool,
}

/// Errors of a partition, without a success between them.
struct Trouble {
    since: Instant,
    latest: Instant,
    /// How many there were.
    count: u32,
    /// The partition is left out until then.
    not_before: Instant,
}

impl Subscription {
    pub(super) fn new(partition: Partition, lane: Lane, from: Offset, buffer: Arc<Buffer>) -> Self {
        Self {
            partition,
            lane,
            next: from,
            epoch: -1,
            checked: None,
            buffer,
            trouble: None,
            doubted_at: None,
            is_stopped: false,
        }
    }

    /// Whether this leader must first say whether its log contains the newest record that was
    /// fetched: a new leader may not have it.
    pub(super) fn needs_check(&self, leader: Leader) -> bool {
        self.epoch >= 0 && self.checked != Some(leader)
    }

    /// Whether it has a record of a later epoch than this leader's. Then the leader is known from a
    /// broker that was behind, or the topic is another one.
    pub(super) fn is_newer_than(&self, leader: Leader) -> bool {
        leader.epoch >= 0 && leader.epoch < self.epoch
    }

    /// Remembers an error of the partition, and tells the reader if it lasts. An absent leader is
    /// no such error: there will be one again.
    pub(super) fn troubled(&mut self, error: ResponseError, now: Instant) {
        use ResponseError as Error;
        let is_about_leader = matches!(
            error,
            Error::NotLeaderOrFollower
                | Error::LeaderNotAvailable
                | Error::ReplicaNotAvailable
                | Error::FencedLeaderEpoch
                | Error::UnknownLeaderEpoch
                | Error::OffsetNotAvailable
        );
        if is_about_leader {
            self.leave_out(now);
            return;
        }
        let is_refused = matches!(error, Error::TopicAuthorizationFailed | Error::InvalidTopicException);
        self.failed(&error.to_string(), is_refused, now);
    }

    /// Remembers that a broker does not let this topic be used. A topic of which something was read
    /// is gone for good if it is not known: another one of the same name would be read on.
    pub(super) fn topic_refused(&mut self, error: ResponseError, now: Instant) {
        if error == ResponseError::UnknownTopicOrPartition && self.epoch >= 0 {
            self.failed("the topic was deleted", true, now);
        } else {
            self.troubled(error, now);
        }
    }

    /// Remembers that the partition cannot be read, and tells the reader if that lasts.
    pub(super) fn failed(&mut self, reason: &str, at_once: bool, now: Instant) {
        if self.is_stopped {
            return;
        }
        let since = self.leave_out(now);
        if (at_once || now.duration_since(since) >= TROUBLE) && !self.buffer.has_stop() {
            warn!(partition = %self.partition, reason, "a partition cannot be read");
            self.buffer.stop(Stop::Failed(reason.into()));
        }
    }

    /// Leaves the partition out for a while, each time for longer. Returns since when it fails.
    fn leave_out(&mut self, now: Instant) -> Instant {
        // What failed long ago, and was not tried since, says nothing.
        let before = self.trouble.take_if(|trouble| now.duration_since(trouble.latest) < TROUBLE / 2);
        let (since, count) = before.map_or((now, 0), |trouble| (trouble.since, trouble.count));
        let pause = LEFT_OUT.saturating_mul(1 << count.min(6)).min(LEFT_OUT_MAX);
        self.trouble = Some(Trouble { since, latest: now, count: count + 1, not_before: now + pause });
        since
    }

    /// Until when the partition is left out, if it is.
    pub(super) fn left_out_until(&self, now: Instant) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.not_before).filter(|until| *until > now)
    }

    /// Tries again at once: the leader is another one.
    pub(super) fn try_now(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.not_before = trouble.latest;
        }
    }

    /// Forgets what failed.
    pub(super) fn succeeded(&mut self) {
        (self.trouble, self.doubted_at) = (None, None);
    }

    /// Stops for good.
    pub(super) fn stop(&mut self, stop: Stop) {
        self.is_stopped = true;
        self.buffer.stop(stop);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Pace, buffer::Taken},
        *,
    };
    use crate::Topic;

    fn subscription() -> Subscription {
        let partition = Partition { topic: Topic::Orders, index: 0 };
        Subscription::new(partition, Lane { pace: Pace::Prompt, number: 0 }, 0, Arc::default())
    }

    #[test]
    fn a_reader_hears_of_trouble_that_lasts_but_not_of_absent_leaders() {
        use ResponseError as Error;
        let cases = [
            (Error::UnknownTopicOrPartition, vec![0, 4, 8], false),
            (Error::UnknownTopicOrPartition, vec![0, 4, 8, 10], true),
            (Error::KafkaStorageError, vec![0, 4, 8, 12], true),
            (Error::KafkaStorageError, vec![0, 30, 60], false),
            (Error::NotLeaderOrFollower, vec![0, 4, 8, 12], false),
            (Error::FencedLeaderEpoch, vec![0, 4, 8, 12], false),
            (Error::TopicAuthorizationFailed, vec![0], true),
        ];
        for (error, seconds, is_told) in cases {
            let (mut subscription, begin) = (subscription(), Instant::now());
            for second in &seconds {
                subscription.troubled(error, begin + Duration::from_secs(*second));
            }
            let told = subscription.buffer.take(1, || true).0;
            assert_eq!(matches!(told, Taken::Stop(Stop::Failed(_))), is_told, "{error:?} at {seconds:?} s: {told:?}");
        }
    }

    #[test]
    fn a_partition_that_fails_is_left_out_for_longer_each_time_until_it_succeeds() {
        let (mut subscription, mut now) = (subscription(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            subscription.troubled(ResponseError::NotLeaderOrFollower, now);
            let until = subscription.left_out_until(now).unwrap_or(now);
            pauses.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        subscription.troubled(ResponseError::NotLeaderOrFollower, now);
        subscription.try_now();
        assert_eq!(subscription.left_out_until(now), None);
        subscription.succeeded();
        subscription.troubled(ResponseError::NotLeaderOrFollower, now);
        assert_eq!(subscription.left_out_until(now), Some(now + LEFT_OUT));
    }

    #[test]
    fn a_reader_hears_at_once_that_a_topic_is_gone_of_which_it_has_read_something() {
        for (epoch, is_told) in [(-1, false), (0, true)] {
            let mut subscription = Subscription { epoch, ..subscription() };
            subscription.topic_refused(ResponseError::UnknownTopicOrPartition, Instant::now());
            assert_eq!(subscription.buffer.has_stop(), is_told, "epoch {epoch}");
        }
    }

    #[test]
    fn a_reader_that_has_stopped_hears_of_nothing_else() {
        let (mut subscription, now) = (subscription(), Instant::now());
        subscription.stop(Stop::NotWhole("short".into()));
        subscription.troubled(ResponseError::TopicAuthorizationFailed, now);
        assert_eq!(subscription.buffer.take(1, || true).0, Taken::Stop(Stop::NotWhole("short".into())));
    }

    #[test]
    fn a_new_leader_is_checked_once_something_was_read() {
        let leader = |broker, epoch| Leader { broker, epoch };
        let mut subscription = subscription();
        assert!(!subscription.needs_check(leader(1, 3)), "nothing was read");
        (subscription.epoch, subscription.checked) = (3, Some(leader(1, 3)));
        let cases = [
            ((1, 3), false, false),
            ((1, 4), true, false),
            ((2, 4), true, false),
            ((2, 2), true, true),
            ((2, -1), true, false),
        ];
        for ((broker, epoch), needs_check, is_newer) in cases {
            let leader = leader(broker, epoch);
            assert_eq!(
                (subscription.needs_check(leader), subscription.is_newer_than(leader)),
                (needs_check, is_newer),
                "{leader:?}"
            );
        }
    }
}
