//! The task of one lane and broker: it asks the broker for records, one request after another, and
//! gives them to the readers.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{FetchResponse, ListOffsetsResponse, OffsetForLeaderEpochResponse, fetch_response::PartitionData},
};
use tokio::sync::Notify;
use tracing::debug;

use super::{
    super::buffer::Stop,
    FetcherShared, TaskKey,
    batch::{self, Fetched, Obstacle},
    failing::Failing,
    request::{self, Asked},
    subscription::Subscription,
};
use crate::{
    Offset,
    kafka::{
        lock,
        wire::{Call, Connection},
    },
};

/// How much longer an answer may take than the broker may wait for records.
const ANSWER: Duration = Duration::from_secs(2);
/// How long the broker may wait while a reader's buffer is full, since that reader may soon want
/// more.
const PAUSED_WAIT: Duration = Duration::from_millis(10);
/// For how long that is so.
const PAUSED: Duration = Duration::from_secs(1);
/// How long to wait after a connection failed.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);
/// How long a connection without requests stays open; brokers close one after ten minutes.
const UNUSED: Duration = Duration::from_mins(1);

/// Fetches until the fetcher ends.
pub(super) async fn run(shared: Arc<FetcherShared>, key: TaskKey, wake: Arc<Notify>) {
    let mut task = LaneTask { shared: shared.clone(), key, connection: None, turn: 0 };
    let fetching = async {
        let mut failing = Failing::default();
        loop {
            let now = Instant::now();
            let plan = task.plan(now);
            if plan.is_empty() {
                task.rest(&plan, now, &wake).await;
                continue;
            }
            match task.round(&plan, now).await {
                Ok(is_smooth) => {
                    failing.succeeded();
                    if !is_smooth {
                        shared.ask_leaders.notify_one();
                    }
                }
                Err(error) => {
                    failing.failed(&error, now, "a broker does not answer");
                    task.connection = None;
                    shared.ask_leaders.notify_one();
                    tokio::time::sleep(CONNECT_AGAIN).await;
                }
            }
        }
    };
    let _: Option<()> = shared.ended.run_until_cancelled(fetching).await;
}

struct LaneTask {
    shared: Arc<FetcherShared>,
    key: TaskKey,
    connection: Option<Connection>,
    /// Counts requests, so that each partition is the first one of some.
    turn: usize,
}

/// What a task does next.
#[derive(Default)]
struct RoundPlan {
    /// The readers whose records are fetched.
    fetch: Vec<Asked>,
    /// Those of which the leader must first say whether it has their newest record.
    check: Vec<Asked>,
    /// A reader's buffer became full a moment ago.
    is_any_paused: bool,
    /// When the first of the partitions that are left out comes back.
    left_out_until: Option<Instant>,
}

impl RoundPlan {
    fn is_empty(&self) -> bool {
        self.fetch.is_empty() && self.check.is_empty()
    }
}

impl LaneTask {
    fn plan(&mut self, now: Instant) -> RoundPlan {
        let mut plan = RoundPlan::default();
        let state = lock(&self.shared.state);
        for (number, subscription) in &state.subscriptions {
            let Subscription { partition, next, epoch, .. } = *subscription;
            let leader = state.leaders.get(&partition).filter(|leader| leader.broker == self.key.broker);
            let Some(leader) = leader.filter(|leader| !subscription.is_newer_than(**leader)) else { continue };
            if subscription.lane != self.key.lane || subscription.is_stopped {
                continue;
            }
            let asked = Asked { number: *number, partition, leader: *leader, next, epoch };
            if let Some(since) = subscription.buffer.paused_since() {
                plan.is_any_paused |= now.duration_since(since) < PAUSED;
            } else if let Some(until) = subscription.left_out_until(now) {
                plan.left_out_until = Some(plan.left_out_until.map_or(until, |first| first.min(until)));
            } else if subscription.needs_check(*leader) {
                plan.check.push(asked);
            } else {
                plan.fetch.push(asked);
            }
        }
        drop(state);
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % plan.fetch.len().max(1);
        plan.fetch.rotate_left(first);
        plan
    }

