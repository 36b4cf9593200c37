//! Runs a task for each partition that the consumer group assigns to this process. The assignment
//! is only a hint: claims in the log decide which process owns a partition (protocol rule P4). So
//! the old and the new task of one partition may run at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::error;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::{CancellationToken, Context, Health};

/// Follows the assignments of `topic` to `member` until shutdown, or until the assignments fail.
/// `hold` runs as a task for each assigned partition; its token fires when the partition is no
/// longer assigned, and at the end.
///
/// A task that panics makes the process dead, so that it is restarted: nothing else would work on
/// its partition again.
///
/// The part `TOPIC/group` is ready once the group has assigned something, or nothing: a process
/// without a partition is a standby, which takes over when another one ends.
///
/// At the end it first leaves the group, so that other processes claim the partitions. Then it
/// waits for every task that it started, including those whose partition was reassigned earlier.
pub async fn hold_assigned<F>(
    journal: &dyn Journal,
    topic: Topic,
    member: &str,
    context: &Context,
    hold: impl Fn(u32, CancellationToken) -> F,
) -> Result<(), JournalError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let group = context.health.part(format!("{}/group", topic.name()));
    group.not_ready("waiting for the group's assignment");
    let mut assignments = journal.assignments(topic, member).await?;
    let mut partitions = HeldPartitions::default();
    let ended = loop {
        let assigned = tokio::select! {
            () = context.shutdown.cancelled() => break Ok(()),
            changed = assignments.changed() => changed,
            Some(ended) = partitions.tasks.join_next() => {
                report_panic(&ended, topic, &context.health);
                continue;
            }
        };
        match assigned {
            Ok(assigned) => {
                group.ready();
                partitions.change_to(&assigned, &hold);
            }
            Err(error) => break Err(error),
        }
    };
    // Dropping the assignments leaves the group, which may block.
    drop(tokio::task::spawn_blocking(move || drop(assignments)).await);
    partitions.end().await;
    ended
}

/// Makes the process dead if a task has panicked. The task's own part is still in its last state.
fn report_panic(ended: &Result<(), JoinError>, topic: Topic, health: &Health) {
    if let Err(error) = ended {
        let topic = topic.name();
        error!(topic, %error, "the task of a partition has panicked");
        health.part(format!("{topic}/tasks")).dead("the task of a partition has panicked; see the log");
    }
}

/// The tasks of the assigned partitions, and older tasks that have not ended yet.
#[derive(Default)]
struct HeldPartitions {
    assigned: BTreeMap<u32, HeldPartition>,
    /// Every task that has not ended, whether its partition is still assigned or not.
    tasks: JoinSet<()>,
}

struct HeldPartition {
    unassigned: CancellationToken,
    task: AbortHandle,
}

impl HeldPartitions {
    /// Cancels the tasks of partitions that are no longer assigned, and starts a task for each
    /// assigned partition without one. A partition that is assigned again does not wait for the end
    /// of its old task. A task that ended by itself is replaced.
    fn change_to<F>(&mut self, assigned: &BTreeSet<u32>, hold: impl Fn(u32, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.assigned.retain(|index, held| {
            if !assigned.contains(index) {
                held.unassigned.cancel();
            }
            !held.unassigned.is_cancelled() && !held.task.is_finished()
        });
        for index in assigned {
            self.assigned.entry(*index).or_insert_with(|| {
                let unassigned = CancellationToken::new();
                let task = self.tasks.spawn(hold(*index, unassigned.clone()));
                HeldPartition { unassigned, task }
            });
        }
    }

    async fn end(mut self) {
        for held in self.assigned.values() {
            held.unassigned.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_service::SystemClock;

    use super::*;

    /// What happened to the tasks, in order.
    type Events = Arc<Mutex<Vec<String>>>;

    /// How long a test's task takes to end once its partition is no longer assigned.
    const ENDING: Duration = Duration::from_secs(3);

    fn recorder(
        events: &Events,
    ) -> impl Fn(u32, CancellationToken) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let events = events.clone();
        move |index, unassigned| {
            let events = events.clone();
            Box::pin(async move {
                events.lock().unwrap().push(format!("start {index}"));
                unassigned.cancelled().await;
                tokio::time::sleep(ENDING).await;
                events.lock().unwrap().push(format!("end {index}"));
            })
        }
    }

    async fn take_events(events: &Events) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::mem::take(&mut *events.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_is_assigned_again_gets_a_new_task_while_the_old_one_ends() {
        let (events, mut partitions) = (Events::default(), HeldPartitions::default());
        let hold = recorder(&events);
        partitions.change_to(&BTreeSet::from([0, 1]), &hold);
        assert_eq!(take_events(&events).await, ["start 0", "start 1"]);
        partitions.change_to(&BTreeSet::from([0]), &hold);
        partitions.change_to(&BTreeSet::from([0, 1]), &hold);
        assert_eq!(take_events(&events).await, ["start 1"], "0 is still held, and 1 is started again");
        partitions.end().await;
        assert_eq!(take_events(&events).await, ["end 1", "end 0", "end 1"], "it must wait for every task");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ended_by_itself_is_started_at_the_next_change() {
        let (events, mut partitions) = (Events::default(), HeldPartitions::default());
        let hold = |index, _unassigned| {
            let events = events.clone();
            async move { events.lock().unwrap().push(format!("start {index}")) }
        };
        for _ in 0..2 {
            partitions.change_to(&BTreeSet::from([3]), hold);
            assert_eq!(take_events(&events).await, ["start 3"]);
        }
        partitions.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_a_partition_is_a_ready_standby() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let members = ["worker-0", "worker-1", "worker-2"].map(|member| {
            let context =
                Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
            (member, sim.session(member), context)
        });
        assert!(members.iter().all(|(.., context)| !context.health.is_ready()));
        let hold = |_, unassigned: CancellationToken| async move { unassigned.cancelled().await };
        let holding = members
            .iter()
            .map(|(member, journal, context)| hold_assigned(&**journal, Topic::WalletTasks, member, context, hold));
        let running = tokio::time::timeout(ENDING, futures::future::join_all(holding));
        assert!(running.await.is_err(), "none ends");
        for (member, _, context) in &members {
            assert!(context.health.is_ready(), "{member}: {:?}", context.health.report());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_makes_the_process_dead() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let journal = sim.session("router-0");
        let context =
            Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
        let hold = |index: u32, unassigned: CancellationToken| async move {
            assert!(index != 1, "planted");
            unassigned.cancelled().await;
        };
        let dead = async {
            let why = context.health.until_dead().await;
            context.shutdown.cancel();
            why
        };
        let ending = hold_assigned(&*journal, Topic::Orders, "router-0", &context, hold);
        let (ended, why) = tokio::time::timeout(ENDING, async { tokio::join!(ending, dead) }).await.unwrap();
        assert!(ended.is_ok() && why.starts_with("orders/tasks: "), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_task_whose_partition_was_reassigned_earlier() {
        let (events, mut partitions) = (Events::default(), HeldPartitions::default());
        let hold = recorder(&events);
        partitions.change_to(&BTreeSet::from([7]), &hold);
        partitions.change_to(&BTreeSet::new(), &hold);
        partitions.end().await;
        assert_eq!(take_events(&events).await, ["start 7", "end 7"]);
    }
}
