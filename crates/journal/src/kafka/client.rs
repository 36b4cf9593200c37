//! What all clients of the broker share: their configuration, and what the client library says
//! about its connections.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{debug, warn};

use super::{Settings, lock};
use crate::{ENTRY_BYTES_MAX, JournalError, Offset, Partition};

/// How long a question to the broker may take, in ms.
pub(super) const QUESTION_MS: u64 = 5_000;
/// How many complaints are taken at once.
const COMPLAINTS_MAX: usize = 64;
/// The largest message: an entry, and what the protocol puts around it, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + 64 * 1024;

/// A cluster, as one process knows it.
pub(super) struct Client {
    pub(super) settings: Settings,
    member: String,
    /// The last thing that the client library complained about: a time-out alone says nothing.
    complaint: Arc<Mutex<Option<String>>>,
    /// Answers questions about ends.
    asker: BaseConsumer<Listener>,
}

/// Hears what the client library has to say.
pub(super) struct Listener {
    complaint: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        debug!(?level, fac, message, "kafka client");
        // Why a connection failed: refused, or the credentials.
        if fac == "FAIL" {
            *lock(&self.complaint) = Some(message.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // One connection that broke is tried again by itself; what stays is told by the time-outs
        // of those who wait.
        debug!(?code, reason, "kafka client");
        let lasting = matches!(
            code,
            Some(
                RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::SSL
            )
        );
        let mut complaint = lock(&self.complaint);
        // That all brokers are down says less than why one of them cannot be used.
        let says_more = code != Some(RDKafkaErrorCode::AllBrokersDown) || complaint.is_none();
        if lasting && says_more && complaint.as_deref() != Some(reason) {
            if code == Some(RDKafkaErrorCode::Authentication) {
                warn!(reason, "the broker does not accept the credentials");
            }
            *complaint = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Listener {}

impl Client {
    pub(super) fn new(settings: Settings, member: &str) -> Result<Arc<Self>, JournalError> {
        let complaint = Arc::<Mutex<Option<String>>>::default();
        let config = base(&settings, member);
        let asker = create(&config, Listener { complaint: complaint.clone() })?;
        Ok(Arc::new(Self { settings, member: member.to_owned(), complaint, asker }))
    }

    /// A configuration with what every client needs.
    pub(super) fn config(&self) -> ClientConfig {
        base(&self.settings, &self.member)
    }

    pub(super) fn listener(&self) -> Listener {
        Listener { complaint: self.complaint.clone() }
    }

    /// The error, and what the client library complained about before it.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        match lock(&self.complaint).as_deref() {
            Some(complaint) => format!("{error} ({complaint})"),
            None => error.to_string(),
        }
    }

    /// Takes what the asking client has complained about meanwhile.
    fn listen(&self) {
        // A poll that only brought a line of the client library's log says nothing, like one that
        // brought nothing.
        for _ in 0..COMPLAINTS_MAX {
            if let Some(Err(error)) = self.asker.poll(Duration::ZERO) {
                lock(&self.complaint).get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Asks the broker on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&BaseConsumer<Listener>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, String> {
        let client = self.clone();
        let ask = move || {
            question(&client.asker).map_err(|error| {
                client.listen();
                client.explain(&error)
            })
        };
        let asked = tokio::task::spawn_blocking(ask);
        asked.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The offset of the oldest record, and the one after the newest that all in-sync replicas
    /// have.
    pub(super) async fn ends(self: &Arc<Self>, partition: Partition) -> Result<(Offset, Offset), JournalError> {
        let topic = self.settings.topic(partition.topic);
        let index = index(partition);
        let question = move |asker: &BaseConsumer<Listener>| {
            asker.fetch_watermarks(&topic, index, Duration::from_millis(QUESTION_MS))
        };
        let asked =
            self.ask(question).await.map_err(|reason| JournalError::Read { partition, reason: reason.into() })?;
        Ok((asked.0.max(0).cast_unsigned(), asked.1.max(0).cast_unsigned()))
    }
}

/// A partition's number as the client library wants it.
pub(super) fn index(partition: Partition) -> i32 {
    i32::try_from(partition.index).unwrap_or(i32::MAX)
}

pub(super) fn create<C, T>(config: &ClientConfig, context: C) -> Result<T, JournalError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    let failed = |error: KafkaError| {
        JournalError::Unusable(format!("kafka client: {error}; see [kafka] in the configuration").into())
    };
    config.create_with_context(context).map_err(failed)
}

fn base(settings: &Settings, member: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("client.id", member)
        .set("group.id", format!("{}readers", settings.prefix))
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false");
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    config
}
