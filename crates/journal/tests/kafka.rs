//! The journal on Apache Kafka: the conformance suite, and tests of topics, groups and fetchers.
//! They need a broker, which `make test-kafka` starts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier},
    client::DefaultClientContext,
};
use twqr_journal::{
    Journal, JournalError, Topic, Witness,
    kafka::{KafkaJournal, KafkaSettings, Layout, Plan, apply, plan},
    read_whole,
};
use twqr_journal_conformance::{ORDERS, TwoProcesses, conformance, plain, read_all, text};

const LAYOUT: Layout =
    Layout { shards: 2, task_partitions: 2, replies_partitions: 4, replication: 1, min_insync: 1, retention_hours: 1 };

/// A new deployment on the broker that `KAFKA_BOOTSTRAP` names.
fn settings() -> KafkaSettings {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP");
    KafkaSettings {
        bootstrap: bootstrap
            .unwrap_or_else(|_| panic!("KAFKA_BOOTSTRAP is not set; run `make test-kafka`, which starts a broker")),
        prefix: format!("test-{:016x}.", rand::random::<u64>()),
        properties: BTreeMap::new(),
        session_timeout_ms: 2_000,
        append_timeout_ms: 10_000,
        queue_kib_max: 65_536,
    }
}

async fn create(settings: &KafkaSettings, layout: &Layout) {
    let made = plan(settings.clone(), layout).await.unwrap();
    apply(settings.clone(), layout, &made).await.unwrap();
}

async fn join(settings: &KafkaSettings, member: &str) -> Arc<KafkaJournal> {
    KafkaJournal::connect(settings.clone(), member).await.unwrap()
}

fn admin(settings: &KafkaSettings) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &settings.bootstrap).create().unwrap()
}

async fn open_new() -> TwoProcesses {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    TwoProcesses { one: join(&settings, "one").await, two: join(&settings, "two").await, keep_alive: None }
}

