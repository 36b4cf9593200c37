//! Whole seats of several processes on a simulated journal, in virtual time. The group is slow, as
//! on real brokers: it takes 6 s to notice that a process is dead.

use std::sync::Mutex;

use rand::{SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;
use twqr_journal::{Journal, Topic};
use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
use twqr_order::claim_counts;
use twqr_service::{Context, Health, SystemClock};
use twqr_wire::convert::HeldTopic;

use super::*;
use crate::{TopicMember, hold_partitions};

const SHARD: Partition = Partition { topic: Topic::Orders, index: 0 };

/// Who has begun (`+`) and ended (`-`) to hold the shard, and when, in ms.
type Events = Arc<Mutex<Vec<(u64, String)>>>;

struct Member {
    session: Arc<SimSession>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), JournalError>>,
}

struct Stage {
    sim: Sim,
    events: Events,
    began: Instant,
    protocol_version: u32,
}

impl Stage {
    fn new() -> Self {
        let faults = Faults { append_delay_ms_max: 10, session_timeout_ms: 6_000, ..Faults::default() };
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
        Self { sim, events: Events::default(), began: Instant::now(), protocol_version: 1 }
    }

    fn start(&self, name: &str) -> Member {
        self.start_in(self.sim.session(name), name)
    }

    fn start_in(&self, session: Arc<SimSession>, name: &str) -> Member {
        let shutdown = CancellationToken::new();
        let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: Health::default() };
        let (journal, name, events, began) = (session.clone(), name.to_owned(), self.events.clone(), self.began);
        let version = self.protocol_version;
        let running = tokio::spawn(async move {
            let (reads, member) = (journal.clone(), name.clone());
            let hold = move |held| {
                let (journal, name, events) = (reads.clone(), member.clone(), events.clone());
                async move {
                    let note = |sign| {
                        let at = began.elapsed().as_millis() as u64;
                        events.lock().unwrap().push((at, format!("{sign}{name}")));
                    };
                    note('+');
                    let ended = work(held, &*journal, version).await;
                    note('-');
                    ended
                }
            };
            let member = TopicMember::new(journal, Topic::Orders, name);
            let check = |_| async { Ok::<_, String>(()) };
            hold_partitions(member, &context, |_| "shard".to_owned(), check, hold).await
        });
        Member { session, shutdown, running }
    }

    fn holds(&self) -> Vec<(Offset, HoldRecord)> {
        let hold = |record: Record| Some((record.offset, HeldTopic::Orders.decode_hold(&record.entry.value?)?));
        self.sim.records(SHARD).into_iter().filter_map(hold).collect()
    }

    fn count(&self, is_counted: impl Fn(&HoldRecord) -> bool) -> usize {
        self.holds().iter().filter(|(_, hold)| is_counted(hold)).count()
    }

    /// The owners of the claims that count.
    fn owners(&self) -> Vec<String> {
        let (mut newest, mut owners) = (None, Vec::new());
        for (at, hold) in self.holds() {
            if let HoldRecord::Claim { owner, replaces, .. } = hold
                && claim_counts(replaces, newest)
            {
                newest = Some(at);
                owners.push(owner.to_string());
            }
        }
        owners
    }

    fn events(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// The events without their times.
    fn names(&self) -> Vec<String> {
        self.events().into_iter().map(|(_, name)| name).collect()
    }
}

