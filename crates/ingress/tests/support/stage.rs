//! A real client over loopback, the embedded journal, and a router that a test plays itself.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};
use twqr_ingress::{Error, Listeners, Settings, run_on};
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Offset, Partition, Position, Reader, Record, RepliesHold,
    Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_types::StatusCode;
use twqr_wire::{
    RECORD_VERSION, bus,
    pos::{PayRequest, pos_service_client::PosServiceClient},
};

/// An ingress that serves.
pub struct Stage {
    pub journal: Arc<Faulty>,
    pub address: SocketAddr,
    /// Where the POS HTTP form is served, if it is.
    pub http: Option<SocketAddr>,
    pub health: Health,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), Error>>,
    _folder: tempfile::TempDir,
}

/// What a request asks of the router.
pub struct Asked {
    pub offset: u64,
    pub pay: Option<PayRequest>,
    /// The name of the key with which it was signed; empty if it was not.
    pub signed_by: String,
    pub reply_to: bus::ReplyTo,
}

pub fn settings() -> Settings {
    Settings {
        member: "ingress-0".into(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        http: None,
        answer_within_ms: 10_000,
        in_progress_code: StatusCode::FISC_ABNORMAL,
        calls_max: 1_000,
        repeats_size: NonZeroUsize::new(1_000).unwrap(),
        warm_rounds: 0,
        drain_within_ms: 500,
    }
}

impl Stage {
    pub async fn open(settings: Settings) -> Self {
        let stage = Self::start(settings).await;
        stage.until(|stage| stage.health.is_ready()).await;
        stage
    }

    /// Why an ingress ends at once.
    pub async fn refused(settings: Settings) -> Error {
        Self::start(settings).await.serving.await.unwrap().unwrap_err()
    }

    async fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let one = NonZeroU32::MIN;
        let inner =
            EmbeddedJournal::open(EmbeddedSettings { dir: folder.path().into(), shards: one, task_partitions: one });
        let journal =
            Arc::new(Faulty { inner: inner.unwrap(), unreadable: Arc::default(), silent: AtomicBool::new(false) });
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = grpc.local_addr().unwrap();
        let form = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = settings.http.is_some().then(|| form.local_addr().unwrap());
        let listeners = Listeners { grpc, http: http.is_some().then_some(form) };
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
        let serving = tokio::spawn(run_on(listeners, settings, journal.clone(), context));
        Self { journal, address, http, health, shutdown, serving, _folder: folder }
    }

    /// Waits for something that must come.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it did not come within 10 s; health: {:?}", self.health.report());
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> PosServiceClient<Channel> {
        PosServiceClient::new(self.channel().await)
    }

    /// The next `count` records of `orders` from `from` on.
    pub async fn asked(&self, from: Offset, count: usize) -> Vec<Asked> {
        let mut reader = self.journal.reader(orders(), from).await.unwrap();
        let mut asked = Vec::new();
        while asked.len() < count {
            let read = tokio::time::timeout(Duration::from_secs(10), reader.next(100)).await;
            let Ok(read) = read else { panic!("the router was not asked within 10 s") };
            asked.extend(read.unwrap().into_iter().map(ask));
        }
        asked
    }

    pub async fn orders_end(&self) -> Offset {
        self.journal.end(orders()).await.unwrap()
    }

    /// Answers as the router would.
    pub async fn reply(&self, to: &bus::ReplyTo, body: bus::reply_record::Body, repeat: bool) {
        let reply = bus::ReplyRecord {
            version: RECORD_VERSION,
            id: None,
            correlation: to.correlation,
            body: Some(body),
            repeat,
            in_progress_code: String::new(),
        };
        self.raw_reply(to.partition, reply.encode_to_vec()).await;
    }

    pub async fn raw_reply(&self, partition: u32, bytes: Vec<u8>) {
        let replies = Partition { topic: Topic::Replies, index: partition };
        self.journal.append(replies, vec![Entry::plain(bytes)]).await.unwrap();
    }

    pub async fn dead_letters(&self) -> Vec<bus::DeadLetter> {
        let partition = Partition { topic: Topic::DeadLetters, index: 0 };
        let end = self.journal.end(partition).await.unwrap();
        if end == 0 {
            return Vec::new();
        }
        let mut reader = self.journal.reader(partition, 0).await.unwrap();
        let read = reader.next(100).await.unwrap();
        read.into_iter().map(|record| bus::DeadLetter::decode(record.entry.value.unwrap()).unwrap()).collect()
    }
}