conformance!(open_new, ignore = "needs a broker: make test-kafka");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn topics_are_created_once_and_later_differences_are_named() {
    let settings = settings();
    let missing = KafkaJournal::connect(settings.clone(), "one").await.err().unwrap().to_string();
    assert!(missing.contains("order-states") && missing.contains("twqr topics apply"), "{missing}");
    let first = plan(settings.clone(), &LAYOUT).await.unwrap();
    assert_eq!((first.create.len(), first.deviations.len(), first.record), (8, 0, true));
    // As if `apply` had ended before it recorded the layout.
    apply(settings.clone(), &LAYOUT, &Plan { record: false, ..first }).await.unwrap();
    let unrecorded = KafkaJournal::connect(settings.clone(), "one").await.err().unwrap().to_string();
    assert!(unrecorded.contains("layout of the topics is not recorded; run `twqr topics apply`"), "{unrecorded}");
    let rest = plan(settings.clone(), &LAYOUT).await.unwrap();
    assert_eq!(rest, Plan { record: true, ..Plan::default() });
    apply(settings.clone(), &LAYOUT, &rest).await.unwrap();
    let second = plan(settings.clone(), &LAYOUT).await.unwrap();
    assert!(second.is_empty(), "{second:?}");
    assert_eq!(join(&settings, "one").await.partitions(Topic::Orders), 2);

    let longer = Layout { retention_hours: 2, ..LAYOUT };
    let change = plan(settings.clone(), &longer).await.unwrap();
    let changed: Vec<&str> = change.deviations.iter().map(|deviation| deviation.what.as_str()).collect();
    assert_eq!(changed, ["retention.ms"; 3], "{change:?}");
    apply(settings.clone(), &longer, &change).await.unwrap();
    assert!(plan(settings.clone(), &longer).await.unwrap().is_empty());

    let other = Layout { shards: 3, ..longer };
    let refused = plan(settings.clone(), &other).await.unwrap();
    let error = apply(settings, &other, &refused).await.unwrap_err().to_string();
    assert!(error.contains("partitions is 2, must be 3") && error.contains("fixed at creation"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_partition_added_later_prevents_the_start() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let admin = admin(&settings);
    let orders = format!("{}orders", settings.prefix);
    let added = admin.create_partitions(&[NewPartitions::new(&orders, 3)], &AdminOptions::new()).await.unwrap();
    assert_eq!(added, [Ok(orders.clone())]);
    let error = loop {
        match KafkaJournal::connect(settings.clone(), "one").await {
            // The broker's metadata may lag behind for a moment.
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains(&format!("{orders}: partitions is 3, must be 2")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn the_error_names_an_unreachable_broker() {
    let settings = KafkaSettings { bootstrap: "127.0.0.1:9".to_owned(), ..settings() };
    let error = KafkaJournal::connect(settings, "one").await.err().unwrap();
    assert!(matches!(&error, JournalError::Unreachable(text) if text.contains("127.0.0.1:9")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn members_share_the_partitions_and_take_over_those_of_a_leaver() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let (one, two) = (join(&settings, "one").await, join(&settings, "two").await);
    let mut first = one.assignments(Topic::Orders, "one").await.unwrap();
    assert_eq!(first.changed().await.unwrap().len(), 2);
    let mut second = two.assignments(Topic::Orders, "two").await.unwrap();
    let (shared, taken) = (first.changed().await.unwrap(), second.changed().await.unwrap());
    assert_eq!((shared.len(), taken.len()), (1, 1));
    assert_ne!(shared, taken);
    tokio::task::spawn_blocking(move || drop(first)).await.unwrap();
    assert_eq!(second.changed().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_new_reader_never_gets_records_fetched_for_an_earlier_one() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "one").await;
    for n in 0..500 {
        drop(journal.append(ORDERS, vec![plain(&n.to_string())]));
    }
    journal.append(ORDERS, vec![plain("500")]).await.unwrap();
    for round in 0..30_u64 {
        let from = (round * 37) % 500;
        let mut reader = journal.reader(ORDERS, from).await.unwrap();
        let batch = tokio::time::timeout(Duration::from_secs(10), reader.next(3)).await.unwrap().unwrap();
        assert_eq!((batch[0].offset, text(&batch[0])), (from, from.to_string()), "round {round}");
    }
    assert_eq!(read_all(&*journal, ORDERS, 0).await.len(), 501);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_reader_dropped_while_paused_does_not_stop_a_later_one() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "one").await;
    let other = twqr_journal::Partition { index: 0, ..ORDERS };
    let _keeps_the_fetcher_running = journal.reader(other, 0).await.unwrap();
    let slow = journal.reader(ORDERS, 0).await.unwrap();
    let big = "x".repeat(500_000);
    for n in 0..20 {
        journal.append(ORDERS, vec![plain(&format!("{n} {big}"))]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(slow);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let read = tokio::time::timeout(Duration::from_secs(30), read_all(&*journal, ORDERS, 0)).await.unwrap();
    assert_eq!(read.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn records_that_the_broker_compresses_are_read_in_order() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "one").await;
    let mut reader = journal.reader(ORDERS, 0).await.unwrap();
    journal.append(ORDERS, vec![plain("0")]).await.unwrap();
    assert_eq!(text(&reader.next(9).await.unwrap()[0]), "0");

    let admin = admin(&settings);
    let orders = format!("{}orders", settings.prefix);
    // What is not named gets the broker's default.
    let change = AlterConfig::new(ResourceSpecifier::Topic(&orders))
        .set("max.message.bytes", "1114112")
        .set("unclean.leader.election.enable", "false")
        .set("compression.type", "lz4");
    admin.alter_configs([&change], &AdminOptions::new()).await.unwrap();
    // The broker's configuration may lag behind for a moment.
    for n in 1..100 {
        journal.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut next = 1;
    while next < 100 {
        let records = tokio::time::timeout(Duration::from_secs(10), reader.next(7)).await.unwrap().unwrap();
        for record in records {
            assert_eq!((record.offset, text(&record)), (next, next.to_string()));
            next += 1;
        }
    }
    assert_eq!(read_all(&*journal, ORDERS, 0).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_topic_that_was_created_again_is_refused_by_name() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "one").await;
    for n in 0..5 {
        journal.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
    }
    let mark = |record: &twqr_journal::Record| text(record).parse().ok();
    let witness = Some(Witness { offset: 4, mark: 4 });
    read_whole(&*journal, ORDERS, 5, witness, mark).await.unwrap();
    journal.close().await;

    let admin = admin(&settings);
    let orders = format!("{}orders", settings.prefix);
    admin.delete_topics(&[&orders], &AdminOptions::new()).await.unwrap();
    // The broker deletes the topic in the background.
    while !plan(settings.clone(), &LAYOUT).await.unwrap().create.contains(&orders) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "two").await;
    let refused = |reader: Result<_, JournalError>| reader.err().map(|error| error.to_string()).unwrap_or_default();
    let empty = refused(read_whole(&*journal, ORDERS, 5, witness, mark).await);
    assert!(empty.contains("orders/1 is not whole: it ends at offset 0"), "{empty}");
    for n in 100..110 {
        journal.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
    }
    let grown = refused(read_whole(&*journal, ORDERS, 5, witness, mark).await);
    assert!(grown.contains("orders/1 is not whole: its record 4"), "{grown}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn settings_that_could_lose_records_prevent_the_start() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let admin = admin(&settings);
    let orders = format!("{}orders", settings.prefix);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&orders))
        .set("retention.bytes", "1073741824")
        .set("unclean.leader.election.enable", "true");
    admin.alter_configs([&change], &AdminOptions::new()).await.unwrap();
    let error = loop {
        match KafkaJournal::connect(settings.clone(), "one").await {
            // The broker's configuration may lag behind for a moment.
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error.to_string(),
        }
    };
    for named in ["unclean.leader.election.enable is true", "retention.bytes is 1073741824", "twqr topics apply"] {
        assert!(error.contains(named), "{named}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn an_acknowledgement_has_the_brokers_time_unless_the_topic_does_not_stamp_records() {
    let settings = settings();
    create(&settings, &LAYOUT).await;
    let journal = join(&settings, "one").await;
    let now = || i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let sent = now();
    let log_time = journal.append(ORDERS, vec![plain("a"), plain("b")]).log_time().await.unwrap().unwrap();
    assert!((sent..=now()).contains(&log_time), "the broker of this test has the same clock: {log_time}");

    let admin = admin(&settings);
    let orders = format!("{}orders", settings.prefix);
    // What is not named gets the broker's default.
    let change = AlterConfig::new(ResourceSpecifier::Topic(&orders))
        .set("max.message.bytes", "1114112")
        .set("unclean.leader.election.enable", "false")
        .set("message.timestamp.type", "CreateTime");
    admin.alter_configs([&change], &AdminOptions::new()).await.unwrap();
    // The broker's configuration may lag behind for a moment.
    while journal.append(ORDERS, vec![plain("c")]).log_time().await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let change = plan(settings.clone(), &LAYOUT).await.unwrap();
    let stamped = change.deviations.iter().find(|deviation| deviation.what == "message.timestamp.type").unwrap();
    assert_eq!((&*stamped.is, stamped.can_change), ("CreateTime", true));
    let journal = join(&settings, "two").await;
    assert_eq!(read_all(&*journal, ORDERS, 0).await.len(), journal.end(ORDERS).await.unwrap() as usize);
    apply(settings.clone(), &LAYOUT, &change).await.unwrap();
    while journal.append(ORDERS, vec![plain("d")]).log_time().await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
