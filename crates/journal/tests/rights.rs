//! The rights of each program's user on a real broker: what the table of rights allows succeeds,
//! and every other request is refused. Needs a broker of `SECURE=1 deploy/kafka/up` with the lists
//! of `twqr topics acls` and the topics of `twqr topics apply`: `make test-kafka`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use twqr_journal::{
    Topic,
    kafka::{Right, User},
};

const PREFIX: &str = "twqr.";
/// A topic of others on the same cluster.
const OTHERS: &str = "others";
/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(20);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Done,
    Refused,
}

fn outcome(code: RDKafkaErrorCode) -> Outcome {
    let refusals = [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ];
    if code == RDKafkaErrorCode::NoError {
        return Outcome::Done;
    }
    assert!(refusals.contains(&code), "neither done nor refused: {code}");
    Outcome::Refused
}

/// A client's configuration as this user, or as the administrator.
fn config(user: &str) -> ClientConfig {
    let dir = std::env::var("KAFKA_DIR").unwrap();
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(dir);
    // A user whose password was renewed has it under the other mechanism.
    let password = |file: String| std::fs::read_to_string(dir.join("users").join(file));
    let renewed = password(format!("{user}.SCRAM-SHA-256")).map(|renewed| ("SCRAM-SHA-256", renewed));
    let (mechanism, password) = renewed.unwrap_or_else(|_| ("SCRAM-SHA-512", password(user.to_owned()).unwrap()));
    let file = |name: &str| dir.join("tls").join(name).to_str().unwrap().to_owned();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", std::env::var("KAFKA_BOOTSTRAP").unwrap())
        .set("security.protocol", "sasl_ssl")
        .set("sasl.mechanism", mechanism)
        .set("sasl.username", user)
        .set("sasl.password", password.trim())
        .set("ssl.ca.location", file("ca.pem"))
        .set("ssl.certificate.location", file("client.pem"))
        .set("ssl.key.location", file("client.pem"));
    config
}

/// All topics that a user asks for: those of the deployment, and that of others.
fn topics() -> Vec<String> {
    let names = Topic::ALL.map(Topic::name).into_iter().chain(["layout"]);
    names.map(|name| format!("{PREFIX}{name}")).chain([OTHERS.to_owned()]).collect()
}

/// The topics or groups, by name, on which the table allows the operation.
fn allowed(user: User, operation: &str, names: fn(&Right) -> Vec<String>) -> Vec<String> {
    let rights = user.rights().into_iter().filter(|right| right.operations.contains(&operation) && !right.is_prefix);
    rights.flat_map(|right| names(&right)).map(|name| format!("{PREFIX}{name}")).collect()
}

fn expected(names: &[String], allowed: &[String]) -> BTreeMap<String, Outcome> {
    let of = |name: &String| if allowed.contains(name) { Outcome::Done } else { Outcome::Refused };
    names.iter().map(|name| (name.clone(), of(name))).collect()
}

#[derive(Default)]
struct Deliveries(Mutex<BTreeMap<String, Outcome>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (topic, outcome) = match result {
            Ok(message) => (message.topic(), Outcome::Done),
            Err((error, message)) => (message.topic(), outcome(error.rdkafka_error_code().unwrap())),
        };
        self.0.lock().unwrap().insert(topic.to_owned(), outcome);
    }
}

/// Appends a record to each topic.
fn written(user: User) -> BTreeMap<String, Outcome> {
    let producer: BaseProducer<Deliveries> = config(user.name()).create_with_context(Deliveries::default()).unwrap();
    let topics = topics();
    for topic in &topics {
        producer.send(BaseRecord::to(topic).partition(0).key(b"key").payload(b"no record of twqr")).unwrap();
    }
    producer.flush(WITHIN).unwrap();
    std::mem::take(&mut producer.context().0.lock().unwrap())
}

/// Reads each topic from its beginning.
fn read(user: User) -> BTreeMap<String, Outcome> {
    let mut config = config(user.name());
    config.set("group.id", format!("{PREFIX}readers")).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("enable.partition.eof", "true").create().unwrap();
    let read_one = |topic: &String| {
        if topic == OTHERS {
            // No consumer asks for the records of a topic that it may not see.
            let metadata = consumer.fetch_metadata(Some(topic), WITHIN).unwrap();
            return metadata.topics()[0].error().map_or(Outcome::Done, |error| outcome(error.into()));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        first(&consumer, topic, user)
    };
    topics().iter().map(|topic| (topic.clone(), read_one(topic))).collect()
}

/// The first outcome that a consumer reports about a topic.
fn first(consumer: &BaseConsumer, topic: &str, user: User) -> Outcome {
    let began = Instant::now();
    while began.elapsed() < WITHIN {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) if message.topic() == topic => return Outcome::Done,
            Some(Err(KafkaError::PartitionEOF(_))) => return Outcome::Done,
            Some(Err(error)) => return outcome(error.rdkafka_error_code().unwrap()),
            Some(Ok(_)) | None => {}
        }
    }
    panic!("{user:?} neither reads {topic} nor is refused within {WITHIN:?}")
}

