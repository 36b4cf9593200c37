//! The task that reads this ingress' partition of `replies` and delivers each reply to its pending
//! call. It reports ready only after it has read a probe that it wrote itself, and not ready while
//! reading fails.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::sync::oneshot;
use tracing::error;
use twqr_consumer::DeadLetters;
use twqr_journal::{Entry, Journal, JournalError, Partition};
use twqr_service::{Backoff, Part};
use twqr_wire::convert::{Presence, ReplyContent, ReplyRecord, decode_reply, encode_presence};

use crate::{pending_calls::PendingCalls, repeats::Repeats};

/// How many replies are read at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// The pause before reading again after a failure, in ms; it doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// How often an ingress shows itself in its partition.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Reads replies and delivers them.
pub(crate) struct ReplyReader {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) partition: Partition,
    pub(crate) pending: Arc<PendingCalls>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) part: Part,
    /// By which name this ingress is known to other processes.
    pub(crate) member: String,
}

/// The state that one attempt at reading leaves to the next.
struct Attempts {
    /// The offset of the next reply; absent until the first attempt knows the partition's end.
    next: Option<u64>,
    /// Notified when a probe was read for the first time.
    first_probe: Option<oneshot::Sender<()>>,
    backoff: Backoff,
}

impl ReplyReader {
    /// Reads until the task is dropped. `first_probe` is notified when a probe was read for the
    /// first time.
    pub(crate) async fn run(self, first_probe: oneshot::Sender<()>) {
        tokio::join!(self.show(), self.read_always(first_probe));
    }

    /// Shows all the time which partition of `replies` this ingress reads, and what its build
    /// knows, so that an ingress without calls is seen before the protocol version is raised.
    async fn show(&self) {
        while self.journal.is_shared() {
            let record = self.presence(rand::rng().random_range(1..=u64::MAX));
            // One that fails is followed by the next.
            drop(self.journal.append(self.partition, vec![record]));
            tokio::time::sleep(SHOW_EVERY).await;
        }
    }

    fn presence(&self, correlation: u64) -> Entry {
        let presence = Presence { members: vec![self.member.clone()], replies_partition: Some(self.partition.index) };
        Entry::plain(encode_presence(correlation, &presence))
    }

    async fn read_always(&self, first_probe: oneshot::Sender<()>) {
        let backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        let mut attempts = Attempts { next: None, first_probe: Some(first_probe), backoff };
        loop {
            let read = self.read(&mut attempts).await;
            let pause = attempts.backoff.next_pause();
            if let Err(error) = read {
                self.part.not_ready(format!("replies cannot be read ({error}); trying again"));
                error!(%error, ?pause, "replies cannot be read; trying again, calls in flight end at their deadlines");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads until reading fails.
    async fn read(&self, attempts: &mut Attempts) -> Result<(), JournalError> {
        let from = match attempts.next {
            Some(next) => next,
            None => self.journal.end(self.partition).await?,
        };
        let mut reader = self.journal.reader(self.partition, from).await?;
        let probe: u64 = rand::rng().random_range(1..=u64::MAX);
        self.journal.append(self.partition, vec![self.presence(probe)]).await?;
        loop {
            for record in reader.next(BATCH_RECORDS_MAX).await? {
                attempts.next = Some(record.offset + 1);
                let payload = record.entry.value.unwrap_or_default();
                match decode_reply(payload.clone()) {
                    Ok(reply) if reply.correlation == probe => {
                        attempts.backoff.reset();
                        // After the first probe the ingress is not ready yet: the readiness probe
                        // follows, and reports it.
                        match attempts.first_probe.take() {
                            Some(first_probe) => drop(first_probe.send(())),
                            None => self.part.ready(),
                        }
                    }
                    Ok(reply) => self.take(reply),
                    // The call of an unusable reply is answered at its deadline, as in progress.
                    Err(fault) => {
                        self.dead_letters.write(self.partition, record.offset, &payload, fault);
                    }
                }
            }
        }
    }

    fn take(&self, reply: ReplyRecord) {
        match &reply.content {
            ReplyContent::Forget(key) => self.repeats.forget(key),
            ReplyContent::RulesChanged => self.repeats.forget_all(),
            ReplyContent::Order(_)
            | ReplyContent::NotFound
            | ReplyContent::Conflict(_)
            | ReplyContent::TooManyWatchers
            | ReplyContent::KeyRefused
            | ReplyContent::Replayed
            | ReplyContent::Empty => self.pending.deliver(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroUsize};

    use twqr_card_keys::CardKeys;
    use twqr_journal::Topic;
    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_order::PROTOCOL_VERSION_NEWEST;
    use twqr_service::{CancellationToken, Context, Health, SystemClock};
    use twqr_types::{ShardCount, StatusCode};
    use twqr_wire::convert::{KnownProtocol, ShownProcess};

    use super::*;
    use crate::{
        admission::{Admission, AdmissionSettings},
        metrics,
        protocol_versions::ProtocolVersions,
    };

    const PARTITION: Partition = Partition { topic: Topic::Replies, index: 4 };

    fn reader(journal: Arc<dyn Journal>) -> ReplyReader {
        let health = Health::default();
        let context = Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health };
        let shards = ShardCount(NonZeroU16::MIN);
        let settings = AdmissionSettings { delay: Duration::from_millis(100), limit_min: 8, limit_max: 8 };
        let (admission, _to_measure) = Admission::new(settings, shards);
        let versions = ProtocolVersions::new(shards, CardKeys::default(), false);
        ReplyReader {
            journal: journal.clone(),
            partition: PARTITION,
            pending: PendingCalls::new(PARTITION.index, versions, 1, StatusCode::FISC_ABNORMAL, admission),
            repeats: Repeats::new(NonZeroUsize::MIN),
            dead_letters: DeadLetters::new(journal, &context, metrics::DEAD_LETTERS),
            part: context.health.part("ingress"),
            member: "ingress-4".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ingress_without_calls_shows_its_partition_and_what_its_build_knows() {
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
        let (first_probe, probed) = oneshot::channel();
        let reading = tokio::spawn(reader(sim.session("ingress-4")).run(first_probe));
        probed.await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        reading.abort();
        let itself = [ShownProcess::Member("ingress-4".into()), ShownProcess::Ingress(PARTITION.index)]
            .map(|process| KnownProtocol { process, newest: PROTOCOL_VERSION_NEWEST });
        let records = sim.records(PARTITION).into_iter();
        let shown: Vec<_> = records.map(|record| KnownProtocol::of_reply(&record.entry.value.unwrap())).collect();
        assert!(shown.len() >= 4 && shown.iter().all(|shown| *shown == itself), "{shown:?}");
    }
}
