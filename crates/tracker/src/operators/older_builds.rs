//! Looks for processes of older builds before the protocol version is raised: such builds would
//! misread the records of the new version, or could not read them at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::Status;
use tracing::warn;
use twqr_journal::{Journal, JournalError, Member, Partition, Reader, Record, Topic};
use twqr_wire::{
    convert::{HeldTopic, KnownProtocol, ShownProcess},
    ops::OperatorRefusalReason,
};

use super::{no_journal, refusal::refuse};

/// How long the log is read. Every process shows itself three times in this time.
const LOOK: Duration = Duration::from_secs(3);
/// How often it is read while a process is known and does not say what it knows: that process may
/// be slow, or it is gone and its group is about to notice.
const LOOKS_MAX: u32 = 2;
/// How long the whole search may take: longer than all looks, and shorter than `twqr policy apply`
/// waits.
const SEARCH_MAX: Duration = Duration::from_secs(16);
/// How long it waits before it begins again after the brokers did not answer it, as happens while
/// a coordinator moves or the machine is busy.
const PAUSE: Duration = Duration::from_millis(500);
const BATCH_RECORDS_MAX: usize = 256;
/// How many processes are named; further ones are counted.
const NAMED_MAX: usize = 10;
/// The topics in which processes show what they know.
const SHOWN_ON: [Topic; 4] = [Topic::Orders, Topic::WalletTasks, Topic::FiscTasks, Topic::Replies];

/// Refuses to raise the protocol version to `wanted` unless every process knows it that is a member
/// of a group, holds a partition of `replies` or shows itself in the log. So a process that does
/// nothing, and one of a build that shows nothing, are seen, too.
pub(super) async fn refuse_if_any(journal: &Arc<dyn Journal>, wanted: u32) -> Result<(), Status> {
    if !journal.is_shared() {
        return Ok(());
    }
    let older: Vec<_> = search(|| known(journal)).await?.into_iter().filter(|(_, newest)| *newest < wanted).collect();
    if older.is_empty() { Ok(()) } else { Err(older_refused(wanted, &older)) }
}