/// Joins each group.
fn joined(user: User) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    for group in groups() {
        let mut config = config(user.name());
        let consumer: BaseConsumer =
            config.set("group.id", &group).set("enable.auto.commit", "false").create().unwrap();
        consumer.subscribe(&[&format!("{PREFIX}replies")]).unwrap();
        let began = Instant::now();
        let outcome = loop {
            assert!(began.elapsed() < WITHIN, "{user:?} neither joins {group} nor is refused");
            match consumer.poll(Duration::from_millis(50)) {
                // The group let it in; only then can the topic refuse it.
                Some(Ok(_) | Err(KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed))) => {
                    break Outcome::Done;
                }
                Some(Err(error)) => break outcome(error.rdkafka_error_code().unwrap()),
                None if consumer.assignment().unwrap().count() > 0 => break Outcome::Done,
                None => {}
            }
        };
        outcomes.insert(group, outcome);
    }
    outcomes
}

/// Which of the groups the brokers list for a user.
fn listed(user: User) -> BTreeMap<String, Outcome> {
    let consumer: BaseConsumer = config(user.name()).create().unwrap();
    let listed = consumer.fetch_group_list(None, WITHIN).unwrap();
    let shown: Vec<String> = listed.groups().iter().map(|group| group.name().to_owned()).collect();
    expected(&groups(), &shown)
}

/// Makes every group exist, by a position that an administrator stores.
fn make_groups() {
    for group in groups() {
        let mut config = config("admin");
        let consumer: BaseConsumer = config.set("group.id", &group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{PREFIX}replies"), 0, rdkafka::Offset::Offset(0)).unwrap();
        match consumer.commit(&list, CommitMode::Sync) {
            // It has members, so it exists.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)) => {}
            stored => stored.unwrap(),
        }
    }
}

fn groups() -> Vec<String> {
    ["workers", "owners-orders", "owners-wallet-tasks", "owners-fisc-tasks"]
        .map(|name| format!("{PREFIX}{name}"))
        .into()
}

/// Creates a topic, changes one, and deletes one that others need.
async fn changed(user: &str, retention_ms: &str) -> [Outcome; 3] {
    let admin: AdminClient<_> = config(user).create().unwrap();
    let options = AdminOptions::new();
    let name = format!("{PREFIX}new-by-{user}");
    let created = admin.create_topics([&NewTopic::new(&name, 1, TopicReplication::Fixed(1))], &options).await;
    let created = created.unwrap().remove(0).map_or_else(|(_, code)| code, |_| RDKafkaErrorCode::NoError);
    let dead_letters = format!("{PREFIX}dead-letters");
    let alter = AlterConfig::new(ResourceSpecifier::Topic(&dead_letters)).set("retention.ms", retention_ms);
    admin.alter_configs([&alter], &options).await.unwrap();
    // The client library does not say whether a change was refused.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let described = admin.describe_configs(&[ResourceSpecifier::Topic(&dead_letters)], &options).await;
    let described = described.unwrap().remove(0).unwrap();
    let is = described.get("retention.ms").and_then(|entry| entry.value.clone());
    let altered = if is.as_deref() == Some(retention_ms) { Outcome::Done } else { Outcome::Refused };
    let orders = format!("{PREFIX}orders");
    let deleted = admin.delete_topics(&[&orders], &options).await;
    let deleted = deleted.unwrap().remove(0).map_or_else(|(_, code)| code, |_| RDKafkaErrorCode::NoError);
    [outcome(created), altered, outcome(deleted)]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a secure broker: make test-kafka"]
async fn each_user_may_do_what_the_table_says_and_is_refused_everything_else() {
    let admin: AdminClient<_> = config("admin").create().unwrap();
    let others = NewTopic::new(OTHERS, 1, TopicReplication::Fixed(1));
    admin.create_topics([&others], &AdminOptions::new()).await.unwrap();
    make_groups();
    let checks = User::ALL.map(|user| {
        std::thread::spawn(move || {
            let topics_of = |right: &Right| right.topics.iter().map(ToString::to_string).collect();
            let may_write = allowed(user, "Write", topics_of);
            assert_eq!(written(user), expected(&topics(), &may_write), "{user:?} writes");
            let may_read = allowed(user, "Read", topics_of);
            assert_eq!(read(user), expected(&topics(), &may_read), "{user:?} reads");
            let may_join = allowed(user, "Read", |right| right.groups.clone());
            assert_eq!(joined(user), expected(&groups(), &may_join), "{user:?} joins");
            let may_describe = allowed(user, "Describe", |right| right.groups.clone());
            assert_eq!(listed(user), expected(&groups(), &[may_join, may_describe].concat()), "{user:?} sees groups");
        })
    });
    for check in checks {
        check.join().unwrap();
    }
    for (user, retention_ms) in User::ALL.into_iter().zip(7_200_000..) {
        let first_two = if user == User::Topics { Outcome::Done } else { Outcome::Refused };
        assert_eq!(
            changed(user.name(), &retention_ms.to_string()).await,
            [first_two, first_two, Outcome::Refused],
            "{user:?}"
        );
    }
}