    /// Waits until there may be something to fetch.
    async fn rest(&mut self, plan: &RoundPlan, now: Instant, wake: &Notify) {
        let longest = plan.left_out_until.map_or(UNUSED, |until| until.duration_since(now));
        let is_woken = tokio::time::timeout(longest, wake.notified()).await.is_ok();
        if !is_woken && plan.left_out_until.is_none() {
            self.connection = None;
            wake.notified().await;
        }
    }

    /// Does what is planned. Returns whether nothing failed.
    async fn round(&mut self, plan: &RoundPlan, now: Instant) -> io::Result<bool> {
        let mut failed = false;
        if !plan.check.is_empty() {
            let request = request::epoch_ends(&plan.check, &self.shared.topics);
            let answer = self.call(&request, ANSWER).await?;
            failed |= self.take_epoch_ends(&plan.check, &answer);
        }
        if plan.fetch.is_empty() {
            return Ok(!failed);
        }
        let (bytes, wait_ms) = self.key.lane.pace.wait();
        let wait = match plan {
            RoundPlan { check, .. } if !check.is_empty() => Duration::ZERO,
            RoundPlan { is_any_paused: true, .. } => PAUSED_WAIT,
            RoundPlan { left_out_until, .. } => {
                let wait = Duration::from_millis(wait_ms.into());
                left_out_until.map_or(wait, |until| wait.min(until.duration_since(now)))
            }
        };
        let request = request::fetch(&plan.fetch, &self.shared.topics, bytes, wait);
        let answer = self.call(&request, wait + ANSWER).await?;
        let out_of_range = self.take_records(&plan.fetch, answer, &mut failed)?;
        if !out_of_range.is_empty() {
            let request = request::oldest(&out_of_range, &self.shared.topics);
            let answer = self.call(&request, ANSWER).await?;
            failed |= self.take_oldest(&out_of_range, &answer);
        }
        Ok(!failed)
    }

    async fn call<C: Call>(&mut self, request: &C, within: Duration) -> io::Result<C::Response> {
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let address = lock(&self.shared.state).brokers.get(&self.key.broker).cloned();
            let address = address.ok_or_else(|| io::Error::other("the broker is not known"))?;
            Connection::open(&address, &self.shared.client_id).await?
        };
        let answer = connection.call(request, within).await?;
        // Only now: after an error a late answer may still arrive on it.
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Does something with a reader that is still where it was when it was asked for.
    fn update(&self, asked: &Asked, with: impl FnOnce(&mut Subscription)) {
        let mut state = lock(&self.shared.state);
        let subscription = state.subscriptions.get_mut(&asked.number);
        if let Some(subscription) = subscription.filter(|of| of.next == asked.next && !of.is_stopped) {
            with(subscription);
        }
    }

