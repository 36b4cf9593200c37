//! What all clients of the broker share: their configuration, and the latest problem that the
//! client library has reported about its connections.

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

use super::{
    KafkaSettings, READERS,
    advice::{advice, with_advice},
    lock,
};
use crate::{ENTRY_BYTES_MAX, JournalError, Offset, Partition};

/// How long one query to the broker may take, in ms.
pub(super) const QUERY_MS: u64 = 5_000;
/// How often the leaders of partitions are asked for, and how long a known one counts at most, in
/// ms. Queries go to the known leader; with the library's defaults, minutes would pass before they
/// go to its successor.
const METADATA_REFRESH_MS: &str = "1000";
const METADATA_AGE_MS_MAX: &str = "2000";
/// How many pending reports of the client library are read after a failed query.
pub(super) const REPORTS_MAX: usize = 64;
/// The largest message, in bytes: an entry, and 64 KiB for what the protocol adds.
pub(super) const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + 64 * 1024;

/// The connection of one process to a cluster.
pub(super) struct Client {
    pub(super) settings: KafkaSettings,
    member: String,
    /// The latest problem that the client library has reported; it explains a time-out.
    problem: Arc<Mutex<Option<String>>>,
    /// Serves queries about topics and offsets; it reads no records.
    querier: BaseConsumer<Listener>,
}

/// Receives the log lines and errors of the client library.
pub(super) struct Listener {
    problem: Arc<Mutex<Option<String>>>,
}

impl Listener {
    fn remember(&self, reason: &str) {
        let mut problem = lock(&self.problem);
        // Its wording may change with each attempt, and one line is enough.
        if let Some(what_to_do) = advice(reason)
            && problem.as_deref().and_then(advice) != Some(what_to_do)
        {
            warn!(reason, what_to_do, "the brokers cannot be used");
        }
        *problem = Some(reason.to_owned());
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        debug!(?level, fac, message, "kafka client");
        // Lines of this facility say why a connection failed: it was refused, or the credentials
        // are invalid.
        if fac == "FAIL" {
            self.remember(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // The client library reconnects a broken connection. A lasting problem shows as time-outs
        // of the calls that need the connection, so it is only remembered here.
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
        // "All brokers are down" must not replace the reason why one of them cannot be used.
        let is_more_precise = code != Some(RDKafkaErrorCode::AllBrokersDown) || lock(&self.problem).is_none();
        if lasting && is_more_precise {
            self.remember(reason);
        }
    }
}

impl ConsumerContext for Listener {}

impl Client {
    pub(super) fn new(settings: KafkaSettings, member: &str) -> Result<Arc<Self>, JournalError> {
        let problem = Arc::<Mutex<Option<String>>>::default();
        let config = base(&settings, member);
        let querier = create(&config, Listener { problem: problem.clone() })?;
        Ok(Arc::new(Self { settings, member: member.to_owned(), problem, querier }))
    }

    /// The configuration that every client starts from.
    pub(super) fn config(&self) -> ClientConfig {
        base(&self.settings, &self.member)
    }

    /// By which name the brokers know this process.
    pub(super) fn member(&self) -> &str {
        &self.member
    }

    pub(super) fn listener(&self) -> Listener {
        Listener { problem: self.problem.clone() }
    }

    /// The error, with the latest problem that the client library has reported.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        with_advice(match lock(&self.problem).as_deref() {
            Some(problem) => format!("{error} ({problem})"),
            None => error.to_string(),
        })
    }

    /// Polls the querier for problems that it has not delivered yet.
    fn collect_problems(&self) {
        // A poll that only delivers a log line returns nothing, as an idle one does, so an empty
        // poll does not end the loop.
        for _ in 0..REPORTS_MAX {
            if let Some(Err(error)) = self.querier.poll(Duration::ZERO) {
                lock(&self.problem).get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Queries the broker on a thread that may block.
    pub(super) async fn query<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&BaseConsumer<Listener>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, String> {
        let client = self.clone();
        let run = move || {
            query(&client.querier).map_err(|error| {
                client.collect_problems();
                client.explain(&error)
            })
        };
        let result = tokio::task::spawn_blocking(run);
        result.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Queries where a partition's readable records begin and end.
    pub(super) async fn bounds(self: &Arc<Self>, partition: Partition) -> Result<Bounds, JournalError> {
        let topic = self.settings.topic(partition.topic);
        let index = index(partition);
        let query = move |querier: &BaseConsumer<Listener>| {
            querier.fetch_watermarks(&topic, index, Duration::from_millis(QUERY_MS))
        };
        let failed = |reason: String| JournalError::Read { partition, reason: reason.into() };
        let (start, end) = self.query(query).await.map_err(failed)?;
        Ok(Bounds { start: start.max(0).cast_unsigned(), end: end.max(0).cast_unsigned() })
    }
}

/// The first offset and the end of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The offset of the oldest record.
    pub(super) start: Offset,
    /// The offset after the newest record that all in-sync replicas have.
    pub(super) end: Offset,
}

/// A partition's index in the type of the client library.
pub(super) fn index(partition: Partition) -> i32 {
    i32::try_from(partition.index).unwrap_or(i32::MAX)
}

/// Creates a client of the library. It fails only if the configuration is invalid. The error never
/// shows the value of a property, which may be a secret.
pub(super) fn create<C, T>(config: &ClientConfig, context: C) -> Result<T, JournalError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    let failed = |error: KafkaError| {
        let what = with_advice(if let KafkaError::ClientConfig(_, what, property, _) = error {
            format!("{property}: {what}")
        } else {
            error.to_string()
        });
        JournalError::Unusable(format!("kafka client: {what}; see [kafka] in the configuration").into())
    };
    config.create_with_context(context).map_err(failed)
}

fn base(settings: &KafkaSettings, member: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("client.id", member)
        .set("group.id", format!("{}{READERS}", settings.prefix))
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        .set("metadata.max.age.ms", METADATA_AGE_MS_MAX)
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false");
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    config
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_error_about_a_property_never_shows_its_value() {
        for property in ["no.such.password", "ssl.key.pem"] {
            let settings = KafkaSettings {
                bootstrap: "127.0.0.1:1".to_owned(),
                prefix: String::new(),
                properties: BTreeMap::from([(property.to_owned(), "SECRET".to_owned())]),
                session_timeout_ms: 6_000,
                append_timeout_ms: 1_000,
                queue_kib_max: 8,
            };
            let error = Client::new(settings, "test").err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(property) && !error.contains("SECRET"), "{error}");
        }
    }
}