/// A holder that does nothing but hold.
async fn work(mut held: Held, journal: &dyn Journal, version: u32) -> HoldEnd {
    held.signs.note_protocol(version);
    let Ok(mut reader) = journal.reader(held.partition, held.claim + 1).await else { return HoldEnd::Failed };
    let (mut next, mut end_at) = (held.claim + 1, None);
    loop {
        let over = async {
            match end_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = held.stop.cancelled(), if end_at.is_none() => {
                end_at = Some(Instant::now() + Duration::from_secs(3));
                held.signs.leave();
            }
            () = over => {
                drop(held.signs.release());
                return HoldEnd::Lost;
            }
            () = held.signs.due() => held.signs.show(next),
            records = reader.next(64) => {
                let Ok(records) = records else { return HoldEnd::Failed };
                for record in records {
                    next = record.offset + 1;
                    match record.entry.value.as_ref().and_then(|value| HeldTopic::Orders.decode_hold(value)) {
                        Some(HoldRecord::Claim { replaces, .. }) if claim_counts(replaces, Some(held.claim)) => {
                            return HoldEnd::Lost;
                        }
                        Some(HoldRecord::Intent(by)) if held.signs.is_other(&by) => {
                            drop(held.signs.release());
                            return HoldEnd::Lost;
                        }
                        Some(HoldRecord::Doubt(_)) => held.signs.answer_doubt(),
                        _ => {}
                    }
                }
            }
        }
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn is_claim(hold: &HoldRecord) -> bool {
    matches!(hold, HoldRecord::Claim { .. })
}

fn is_doubt(hold: &HoldRecord) -> bool {
    matches!(hold, HoldRecord::Doubt(_))
}

#[tokio::test(start_paused = true)]
async fn the_partition_of_a_killed_or_stopped_process_is_taken_within_a_second_and_kept() {
    for fault in ["kill", "stop"] {
        let stage = Stage::new();
        let a = stage.start("a");
        let _b = stage.start("b");
        pause(2_000).await;
        assert_eq!(stage.names(), ["+a"], "{fault}");
        let failed_ms = stage.began.elapsed().as_millis() as u64;
        if fault == "kill" {
            a.session.crash();
        } else {
            a.session.pause();
        }
        pause(5_000).await;
        let events = stage.events();
        let (taken_ms, _) = *events.iter().find(|(_, name)| name == "+b").as_ref().unwrap();
        assert!(taken_ms - failed_ms <= 1_100, "{fault}: taken after {} ms", taken_ms - failed_ms);
        pause(3_000).await;
        a.session.resume();
        let doubts = stage.count(is_doubt);
        pause(20_000).await;
        // The group assigns the shard to a again once it has joined again; b releases it then.
        let expected: &[&str] = if fault == "kill" { &["a", "b"] } else { &["a", "b", "a"] };
        let owners = stage.owners();
        assert!(owners.len() >= 2 && owners == expected[..owners.len()], "{fault}: {owners:?}");
        assert_eq!((stage.count(is_claim), stage.count(is_doubt)), (stage.owners().len(), doubts), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_survivors_one_takes_the_partition() {
    let stage = Stage::new();
    let a = stage.start("a");
    let _survivors = [stage.start("b"), stage.start("c"), stage.start("d")];
    pause(2_000).await;
    a.session.crash();
    pause(4_000).await;
    let owners = stage.owners();
    assert_eq!(owners.len(), 2, "{owners:?}");
    assert_eq!(stage.count(is_claim), 2, "the ranks keep the others from claiming at all");
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_keeps_the_partition_whatever_happens_to_the_watcher_or_the_broker() {
    let stage = Stage::new();
    let _a = stage.start("a");
    let b = stage.start("b");
    pause(2_000).await;
    for pause_ms in [300, 700, 1_500, 4_000] {
        b.session.pause();
        pause(pause_ms).await;
        b.session.resume();
        pause(2_000).await;
    }
    for silence_ms in [300, 900, 2_500, 5_000] {
        let faults = Faults { append_lost: 1_000, session_timeout_ms: 60_000, ..Faults::default() };
        stage.sim.set_faults(faults);
        pause(silence_ms).await;
        stage.sim.set_faults(Faults { session_timeout_ms: 60_000, ..Faults::default() });
        pause(2_000).await;
    }
    assert_eq!((stage.owners(), stage.names()), (vec!["a".to_owned()], vec!["+a".to_owned()]));
}

/// Lets a process work only now and then, as on a machine without enough CPU time.
async fn starve(session: Arc<SimSession>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        session.pause();
        pause(random.random_range(300..2_000)).await;
        session.resume();
        pause(random.random_range(300..900)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn starved_processes_do_not_replace_each_other_without_end() {
    for seed in 1..=10 {
        let stage = Stage::new();
        // The group would move the shard by itself.
        stage.sim.set_faults(Faults { append_delay_ms_max: 10, session_timeout_ms: 600_000, ..Faults::default() });
        let members = ["a", "b"].map(|name| stage.start(name));
        pause(2_000).await;
        let starving = [0, 1].map(|n| tokio::spawn(starve(members[n].session.clone(), seed * 2 + n as u64)));
        pause(30_000).await;
        let (settled, took) = (stage.owners().len(), 120);
        pause(took * 1_000).await;
        let later = stage.owners().len() - settled;
        assert!(later <= 12, "seed {seed}: {later} takeovers within {took} s, {settled} before");
        for one in starving {
            one.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_always_late_is_doubted_a_few_times_and_not_replaced() {
    let stage = Stage::new();
    stage.sim.set_faults(Faults { append_delay_ms_max: 10, session_timeout_ms: 600_000, ..Faults::default() });
    let [a, _b] = ["a", "b"].map(|name| stage.start(name));
    pause(2_000).await;
    let began = stage.began.elapsed();
    while stage.began.elapsed() < began + Duration::from_secs(25) {
        a.session.pause();
        pause(550).await;
        a.session.resume();
        pause(450).await;
    }
    let doubts = stage.count(is_doubt);
    assert!((2..=5).contains(&doubts), "{doubts} doubts");
    assert_eq!(stage.owners(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_shuts_down_hands_over_by_release() {
    let stage = Stage::new();
    let a = stage.start("a");
    let _b = stage.start("b");
    pause(2_000).await;
    let asked_ms = stage.began.elapsed().as_millis() as u64;
    a.shutdown.cancel();
    a.running.await.unwrap().unwrap();
    pause(1_000).await;
    let events = stage.events();
    let (taken_ms, name) = events.last().unwrap();
    assert!(name == "+b" && taken_ms - asked_ms <= 400, "{events:?} since {asked_ms}");
    assert_eq!(stage.count(is_doubt), 0);
    let release = |hold: &HoldRecord| matches!(hold, HoldRecord::Release { .. });
    assert_eq!((stage.owners(), stage.count(release)), (vec!["a".to_owned(), "b".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn an_assigned_process_gets_the_partition_of_a_living_holder_by_release() {
    let stage = Stage::new();
    // The simulator assigns the only shard to the oldest session that is a member of the group.
    let older = stage.sim.session("b");
    let _a = stage.start("a");
    pause(2_000).await;
    let b = stage.start_in(older, "b");
    pause(3_000).await;
    assert_eq!((stage.names(), stage.count(is_doubt)), (vec!["+a".into(), "-a".into(), "+b".into()], 0));
    pause(10_000).await;
    assert_eq!(stage.names(), Vec::<String>::new(), "it does not move again");
    // A process that has released the partition is no more patient than others.
    b.session.crash();
    pause(1_100).await;
    assert_eq!(stage.owners(), ["a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_the_same_name_refuses_to_run() {
    let stage = Stage::new();
    let first = stage.start("a");
    pause(20_000).await;
    let second = stage.start("a");
    let error = tokio::time::timeout(Duration::from_secs(5), second.running).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("the member name a is alive"), "{error}");
    assert!(!first.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn at_protocol_version_0_no_new_kind_of_record_is_written_and_the_group_decides() {
    let stage = Stage { protocol_version: 0, ..Stage::new() };
    let a = stage.start("a");
    let b = stage.start("b");
    pause(2_000).await;
    a.session.crash();
    pause(5_000).await;
    assert_eq!(stage.owners(), ["a"], "the group has not noticed it yet");
    pause(3_000).await;
    b.shutdown.cancel();
    pause(5_000).await;
    assert_eq!(stage.owners(), ["a", "b"]);
    let is_known = |hold: &HoldRecord| matches!(hold, HoldRecord::Claim { replaces: None, .. });
    assert_eq!(stage.count(|hold| !is_known(hold)), 1, "the test's holder releases at the end: {:?}", stage.holds());
}