    /// Gives records to the readers. Returns those whose log has no such offset.
    fn take_records(&self, asked: &[Asked], answer: FetchResponse, failed: &mut bool) -> io::Result<Vec<Asked>> {
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            return Err(io::Error::other(format!("no records: {error}")));
        }
        let (mut out_of_range, mut answered) = (Vec::new(), Vec::new());
        for of_topic in answer.responses {
            for data in of_topic.partitions {
                let one = request::find(asked, &self.shared.topics, &of_topic.topic, data.partition_index);
                let Some(one) = one else { continue };
                answered.push(one.number);
                match ResponseError::try_from_code(data.error_code) {
                    None => *failed |= self.take_partition(&one, data),
                    Some(ResponseError::OffsetOutOfRange) => out_of_range.push(one),
                    Some(error) => *failed |= self.take_error(&one, error),
                }
            }
        }
        *failed |= self.leave_out_unanswered(asked, &answered);
        Ok(out_of_range)
    }

    /// Leaves partitions out for a while about which an answer says nothing.
    fn leave_out_unanswered(&self, asked: &[Asked], answered: &[u64]) -> bool {
        let mut failed = false;
        for one in asked.iter().filter(|one| !answered.contains(&one.number)) {
            failed |= self.take_error(one, ResponseError::UnknownServerError);
        }
        failed
    }

    fn take_partition(&self, asked: &Asked, data: PartitionData) -> bool {
        let Fetched { records, next, epoch, obstacle } = batch::read(data.records.unwrap_or_default(), asked.next);
        self.update(asked, |subscription| {
            subscription.next = next;
            if let Some(epoch) = epoch {
                (subscription.epoch, subscription.checked) = (epoch, Some(asked.leader));
            }
            let has_records = !records.is_empty();
            for record in records {
                subscription.buffer.push(record, || true);
            }
            if has_records {
                subscription.buffer.wake();
            }
            match obstacle {
                None => subscription.succeeded(),
                Some(Obstacle::Compressed) => subscription.stop(Stop::Compressed),
                Some(Obstacle::Damaged(what)) => {
                    let reason = format!("the batch at offset {next} is damaged: {what}");
                    subscription.failed(&reason, false, Instant::now());
                }
            }
        });
        matches!(obstacle, Some(Obstacle::Damaged(_)))
    }

    fn take_error(&self, asked: &Asked, error: ResponseError) -> bool {
        debug!(partition = %asked.partition, %error, "a partition cannot be read now");
        self.update(asked, |subscription| subscription.troubled(error, Instant::now()));
        true
    }

    /// Takes where the epochs end: a leader whose log ends before the reader's next record has lost
    /// what was read.
    fn take_epoch_ends(&self, asked: &[Asked], answer: &OffsetForLeaderEpochResponse) -> bool {
        let (mut failed, mut answered) = (false, Vec::new());
        for of_topic in &answer.topics {
            for result in &of_topic.partitions {
                let one = request::find(asked, &self.shared.topics, &of_topic.topic, result.partition);
                let Some(one) = one else { continue };
                answered.push(one.number);
                if let Some(error) = ResponseError::try_from_code(result.error_code) {
                    failed |= self.take_error(&one, error);
                    continue;
                }
                let end = Offset::try_from(result.end_offset).ok();
                failed |= end.is_none();
                self.update(&one, |subscription| match end {
                    Some(end) if end < one.next => subscription.stop(ends_below(end, one.next)),
                    Some(_) => subscription.checked = Some(one.leader),
                    None => subscription.failed("its leader does not know its epochs", false, Instant::now()),
                });
            }
        }
        failed | self.leave_out_unanswered(asked, &answered)
    }

    /// Takes where the logs begin that do not have the next offset of a reader. One that begins
    /// later was trimmed; the reader goes on with its oldest record. Otherwise the log ends too
    /// early, or this broker leads no more and does not know it.
    fn take_oldest(&self, asked: &[Asked], answer: &ListOffsetsResponse) -> bool {
        let (mut failed, mut answered) = (false, Vec::new());
        let (answers, brokers) = {
            let state = lock(&self.shared.state);
            (state.answers, u64::try_from(state.brokers.len()).unwrap_or(u64::MAX))
        };
        for of_topic in &answer.topics {
            for result in &of_topic.partitions {
                let one = request::find(asked, &self.shared.topics, &of_topic.name, result.partition_index);
                let Some(one) = one else { continue };
                if let Some(error) = ResponseError::try_from_code(result.error_code) {
                    answered.push(one.number);
                    failed |= self.take_error(&one, error);
                    continue;
                }
                let Ok(start) = Offset::try_from(result.offset) else { continue };
                answered.push(one.number);
                self.update(&one, |subscription| {
                    if start > one.next {
                        (subscription.next, subscription.epoch) = (start, -1);
                        return;
                    }
                    failed = true;
                    let doubted_at = *subscription.doubted_at.get_or_insert(answers);
                    // Each broker was asked who leads since then.
                    if answers.saturating_sub(doubted_at) > brokers {
                        subscription.stop(no_such_offset(one.next));
                    } else {
                        subscription.troubled(ResponseError::UnknownLeaderEpoch, Instant::now());
                    }
                });
            }
        }
        failed | self.leave_out_unanswered(asked, &answered)
    }
}

fn ends_below(end: Offset, next: Offset) -> Stop {
    let reason = format!(
        "its new leader ends at offset {end}, and the records below {next} were read before: it lost its newest records, or the topic is another one"
    );
    Stop::NotWhole(reason.into())
}

fn no_such_offset(next: Offset) -> Stop {
    let reason = format!(
        "it ends before offset {next}, the next one to read: it lost its newest records, or the topic is another one"
    );
    Stop::NotWhole(reason.into())
}
