//! Taking a partition: the claim is appended first, then read back, and only what stands before and
//! after it says what may be sent.

use std::{sync::Arc, time::Duration};

use futures::stream::FuturesUnordered;
use prost::Message;
use rand::Rng;
use tokio::sync::mpsc;
use tracing::info;
use twqr_consumer::DeadLetters;
use twqr_journal::{Ack, Entry, Group, Journal, JournalError, Partition, Reader};
use twqr_service::{CancellationToken, Clock};
use twqr_wire::{
    RECORD_VERSION,
    bus::{self, tasks_record::Body},
};

use super::{BATCH_RECORDS_MAX, Flight, Holder};
use crate::{
    Error, Settings,
    holding::{Hold, Holding},
    link,
    progress::Progress,
};

const DEAD_LETTERS: &str = "twqr_worker_dead_letters_total";

/// A holder that nobody can name: what it held is maybe sent.
const UNKNOWN_HOLDER: u64 = u64::MAX;

pub(super) fn append(journal: &dyn Journal, partition: Partition, body: Body) -> Ack {
    let record = bus::TasksRecord { version: RECORD_VERSION, body: Some(body) };
    journal.append(partition, vec![Entry::plain(record.encode_to_vec())])
}

impl Holder {
    /// Claims the partition and learns who held what before. A living holder is asked to release it
    /// first, so that what it has not read yet need not be taken for sent. None: the partition is
    /// not wanted any more, and was not claimed.
    pub(crate) async fn claim(
        index: u32,
        settings: &Settings,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        unwanted: &CancellationToken,
    ) -> Result<Option<Self>, Error> {
        let partition = Partition { topic: settings.topic, index };
        let position = journal.position(Group::Workers, partition).await?;
        let (progress, holder) = Progress::from_position(position.as_ref());
        let from = progress.position();
        let mut scan = Scan::begin(&*journal, partition, from, holder).await?;
        tokio::select! {
            () = unwanted.cancelled() => return Ok(None),
            prepared = scan.prepare(&*journal, &settings.member) => prepared?,
        }
        // From here on there is no way back but a release: a claim that nobody works under fails
        // what comes after it.
        let nonce: u64 = rand::rng().random();
        append(&*journal, partition, Body::Claim(bus::WorkerClaim { owner: settings.member.clone(), nonce })).await?;
        let holding = scan.until_claim(nonce).await?;
        info!(%partition, claim = holding.own(), from, "partition claimed");
        let (sender, mut events) = mpsc::unbounded_channel();
        tokio::spawn(link::keep(settings.backend.clone(), clock.clone(), sender));
        let reader = journal.reader(partition, from).await?;
        let calls = first_connection(&mut events).await;
        Ok(Some(Self {
            partition,
            settings: settings.clone(),
            dead_letters: DeadLetters::new(journal.clone(), clock.clone(), DEAD_LETTERS),
            journal,
            clock,
            holding,
            progress,
            committed: from,
            commit_after: tokio::time::Instant::now(),
            stage: super::Stage::Working,
            reader,
            events,
            calls,
            flight: Flight::default(),
            waiting: super::Waiting::default(),
            outcomes: std::collections::BTreeMap::new(),
            acks: FuturesUnordered::new(),
        }))
    }
}

/// How long a new holder waits for its backend before it reads tasks without one, in ms.
const CONNECT_WAIT_MS: u64 = 2_000;

async fn first_connection(
    events: &mut mpsc::UnboundedReceiver<link::Event>,
) -> Option<mpsc::UnboundedSender<twqr_wire::backend::ExchangeRequest>> {
    let wait = std::time::Duration::from_millis(CONNECT_WAIT_MS);
    match tokio::time::timeout(wait, events.recv()).await {
        Ok(Some(link::Event::Up(calls))) => Some(calls),
        Ok(_) | Err(_) => None,
    }
}

/// How long a holder may take to release the partition before it counts as gone, in ms.
const RELEASE_WAIT_MS: u64 = 1_000;

/// Claims and releases from the committed position on.
struct Scan {
    partition: Partition,
    reader: Box<dyn Reader>,
    /// Who held the partition at the committed position.
    holder: Option<u64>,
    holds: Vec<(u64, Hold)>,
    /// No record was read yet: the first may stand later than was asked for, and what retention has
    /// cut before it is not known.
    is_at_start: bool,
    next: u64,
}

impl Scan {
    async fn begin(
        journal: &dyn Journal,
        partition: Partition,
        from: u64,
        holder: Option<u64>,
    ) -> Result<Self, JournalError> {
        let reader = journal.reader(partition, from).await?;
        Ok(Self { partition, reader, holder, holds: Vec::new(), is_at_start: true, next: from })
    }

    /// Takes what is there; waits until there is something. The nonces of the claims among it, with
    /// their offsets.
    async fn step(&mut self) -> Result<Vec<(u64, u64)>, JournalError> {
        let mut claims = Vec::new();
        for record in self.reader.next(BATCH_RECORDS_MAX).await? {
            if std::mem::take(&mut self.is_at_start) && record.offset > self.next {
                self.holder = Some(UNKNOWN_HOLDER);
            }
            self.next = record.offset + 1;
            let value = record.entry.value.unwrap_or_default();
            match bus::TasksRecord::decode(value).ok().and_then(|record| record.body) {
                Some(Body::Claim(claim)) => {
                    claims.push((record.offset, claim.nonce));
                    self.holds.push((record.offset, Hold::Claim));
                }
                Some(Body::Release(release)) => {
                    self.holds.push((record.offset, Hold::Release { claim: release.claim }));
                }
                Some(Body::Task(_) | Body::Intent(_)) | None => {}
            }
        }
        Ok(claims)
    }

    /// Reads to the end, and asks a living holder to release the partition.
    async fn prepare(&mut self, journal: &dyn Journal, member: &str) -> Result<(), JournalError> {
        self.read_to_end(journal).await?;
        if journal.is_shared() && self.is_held() {
            let intent = bus::WorkerIntent { owner: member.to_owned() };
            append(journal, self.partition, Body::Intent(intent)).await?;
            self.until_released().await?;
        }
        Ok(())
    }

    async fn read_to_end(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        let (start, end) = (journal.start(self.partition).await?, journal.end(self.partition).await?);
        while self.next.max(start) < end {
            self.step().await?;
        }
        Ok(())
    }

    /// Whether somebody holds the partition who can be asked.
    fn is_held(&self) -> bool {
        let holding = Holding::new(self.holder, self.holds.clone(), u64::MAX);
        holding.holder_before(u64::MAX).is_some_and(|holder| holder != UNKNOWN_HOLDER)
    }

    /// Waits for the release, but not for ever: the holder may be gone.
    async fn until_released(&mut self) -> Result<(), JournalError> {
        let wait = tokio::time::sleep(Duration::from_millis(RELEASE_WAIT_MS));
        tokio::pin!(wait);
        while self.is_held() {
            tokio::select! {
                () = &mut wait => return Ok(()),
                stepped = self.step() => drop(stepped?),
            }
        }
        Ok(())
    }

    /// Reads on to the own claim.
    async fn until_claim(mut self, nonce: u64) -> Result<Holding, JournalError> {
        loop {
            let claims = self.step().await?;
            if let Some((own, _)) = claims.into_iter().find(|(_, claimed)| *claimed == nonce) {
                self.holds.retain(|(at, _)| *at < own);
                return Ok(Holding::new(self.holder, self.holds, own));
            }
        }
    }
}