fn orders() -> Partition {
    Partition { topic: Topic::Orders, index: 0 }
}

fn ask(record: Record) -> Asked {
    let offset = record.offset;
    let decoded = bus::OrdersRecord::decode(record.entry.value.unwrap()).unwrap();
    let (pay, reply_to) = match decoded.body.unwrap() {
        bus::orders_record::Body::Pay(pay) => (pay.request, pay.reply_to),
        bus::orders_record::Body::Query(query) => (None, query.reply_to),
        other => panic!("{other:?}"),
    };
    Asked { offset, pay, signed_by: decoded.signed_by, reply_to: reply_to.unwrap() }
}

pub fn payment(number: &str) -> PayRequest {
    PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        store_id: "S1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 120,
        ..PayRequest::default()
    }
}

/// The order as the router knows it.
pub fn order(number: &str, phase: bus::movement::Phase) -> bus::reply_record::Body {
    let payment = bus::Payment {
        key: Some(bus::OrderKey { merchant_id: "M1".into(), merchant_trade_no: number.into() }),
        trade_no: "T1".into(),
        terms: Some(bus::PaymentTerms { store_id: "S1".into(), trade_amount: 120, ..bus::PaymentTerms::default() }),
        charge: Some(bus::Movement { phase: Some(phase), ..bus::Movement::default() }),
        ..bus::Payment::default()
    };
    bus::reply_record::Body::Order(bus::Order { order: Some(bus::order::Order::Payment(payment)) })
}

pub fn paid() -> bus::movement::Phase {
    bus::movement::Phase::Approved(bus::Approval { payment_type: 1, debit_amount: 120, ..bus::Approval::default() })
}

pub fn paying() -> bus::movement::Phase {
    bus::movement::Phase::Sent(bus::EffectId::default())
}

/// The embedded journal, with reads of replies that fail and appends to orders that are never
/// acknowledged, when a test says so.
pub struct Faulty {
    inner: Arc<EmbeddedJournal>,
    pub unreadable: Arc<AtomicBool>,
    pub silent: AtomicBool,
}

struct FaultyReader(Box<dyn Reader>, Partition, Arc<AtomicBool>);

#[async_trait]
impl Reader for FaultyReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if self.2.load(Ordering::Acquire) {
                return Err(JournalError::Read { partition: self.1, reason: "planted".into() });
            }
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(20), self.0.next(max)).await {
                return read;
            }
        }
    }
}

#[async_trait]
impl Journal for Faulty {
    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.inner.start(partition).await
    }

    async fn close(&self) {
        Journal::close(&*self.inner).await;
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if self.silent.load(Ordering::Acquire) && partition.topic == Topic::Orders {
            let (sender, ack) = Ack::pending(partition);
            std::mem::forget(sender);
            return ack;
        }
        self.inner.append(partition, entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        if self.unreadable.load(Ordering::Acquire) && partition.topic == Topic::Replies {
            return Err(JournalError::Read { partition, reason: "planted".into() });
        }
        let reader = self.inner.reader(partition, from).await?;
        if partition.topic != Topic::Replies {
            return Ok(reader);
        }
        Ok(Box::new(FaultyReader(reader, partition, self.unreadable.clone())))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.inner.end(partition).await
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.inner.assignments(topic, member).await
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        self.inner.hold_replies(member).await
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        self.inner.commit(group, partition, position)
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.inner.position(group, partition).await
    }
}
