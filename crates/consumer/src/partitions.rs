//! Runs a seat for each partition of a topic. Claims in the log decide which process holds a
//! partition (protocol rule P4); the assignment by the consumer group is only a hint.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};

use rand::Rng;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tracing::error;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_order::Process;
use twqr_service::{Context, Health};

use crate::{
    doubles::Doubles,
    seat::{Held, HoldEnd, Seat},
    signs::HoldWriter,
};

/// The topic whose partitions are held, and by whom.
#[derive(Clone)]
pub struct TopicMember {
    /// The journal with the topic.
    pub journal: Arc<dyn Journal>,
    /// A topic whose partitions are claimed: `orders`, or one of the tasks.
    pub topic: Topic,
    /// The name of this process among the members of the topic: unique, the same after a restart.
    pub member: String,
}

/// Holds partitions of a topic until shutdown, or until it fails. `hold` runs for each partition
/// that this process has claimed; `part` names the holder of a partition in the health report.
/// `check` runs before a partition is watched; while it fails, the partition is not claimed.
///
/// A holder that panics makes the process dead, so that it is restarted: nothing else would work on
/// its partition again.
///
/// The part `TOPIC/group` is ready once the group has assigned something, or nothing: a process
/// without a partition is a standby, which takes over when another one ends.
///
/// At the end it leaves the group, and waits for every holder. It fails if another living process
/// has the same member name.
pub async fn hold_partitions<F, C, E>(
    member: TopicMember,
    context: &Context,
    part: impl Fn(u32) -> String + Clone + Send + Sync + 'static,
    check: impl Fn(u32) -> C + Clone + Send + Sync + 'static,
    hold: impl Fn(Held) -> F + Clone + Send + Sync + 'static,
) -> Result<(), JournalError>
where
    C: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
    F: Future<Output = HoldEnd> + Send + 'static,
{
    let TopicMember { journal, topic, member } = member;
    let group = context.health.part(format!("{}/group", topic.name()));
    group.not_ready("waiting for the group's assignment");
    let me = Process { name: member.as_str().into(), nonce: rand::rng().random() };
    let doubles = Doubles::new(me.clone());
    let mut assignments = journal.assignments(topic, &member).await?;
    let (mut seats, mut hints) = (JoinSet::new(), BTreeMap::new());
    for index in 0..journal.partitions(topic) {
        let (hint, assigned) = watch::channel(false);
        hints.insert(index, hint);
        let (journal, clock, me) = (journal.clone(), context.clock.clone(), me.clone());
        let writer = HoldWriter { journal, clock, partition: Partition { topic, index }, me };
        let seat = Seat::new(writer, assigned, context.shutdown.clone(), doubles.clone());
        let (health, part, check, hold) = (context.health.clone(), part.clone(), check.clone(), hold.clone());
        seats.spawn(async move { seat.keep(|| health.part(part(index)), || check(index), hold).await });
    }
    let ended = loop {
        let assigned = tokio::select! {
            () = context.shutdown.cancelled() => break Ok(()),
            () = doubles.refused.cancelled() => break Err(JournalError::Unusable(
                format!("another process with the member name {member} is alive; give each process its own name").into(),
            )),
            changed = assignments.changed() => changed,
            Some(ended) = seats.join_next() => {
                report_panic(&ended, topic, &context.health);
                continue;
            }
        };
        match assigned {
            Ok(assigned) => {
                // Before the group's part is ready, so that the process is not ready in between.
                let names = assigned.iter().map(|index| part(*index));
                names.filter(|name| !context.health.has(name)).for_each(|name| drop(context.health.part(name)));
                hint_all(&hints, &assigned);
                group.ready();
            }
            Err(error) => break Err(error),
        }
    };
    // Dropping the assignments leaves the group, which may block.
    let leaving = tokio::task::spawn_blocking(move || drop(assignments));
    if ended.is_err() {
        seats.abort_all();
    }
    while seats.join_next().await.is_some() {}
    drop(leaving.await);
    ended
}

fn hint_all(hints: &BTreeMap<u32, watch::Sender<bool>>, assigned: &BTreeSet<u32>) {
    for (index, hint) in hints {
        let is_assigned = assigned.contains(index);
        hint.send_if_modified(|was| std::mem::replace(was, is_assigned) != is_assigned);
    }
}

/// Makes the process dead if a task has panicked. The task's own part is still in its last state.
fn report_panic(ended: &Result<(), JoinError>, topic: Topic, health: &Health) {
    if let Err(error) = ended {
        let topic = topic.name();
        error!(topic, %error, "the task of a partition has panicked");
        health.part(format!("{topic}/tasks")).dead("the task of a partition has panicked; see the log");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_service::{CancellationToken, SystemClock};

    use super::*;

    fn context() -> Context {
        Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_a_partition_is_a_ready_standby() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let members = ["worker-0", "worker-1", "worker-2"].map(|member| (member, sim.session(member), context()));
        assert!(members.iter().all(|(.., context)| !context.health.is_ready()));
        let hold = |held: Held| async move {
            held.part.ready();
            held.stop.cancelled().await;
            HoldEnd::Lost
        };
        let part = |index: u32| format!("wallet-tasks/{index}");
        let holding = members.iter().map(|(member, journal, context)| {
            let member =
                TopicMember { journal: journal.clone(), topic: Topic::WalletTasks, member: (*member).to_owned() };
            hold_partitions(member, context, part, |_| async { Ok::<_, String>(()) }, hold)
        });
        let running = tokio::time::timeout(Duration::from_secs(3), futures::future::join_all(holding));
        assert!(running.await.is_err(), "none ends");
        for (member, _, context) in &members {
            assert!(context.health.is_ready(), "{member}: {:?}", context.health.report());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_panics_makes_the_process_dead() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let (journal, context) = (sim.session("router-0"), context());
        let hold = |held: Held| async move {
            assert!(held.partition.index != 1, "planted");
            held.stop.cancelled().await;
            HoldEnd::Lost
        };
        let dead = async {
            let why = context.health.until_dead().await;
            context.shutdown.cancel();
            why
        };
        let part = |index: u32| format!("router/shard-{index}");
        let member = TopicMember { journal, topic: Topic::Orders, member: "router-0".into() };
        let ending = hold_partitions(member, &context, part, |_| async { Ok::<_, String>(()) }, hold);
        let (ended, why) =
            tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(ending, dead) }).await.unwrap();
        assert!(ended.is_ok() && why.starts_with("orders/tasks: "), "{why}");
    }
}
