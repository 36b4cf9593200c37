//! Runs a seat for each partition of a topic. Claims in the log decide which process holds a
//! partition (protocol rule P4); the assignment by the consumer group is only a hint.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use rand::Rng;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::error;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_order::Process;
use twqr_service::{Context, Health, Part};

use crate::{
    doubles::Doubles,
    holders::Holders,
    seat::{Held, HoldEnd, Seat, Yields},
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
    /// Whether this process should leave the partitions to others for now.
    pub yields: Yields,
}

impl TopicMember {
    /// A member that never leaves its partitions to others while it works.
    pub fn new(journal: Arc<dyn Journal>, topic: Topic, member: String) -> Self {
        Self { journal, topic, member, yields: Arc::new(|| false) }
    }
}

/// How often it is checked whether the holders of all partitions are known.
const CHECK: Duration = Duration::from_millis(100);

/// The part of a process's membership among the holders of a topic, in the health report.
pub fn group_part(topic: Topic) -> String {
    format!("{}/group", topic.name())
}

/// Holds partitions of a topic until shutdown, or until it fails. `hold` runs for each partition
/// that this process has claimed; `part` names the holder of a partition in the health report.
/// `check` runs before a partition is watched; while it fails, the partition is not claimed.
///
/// A holder that panics makes the process dead, so that it is restarted: nothing else would work on
/// its partition again.
///
/// The part [`group_part`] is ready once the group has assigned something, or nothing, and while it
/// is known who holds the partitions: a process without a partition is a standby, which takes over
/// when another one ends.
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
    let TopicMember { journal, topic, member, yields } = member;
    let group = context.health.part(group_part(topic));
    group.not_ready("waiting for the group's assignment");
    let me = Process { name: member.as_str().into(), nonce: rand::rng().random() };
    let doubles = Doubles::new(me.clone());
    let mut assignments = journal.assignments(topic, &member).await?;
    let (mut seats, mut hints) = (JoinSet::new(), BTreeMap::new());
    let holders = Arc::new(Holders::new(journal.partitions(topic)));
    for index in 0..journal.partitions(topic) {
        let (hint, assigned) = watch::channel(false);
        hints.insert(index, hint);
        let (journal, clock, me) = (journal.clone(), context.clock.clone(), me.clone());
        let writer = HoldWriter { journal, clock, partition: Partition { topic, index }, me };
        let seat =
            Seat::new(writer, assigned, context.shutdown.clone(), doubles.clone(), holders.clone(), yields.clone());
        let (health, part, check, hold) = (context.health.clone(), part.clone(), check.clone(), hold.clone());
        seats.spawn(async move { seat.keep(|| health.part(part(index)), || check(index), hold).await });
    }
    let (mut is_member, mut announced) = (false, Announced::default());
    let mut checks = tokio::time::interval(CHECK);
    let ended = loop {
        let assigned = tokio::select! {
            () = context.shutdown.cancelled() => break Ok(()),
            () = doubles.refused.cancelled() => break Err(JournalError::Unusable(
                format!("another process with the member name {member} is alive; set a different member for each process").into(),
            )),
            changed = assignments.changed() => changed,
            _ = checks.tick(), if is_member => {
                report_holders(&group, &holders, topic);
                continue;
            }
            Some(ended) = seats.join_next() => {
                report_panic(&ended, topic, &context.health);
                continue;
            }
        };
        match assigned {
            Ok(assigned) => {
                // Before the group's part is ready, so that the process is not ready in between.
                announced.change(&assigned, &part, &context.health);
                hint_all(&hints, &assigned);
                is_member = true;
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

/// Reports whether this process holds, or stands by for holders that it knows.
fn report_holders(group: &Part, holders: &Holders, topic: Topic) {
    match holders.unknown(Instant::now()) {
        Some(index) => group.not_ready(format!("no holder of {}/{index} shows signs of life", topic.name())),
        None if group.is_ready() => {}
        None => group.ready(),
    }
}

/// The parts of assigned partitions, which must exist before their seats notice the assignment.
#[derive(Default)]
struct Announced(BTreeMap<u32, Part>);

impl Announced {
    /// Adds the parts of these partitions. A part of another partition is removed if it has not
    /// begun: if the group changes its mind at once, its seat never notices that it was wanted.
    fn change(&mut self, assigned: &BTreeSet<u32>, part: impl Fn(u32) -> String, health: &Health) {
        self.0.retain(|index, part| {
            let is_assigned = assigned.contains(index);
            if !is_assigned {
                part.remove_if_starting();
            }
            is_assigned
        });
        for index in assigned {
            let name = part(*index);
            if !health.has(&name) {
                self.0.insert(*index, health.part(name));
            }
        }
    }
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

    use tokio::{sync::Notify, task::JoinHandle};
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
            let member = TopicMember::new(journal.clone(), Topic::WalletTasks, (*member).to_owned());
            hold_partitions(member, context, part, |_| async { Ok::<_, String>(()) }, hold)
        });
        let running = tokio::time::timeout(Duration::from_secs(3), futures::future::join_all(holding));
        assert!(running.await.is_err(), "none ends");
        for (member, _, context) in &members {
            assert!(context.health.is_ready(), "{member}: {:?}", context.health.report());
        }
    }

    #[test]
    fn a_partition_that_is_assigned_and_taken_away_at_once_leaves_no_part() {
        let (health, mut announced) = (Health::default(), Announced::default());
        let part = |index: u32| format!("router/shard-{index}");
        announced.change(&(0..4).collect(), part, &health);
        let begun = health.part(part(3));
        begun.not_ready("claiming");
        announced.change(&(0..2).collect(), part, &health);
        let left: Vec<u32> = (0..4).filter(|index| health.has(&part(*index))).collect();
        assert_eq!(left, [0, 1, 3], "the seat of 3 has begun, and removes its part itself");
        announced.change(&(0..4).collect(), part, &health);
        assert!((0..4).all(|index| health.has(&part(index))));
    }

    /// Shows signs of life until it is asked to stop or loses the partition.
    async fn hold_alive(mut held: Held, lost: Arc<Notify>) -> HoldEnd {
        held.signs.note_protocol(1);
        held.part.ready();
        loop {
            tokio::select! {
                () = held.stop.cancelled() => return HoldEnd::Lost,
                () = lost.notified() => return HoldEnd::Lost,
                () = held.signs.due() => held.signs.show(held.claim + 1),
            }
        }
    }

    fn join(sim: &Sim, member: &str, context: &Context, lost: Arc<Notify>) -> JoinHandle<()> {
        let (journal, context, member) = (sim.session(member), context.clone(), member.to_owned());
        tokio::spawn(async move {
            let member = TopicMember::new(journal, Topic::WalletTasks, member);
            let part = |index: u32| format!("wallet-tasks/{index}");
            let hold = move |held| hold_alive(held, lost.clone());
            hold_partitions(member, &context, part, |_| async { Ok::<_, String>(()) }, hold).await.unwrap();
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_hands_a_partition_over_stays_ready() {
        let faults = Faults { end_delay_ms_max: 20, ..Faults::default() };
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
        let (before, after, lost) = (context(), context(), Arc::<Notify>::default());
        let _before = join(&sim, "worker-0", &before, lost.clone());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let _after = join(&sim, "worker-1", &after, Arc::default());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(before.health.is_ready() && after.health.is_ready());
        lost.notify_waiters();
        for _ in 0..2_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(before.health.is_ready(), "{:?}", before.health.report());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_joining_process_is_ready_only_once_it_sees_who_holds_the_partitions() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let join = |member: &str, context: &Context| join(&sim, member, context, Arc::default());
        let until_ready = async |context: &Context| {
            let mut reasons = BTreeSet::new();
            while !context.health.is_ready() {
                reasons.insert(format!("{:?}", context.health.report()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            reasons
        };
        let (holder, standby) = (context(), context());
        let _holding = join("worker-0", &holder);
        until_ready(&holder).await;
        let _standing_by = join("worker-1", &standby);
        let reasons = tokio::time::timeout(Duration::from_millis(900), until_ready(&standby)).await.unwrap();
        let unseen = "no holder of wallet-tasks/0 shows signs of life";
        assert!(reasons.iter().any(|reason| reason.contains(unseen)), "{reasons:?}");
        assert!(holder.health.is_ready() && !standby.health.has("wallet-tasks/0"));
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
        let member = TopicMember::new(journal, Topic::Orders, "router-0".into());
        let ending = hold_partitions(member, &context, part, |_| async { Ok::<_, String>(()) }, hold);
        let (ended, why) =
            tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(ending, dead) }).await.unwrap();
        assert!(ended.is_ok() && why.starts_with("orders/tasks: "), "{why}");
    }
}
