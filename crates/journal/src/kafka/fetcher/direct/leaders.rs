//! Follows which broker leads each partition, and lets its tasks fetch.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{FetcherShared, FetcherState, failing::Failing, subscription::TROUBLE};
use crate::{
    Partition,
    kafka::{
        lock,
        wire::{Leader, LeaderSearch, Leaders},
    },
};

/// How often the leaders are asked for, even if nothing failed: a broker that hangs does not say
/// that it leads no more.
const EVERY: Duration = Duration::from_secs(2);
/// How long at least lies between two questions.
const APART: Duration = Duration::from_millis(50);
/// The longest pause while a leader is not known.
const APART_MAX: Duration = Duration::from_secs(1);

/// Follows the leaders until the fetcher ends.
pub(super) async fn follow(shared: Arc<FetcherShared>, mut search: LeaderSearch) {
    let (mut failing, mut pause) = (Failing::default(), APART);
    loop {
        let asked = Instant::now();
        let known = lock(&shared.state).brokers.values().cloned().collect();
        match search.ask(known).await {
            Ok(found) => {
                failing.succeeded();
                take(&shared, found);
            }
            Err(error) => failing.failed(&error, asked, "the leaders of partitions are not known"),
        }
        // Until all leaders are known, the pauses are short at first.
        let is_complete = is_complete(&shared);
        pause = if is_complete { APART } else { (pause * 2).min(APART_MAX) };
        let next = async {
            tokio::time::sleep(APART).await;
            let wait = if is_complete { EVERY } else { pause };
            let left = wait.saturating_sub(asked.elapsed());
            let _ = tokio::time::timeout(left, shared.ask_leaders.notified()).await;
        };
        if shared.ended.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

/// Whether the leader of each open partition is known.
fn is_complete(shared: &FetcherShared) -> bool {
    let state = lock(&shared.state);
    !state.brokers.is_empty() && state.subscriptions.values().all(|of| state.leaders.contains_key(&of.partition))
}

/// Takes what was found, and wakes the tasks whose partitions have a new leader.
fn take(shared: &Arc<FetcherShared>, found: Leaders) {
    let now = Instant::now();
    let state = &mut *lock(&shared.state);
    state.answers += 1;
    state.brokers = found.brokers;
    state.leaders.retain(|partition, _| !found.refused.contains_key(&partition.topic));
    let moved: BTreeSet<Partition> = found
        .by_partition
        .into_iter()
        .filter(|(partition, leader)| state.take_leader(*partition, *leader, now))
        .map(|(partition, _)| partition)
        .collect();
    let mut woken = Vec::new();
    for (number, subscription) in &mut state.subscriptions {
        let partition = subscription.partition;
        if let Some(error) = found.refused.get(&partition.topic) {
            subscription.topic_refused(*error, now);
        }
        if state.leaders.get(&partition).is_some_and(|leader| subscription.is_newer_than(*leader)) {
            let reason = "the epoch of its leader is older than its records: the topic is another one";
            subscription.failed(reason, false, now);
        }
        if moved.contains(&partition) {
            subscription.try_now();
            woken.push(*number);
        }
    }
    for number in woken {
        shared.wake_task(state, number);
    }
}

impl FetcherState {
    /// Takes a partition's leader; returns whether it is another one. An older one is believed only
    /// if no broker says otherwise for a while: a broker that is cut off names itself.
    fn take_leader(&mut self, partition: Partition, leader: Leader, now: Instant) -> bool {
        let is_older = self.leaders.get(&partition).is_some_and(|known| (0..known.epoch).contains(&leader.epoch));
        if is_older && now.duration_since(*self.older_since.entry(partition).or_insert(now)) < TROUBLE {
            return false;
        }
        self.older_since.remove(&partition);
        self.leaders.insert(partition, leader) != Some(leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    #[test]
    fn an_older_leader_is_believed_only_if_no_broker_names_a_newer_one_for_a_while() {
        let partition = Partition { topic: Topic::Orders, index: 0 };
        let (mut state, begin) = (FetcherState::default(), Instant::now());
        // Second, broker and epoch that are named, and whether the leader is another one then.
        let cases = [
            (0, (1, 5), true),
            (1, (1, 5), false),
            (2, (2, 4), false),
            (9, (2, 4), false),
            (10, (1, 5), false),
            (11, (2, 4), false),
            (20, (2, 4), false),
            (21, (2, 4), true),
            (22, (3, -1), true),
            (23, (1, 6), true),
        ];
        for (second, (broker, epoch), is_another) in cases {
            let now = begin + Duration::from_secs(second);
            assert_eq!(state.take_leader(partition, Leader { broker, epoch }, now), is_another, "second {second}");
        }
    }
}
