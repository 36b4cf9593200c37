//! Appends records with one idempotent producer of the client library, and a thread that waits for
//! delivery reports.
//! Idempotence ensures that the retries of the client library neither repeat nor reorder records
//! within a partition. `gather.rs` decides when appends are given to the client library. Messages
//! that arrive while a request is on its way to a broker form the next batch.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Message, Timestamp},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};
use tracing::{error, warn};

use super::{
    delivery::{CLOSE, Delivery, QUEUE_FULL, QUEUED_MESSAGES_MAX},
    gather::Gather,
    statistics,
};
use crate::{
    Ack, Entry, JournalError, Partition, Topic,
    kafka::{
        client::{Client, Listener, MESSAGE_BYTES_MAX, create, index},
        lock,
    },
};

/// How long the thread may block before it checks whether to end, in ms.
const POLL_MS: u64 = 200;
/// The producer of the process. Cloning gives another handle of the same one.
#[derive(Clone)]
pub(in crate::kafka) struct LibraryProducer(Arc<LibraryHandle>);

/// Ends the producer when the last handle is dropped.
struct LibraryHandle(Arc<LibraryShared>);

struct LibraryShared {
    client: Arc<Client>,
    current: Mutex<Arc<Running>>,
    gather: Gather<Append>,
}

/// An append that is not given to the client library yet.
struct Append {
    entries: Vec<Entry>,
    delivery: Arc<Delivery>,
}

/// One producer of the client library and its thread. After a fatal error a new one replaces it.
struct Running {
    producer: BaseProducer<DeliveryListener>,
    stop: AtomicBool,
}

/// Receives delivery reports.
struct DeliveryListener {
    listener: Listener,
    /// Set by a fatal error: the producer can send nothing more.
    dead: AtomicBool,
}

impl ClientContext for DeliveryListener {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.listener.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            error!(reason, "the producer failed permanently; a new one replaces it");
            self.dead.store(true, Ordering::Release);
        }
        self.listener.error(error, reason);
    }

    fn stats(&self, report: Statistics) {
        statistics::show(&report);
    }
}

impl ProducerContext for DeliveryListener {
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Self::DeliveryOpaque) {
        match result {
            Ok(message) => delivery.written(match message.timestamp() {
                Timestamp::LogAppendTime(at) => Some(at),
                Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
            }),
            Err((error, _)) => delivery.fail(&error.to_string()),
        }
    }
}

impl Running {
    fn start(client: &Client) -> Result<Arc<Self>, JournalError> {
        let mut config = client.config();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("statistics.interval.ms", statistics::INTERVAL_MS)
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", client.settings.append_timeout_ms.to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queue.buffering.max.messages", QUEUED_MESSAGES_MAX.to_string())
            .set("queue.buffering.max.kbytes", client.settings.queue_kib_max.to_string());
        let listener = DeliveryListener { listener: client.listener(), dead: AtomicBool::new(false) };
        let running = Arc::new(Self { producer: create(&config, listener)?, stop: AtomicBool::new(false) });
        let poller = running.clone();
        let thread = thread::Builder::new().name("kafka-reports".to_owned()).spawn(move || {
            while !poller.stop.load(Ordering::Acquire) {
                poller.producer.poll(Duration::from_millis(POLL_MS));
            }
        });
        thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(running)
    }

    fn is_dead(&self) -> bool {
        self.producer.context().dead.load(Ordering::Acquire)
    }
}

impl Drop for LibraryHandle {
    fn drop(&mut self) {
        self.0.gather.close(|append| self.0.send(&append));
        lock(&self.0.current).stop.store(true, Ordering::Release);
    }
}

impl LibraryProducer {
    pub(super) fn start(client: Arc<Client>) -> Result<Self, JournalError> {
        let running = Running::start(&client)?;
        let shared = Arc::new(LibraryShared { client, current: Mutex::new(running), gather: Gather::new() });
        let sender = shared.clone();
        let thread = thread::Builder::new()
            .name("kafka-appends".to_owned())
            .spawn(move || sender.gather.run(|append| sender.send(&append)));
        thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(Self(Arc::new(LibraryHandle(shared))))
    }

    /// Waits up to [`CLOSE`] for the appends in progress.
    pub(super) fn close(&self) {
        let shared = &self.0.0;
        shared.gather.close(|append| shared.send(&append));
        let running = lock(&shared.current).clone();
        running.stop.store(true, Ordering::Release);
        if let Err(error) = running.producer.flush(CLOSE) {
            warn!(%error, "the producer was closed while appends were in progress; they may still be written");
        }
    }

    /// Appends the entries in this order.
    pub(super) fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if entries.is_empty() {
            return Ack::ready(partition, Ok(()));
        }
        let shared = &self.0.0;
        let records = entries.len();
        let (delivery, ack) = Delivery::new(partition, records);
        let append = Append { delivery: Arc::new(delivery), entries };
        if let Err(append) = shared.gather.add(append, records, |append| shared.send(&append)) {
            append.delivery.refuse(QUEUE_FULL);
        }
        ack
    }
}

impl LibraryShared {
    /// The current producer, or a new one after a fatal error.
    fn running(&self) -> Result<Arc<Running>, JournalError> {
        let mut current = lock(&self.current);
        if current.is_dead() {
            current.stop.store(true, Ordering::Release);
            *current = Running::start(&self.client)?;
        }
        Ok(current.clone())
    }

    /// Gives an append to the client library.
    fn send(&self, Append { entries, delivery }: &Append) {
        let running = match self.running() {
            Ok(running) => running,
            Err(error) => return delivery.refuse(&error.to_string()),
        };
        let topic = self.client.settings.topic(delivery.partition().topic);
        for (sent, entry) in entries.iter().enumerate() {
            let mut record: BaseRecord<'_, [u8], [u8], _> =
                BaseRecord::with_opaque_to(&topic, delivery.clone()).partition(index(delivery.partition()));
            record.key = (!entry.key.is_empty()).then_some(&*entry.key);
            record.payload = entry.value.as_deref();
            if let Err((error, _)) = running.producer.send(record) {
                let reason = self.explain_rejection(&error);
                if sent == 0 {
                    return delivery.refuse(&reason);
                }
                // Some entries may be delivered, so the outcome of the append is unknown.
                for _ in sent..entries.len() {
                    delivery.fail(&reason);
                }
                return;
            }
        }
    }

    /// The reason why the client library did not accept a message.
    fn explain_rejection(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => QUEUE_FULL.to_owned(),
            _ => self.client.explain(error),
        }
    }
}

/// Writes one record with a separate producer, and waits until it is acknowledged.
pub(in crate::kafka) async fn write_once(
    client: &Arc<Client>,
    topic: &str,
    key: &[u8],
    value: &[u8],
) -> Result<(), String> {
    let running = Running::start(client).map_err(|error| error.to_string())?;
    // Errors must name some partition, and `topic` need not be a [`Topic`].
    let partition = Partition { topic: Topic::DeadLetters, index: 0 };
    let (delivery, ack) = Delivery::new(partition, 1);
    let delivery = Arc::new(delivery);
    let record: BaseRecord<'_, [u8], [u8], _> =
        BaseRecord::with_opaque_to(topic, delivery).partition(0).key(key).payload(value);
    let sent = running.producer.send(record).map_err(|(error, _)| client.explain(&error));
    let written = match sent {
        Ok(()) => ack.await.map_err(|error| error.to_string()),
        Err(reason) => Err(reason),
    };
    running.stop.store(true, Ordering::Release);
    written
}