/// What a search finds. One that fails is begun again while there is time.
async fn search<T, F>(begin: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, JournalError>>,
{
    let unseen = "nothing was changed, since it is not known which builds run";
    let until = Instant::now() + SEARCH_MAX;
    loop {
        let slow = |_| {
            let text = format!("{unseen}: the brokers are slow; try again");
            refuse(OperatorRefusalReason::LogUnavailable, text)
        };
        match timeout_at(until, begin()).await.map_err(slow)? {
            Ok(found) => return Ok(found),
            Err(error) => {
                warn!(%error, "the search for processes of older builds failed");
                if Instant::now() + PAUSE + LOOK >= until {
                    return Err(no_journal(unseen, &error));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Every process that exists, with the newest version that it knows; 0 if it does not say.
async fn known(journal: &Arc<dyn Journal>) -> Result<BTreeMap<ShownProcess, u32>, JournalError> {
    let mut known = BTreeMap::new();
    let mut looks = 0;
    loop {
        let (members, shown) = tokio::join!(journal.members(), read_all(journal));
        for KnownProtocol { process, newest } in shown? {
            // A process that was replaced meanwhile shows two; the older one may still write.
            let least = known.entry(process).or_insert(newest);
            *least = newest.min(*least);
        }
        let processes = members?.into_iter().map(|member| match member {
            Member::Group(name) => ShownProcess::Member(name.into()),
            Member::Replies(index) => ShownProcess::Ingress(index),
        });
        let silent: Vec<ShownProcess> = processes.filter(|process| !known.contains_key(process)).collect();
        looks += 1;
        if silent.is_empty() || looks == LOOKS_MAX {
            known.extend(silent.into_iter().map(|process| (process, 0)));
            return Ok(known);
        }
    }
}

/// What the records of all topics show that are appended while this reads.
async fn read_all(journal: &Arc<dyn Journal>) -> Result<BTreeSet<KnownProtocol>, JournalError> {
    let mut reading = JoinSet::new();
    for topic in SHOWN_ON {
        for index in 0..journal.partitions(topic) {
            reading.spawn(read(journal.clone(), Partition { topic, index }));
        }
    }
    let mut shown = BTreeSet::new();
    for read in reading.join_all().await {
        shown.extend(read?);
    }
    Ok(shown)
}

async fn read(journal: Arc<dyn Journal>, partition: Partition) -> Result<BTreeSet<KnownProtocol>, JournalError> {
    let end = journal.end(partition).await?;
    let mut reader = journal.follower(partition, end).await?;
    look(&mut *reader, partition.topic, Instant::now() + LOOK).await
}

async fn look(reader: &mut dyn Reader, topic: Topic, until: Instant) -> Result<BTreeSet<KnownProtocol>, JournalError> {
    let mut shown = BTreeSet::new();
    // The reader of a busy partition always has records, so the time is looked at besides.
    while Instant::now() < until
        && let Ok(records) = timeout_at(until, reader.next(BATCH_RECORDS_MAX)).await
    {
        for Record { entry, .. } in records? {
            let Some(value) = entry.value else { continue };
            match topic {
                // Records with a key are questions who holds the partition.
                Topic::Replies if !entry.key.is_empty() => {}
                Topic::Replies => shown.extend(KnownProtocol::of_reply(&value)),
                Topic::Orders => shown.extend(KnownProtocol::of_record(HeldTopic::Orders, &value)),
                Topic::WalletTasks | Topic::FiscTasks | Topic::OrderStates | Topic::DeadLetters | Topic::Callers => {
                    shown.extend(KnownProtocol::of_record(HeldTopic::Tasks, &value));
                }
            }
        }
    }
    Ok(shown)
}

fn older_refused(wanted: u32, older: &[(ShownProcess, u32)]) -> Status {
    let name = |(process, newest): &(ShownProcess, u32)| match newest {
        0 => format!("{process} does not say which version it knows"),
        newest => format!("{process} knows {newest}"),
    };
    let named: Vec<String> = older.iter().take(NAMED_MAX).map(name).collect();
    let more = older.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let text = format!(
        "nothing was changed: every process must know protocol version {wanted} before it is raised, but {}{more}. \
         Replace them with this build, then apply the policy again. A killed process counts until its group has \
         noticed: if a named process is gone, wait for kafka.session_timeout_ms (6 s by default) before you apply \
         the policy again",
        named.join("; ")
    );
    refuse(OperatorRefusalReason::OlderBuilds, text)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use twqr_journal::Entry;
    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_order::{Alive, HoldRecord, Process, ReplyTo};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, UnixMs};
    use twqr_wire::convert::{Presence, ReplyRecord, encode_presence, encode_query, encode_reply_record};

    use super::*;

    const AT: UnixMs = UnixMs(1_790_000_000_000);

    fn sign(topic: HeldTopic, name: &str, protocol_known: u32) -> Entry {
        let by = Process { name: name.into(), nonce: 1 };
        Entry::plain(
            topic.encode_hold(
                AT,
                HoldRecord::Alive(Alive { claim: 0, position: 1, by, is_leaving: false, protocol_known }),
            ),
        )
    }

    fn request(partition: u32) -> Entry {
        let key = OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
        };
        Entry::plain(encode_query(AT, &key, ReplyTo { partition, correlation: 1, until: AT }, false))
    }

    /// The answer to a raise to this version while the processes write these records.
    async fn raise(wanted: u32, written: Vec<(Topic, Entry)>) -> Result<(), Status> {
        raise_in(&Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7), wanted, written).await
    }

    async fn raise_in(sim: &Sim, wanted: u32, written: Vec<(Topic, Entry)>) -> Result<(), Status> {
        let (journal, writer) = (sim.session("tracker-0"), sim.session("others"));
        let old = sign(HeldTopic::Orders, "router-gone", 1);
        writer.append(Partition { topic: Topic::Orders, index: 0 }, vec![old]).await.unwrap();
        let journal: Arc<dyn Journal> = journal;
        let writing = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            for (topic, entry) in written {
                writer.append(Partition { topic, index: 1 }, vec![entry]).await.unwrap();
            }
        };
        tokio::join!(refuse_if_any(&journal, wanted), writing).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_is_raised_only_if_every_process_that_writes_knows_it() {
        let new = || {
            vec![
                (Topic::Orders, sign(HeldTopic::Orders, "router-1", 3)),
                (Topic::FiscTasks, sign(HeldTopic::Tasks, "fisc-1", 4)),
                (Topic::Orders, request(5)),
            ]
        };
        raise(3, new()).await.unwrap();
        raise(3, Vec::new()).await.unwrap();
        let older = vec![
            (Topic::WalletTasks, sign(HeldTopic::Tasks, "wallet-1", 0)),
            (Topic::FiscTasks, sign(HeldTopic::Tasks, "fisc-2", 2)),
        ];
        let refused = raise(3, [new(), older].concat()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("fisc-2 knows 2; wallet-1 does not say"), "{refused}");
        let refused = raise(4, new()).await.unwrap_err();
        let named = "router-1 knows 3; the ingress with partition 5 of replies knows 3";
        assert!(refused.message().contains(named), "{refused}");
    }

    fn shown(members: &[&str], replies_partition: Option<u32>) -> (Topic, Entry) {
        let members = members.iter().map(ToString::to_string).collect();
        (Topic::Replies, Entry::plain(encode_presence(1, &Presence { members, replies_partition })))
    }

    #[tokio::test(start_paused = true)]
    async fn processes_that_write_nothing_else_are_seen() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let raise = async |written: Vec<(Topic, Entry)>| {
            raise_in(&sim, 3, written).await.map_err(|refused| {
                assert_eq!(refused.code(), Code::FailedPrecondition);
                refused.message().to_owned()
            })
        };
        raise(vec![]).await.unwrap();
        // A standby, and an ingress without calls.
        let (standby, idle) = (sim.session("standby"), sim.session("idle"));
        let _membership = standby.assignments(Topic::Orders, "router-2").await.unwrap();
        let refused = raise(vec![]).await.unwrap_err();
        assert!(refused.contains("but router-2 does not say which version it knows."), "{refused}");
        let hold = idle.hold_replies("ingress-2").await.unwrap();
        let refused = raise(vec![shown(&["router-2", "tracker-2"], None)]).await.unwrap_err();
        let named = format!("but the ingress with partition {} of replies does not say", hold.partition.index);
        assert!(refused.contains(&named), "{refused}");
        let unnamed = || Entry::plain(encode_reply_record(&ReplyRecord::probe(1)));
        // The value of a question who holds the partition is random, and may look like a record.
        let question = Entry { key: "probe".into(), ..unnamed() };
        let all = || {
            let ingress = shown(&["ingress-2"], Some(hold.partition.index));
            vec![shown(&["router-2"], None), ingress, (Topic::Replies, question.clone())]
        };
        raise(all()).await.unwrap();
        // A build that measures its clock, but names neither itself nor what it knows.
        let unnamed = (Topic::Replies, unnamed());
        let refused = raise([all(), vec![unnamed]].concat()).await.unwrap_err();
        let named = "but a process of an earlier build, which does not say its name, does not say";
        assert!(refused.contains(named), "{refused}");
        // One build replaced by another with the same name.
        let both = vec![
            (Topic::Orders, sign(HeldTopic::Orders, "router-2", 2)),
            (Topic::Orders, sign(HeldTopic::Orders, "router-2", 3)),
        ];
        let refused = raise([all(), both].concat()).await.unwrap_err();
        assert!(refused.contains("but router-2 knows 2."), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_of_several_services_is_known_by_each_of_its_names() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let groups =
            [(Topic::Orders, "router-a"), (Topic::WalletTasks, "wallet-worker-a"), (Topic::FiscTasks, "fisc-worker-a")];
        let mut joined = Vec::new();
        for (topic, member) in groups {
            joined.push(sim.session(member).assignments(topic, member).await.unwrap());
        }
        let names = ["ingress-a", "router-a", "tracker-a", "wallet-worker-a", "fisc-worker-a"];
        raise_in(&sim, 3, vec![shown(&names, None)]).await.unwrap();
        for (_, unnamed) in groups {
            let others: Vec<&str> = names.into_iter().filter(|name| *name != unnamed).collect();
            let refused = raise_in(&sim, 3, vec![shown(&others, None)]).await.unwrap_err();
            let reason = format!("but {unnamed} does not say which version it knows.");
            assert!(refused.message().contains(&reason), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_process_counts_until_its_group_has_noticed() {
        let faults = Faults { session_timeout_ms: 6_000, ..Faults::default() };
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, faults, 7);
        let killed = sim.session("killed");
        let _membership = killed.assignments(Topic::FiscTasks, "fisc-worker-3").await.unwrap();
        killed.crash();
        let refused = raise_in(&sim, 3, Vec::new()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        for part in ["fisc-worker-3 does not say", "is gone, wait for kafka.session_timeout_ms"] {
            assert!(refused.message().contains(part), "{refused}");
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        raise_in(&sim, 3, Vec::new()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_shows_itself_late_is_waited_for() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let slow = sim.session("slow");
        let _membership = slow.assignments(Topic::Orders, "router-2").await.unwrap();
        let showing = async {
            tokio::time::sleep(LOOK + Duration::from_secs(1)).await;
            let (topic, entry) = shown(&["router-2"], None);
            slow.append(Partition { topic, index: 1 }, vec![entry]).await.unwrap();
        };
        tokio::join!(raise_in(&sim, 3, Vec::new()), showing).0.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_that_does_not_end_changes_nothing() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 2 }, Faults::default(), 7);
        let slow = sim.session("tracker-0");
        slow.pause();
        let journal: Arc<dyn Journal> = slow;
        let searched = tokio::time::timeout(Duration::from_hours(1), refuse_if_any(&journal, 3)).await;
        let refused = searched.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        for part in ["nothing was changed", "try again"] {
            assert!(refused.message().contains(part), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_that_the_brokers_did_not_answer_is_begun_again_while_there_is_time() {
        for (failing_s, expected) in [(0, None), (2, None), (11, None), (20, Some(Code::Unavailable))] {
            let recovered = Instant::now() + Duration::from_secs(failing_s);
            let found = search(async || {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let failed = || JournalError::Unusable("the coordinator moves".into());
                if Instant::now() < recovered { Err(failed()) } else { Ok(7) }
            });
            let found = found.await.map_err(|refused| refused.code());
            assert_eq!(found, expected.map_or(Ok(7), Err), "failing for {failing_s} s");
        }
    }

    /// A partition whose next records are always there. Reading them takes time.
    struct Busy;

    #[async_trait::async_trait]
    impl Reader for Busy {
        async fn next(&mut self, _max: usize) -> Result<Vec<Record>, JournalError> {
            tokio::time::advance(Duration::from_millis(10)).await;
            Ok(vec![Record { offset: 1, entry: request(5) }])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_always_busy_is_not_read_for_ever() {
        let began = Instant::now();
        let shown = look(&mut Busy, Topic::Orders, began + LOOK).await.unwrap();
        assert_eq!((began.elapsed(), shown.len()), (LOOK, 1));
    }
}
