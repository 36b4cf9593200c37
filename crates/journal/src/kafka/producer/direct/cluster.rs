//! Follows which broker leads each partition, and starts a sender for each broker.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tracing::debug;

use super::{Broker, Shared, sender};
use crate::kafka::{
    lock,
    wire::{LeaderSearch, Leaders},
};

/// How often the leaders are asked for, even if nothing failed: a broker that hangs does not say
/// that it leads no more.
const EVERY: Duration = Duration::from_secs(2);
/// How long at least lies between two questions.
const APART: Duration = Duration::from_millis(50);

/// Follows the leaders until the producer ends.
pub(super) async fn follow(shared: Arc<Shared>, mut search: LeaderSearch) {
    loop {
        let asked = Instant::now();
        let known = lock(&shared.state).brokers.values().map(|broker| broker.address.clone()).collect();
        match search.ask(known).await {
            Ok(found) => take(&shared, found),
            Err(error) => {
                debug!(%error, "the leaders of partitions are not known");
                lock(&shared.state).problem = Some(error.to_string());
            }
        }
        let next = async {
            tokio::time::sleep(APART).await;
            // Until all leaders are known, every pause is short.
            let wait = if is_complete(&shared) { EVERY } else { APART };
            let left = wait.saturating_sub(asked.elapsed());
            let _ = tokio::time::timeout(left, shared.ask_leaders.notified()).await;
        };
        if shared.ended.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

/// Whether the leader of each partition with appends is known.
fn is_complete(shared: &Shared) -> bool {
    let state = lock(&shared.state);
    !state.brokers.is_empty() && state.queues.keys().all(|partition| state.leaders.contains_key(partition))
}

/// Takes what was found, and wakes the senders of brokers for which something waits.
fn take(shared: &Arc<Shared>, found: Leaders) {
    let mut state = lock(&shared.state);
    for (id, address) in found.brokers {
        if let Some(known) = state.brokers.get_mut(&id) {
            known.address = address;
            continue;
        }
        let wake = Arc::new(Notify::new());
        state.brokers.insert(id, Broker { address, wake: wake.clone() });
        tokio::spawn(sender::run(shared.clone(), id, wake));
    }
    state.leaders.extend(found.by_partition.into_iter().map(|(partition, leader)| (partition, leader.broker)));
    for (partition, queue) in &state.queues {
        if queue.is_ready() {
            state.wake_leader(*partition);
        }
    }
}
