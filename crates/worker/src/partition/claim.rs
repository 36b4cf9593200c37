//! Taking a partition: the claim is appended first, then read back, and only what stands before and after it says what may be sent.

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use prost::Message;
use rand::Rng;
use tokio::sync::mpsc;
use tracing::info;
use twqr_journal::{Entry, Group, Journal, JournalError, Partition};
use twqr_service::Clock;
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

/// A holder that nobody can name: what it held is maybe sent.
const UNKNOWN_HOLDER: u64 = u64::MAX;

pub(super) async fn append(journal: &dyn Journal, partition: Partition, body: Body) -> Result<(), JournalError> {
    let record = bus::TasksRecord { version: RECORD_VERSION, body: Some(body) };
    journal.append(partition, vec![Entry::plain(record.encode_to_vec())]).await
}

impl Holder {
    /// Claims the partition and learns who held what before.
    pub(crate) async fn claim(
        index: u32,
        settings: &Settings,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let partition = Partition { topic: settings.topic, index };
        let nonce: u64 = rand::rng().random();
        append(&*journal, partition, Body::Claim(bus::WorkerClaim { owner: settings.member.clone(), nonce })).await?;
        let position = journal.position(Group::Workers, partition).await?;
        let (progress, holder) = Progress::from_position(position.as_ref());
        let from = progress.position();
        let holding = scan(&*journal, partition, from, nonce, (holder, position.is_some())).await?;
        info!(%partition, claim = holding.own(), from, "partition claimed");
        let (sender, mut events) = mpsc::unbounded_channel();
        tokio::spawn(link::keep(settings.backend.clone(), clock.clone(), sender));
        let reader = journal.reader(partition, from).await?;
        let calls = first_connection(&mut events).await;
        Ok(Self {
            partition,
            settings: settings.clone(),
            journal,
            clock,
            holding,
            progress,
            committed: from,
            reader,
            events,
            calls,
            flight: Flight::default(),
            waiting: super::Waiting::default(),
            outcomes: std::collections::BTreeMap::new(),
            acks: FuturesUnordered::new(),
        })
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

/// Reads from the committed position to the own claim, noting claims and releases only.
async fn scan(
    journal: &dyn Journal,
    partition: Partition,
    from: u64,
    nonce: u64,
    (mut holder, has_metadata): (Option<u64>, bool),
) -> Result<Holding, Error> {
    let mut reader = journal.reader(partition, from).await?;
    let mut holds = Vec::new();
    let mut first = true;
    loop {
        for record in reader.next(BATCH_RECORDS_MAX).await? {
            if first && !has_metadata && record.offset > 0 {
                holder = Some(UNKNOWN_HOLDER);
            }
            first = false;
            let value = record.entry.value.unwrap_or_default();
            match bus::TasksRecord::decode(value).ok().and_then(|record| record.body) {
                Some(Body::Claim(claim)) if claim.nonce == nonce => {
                    return Ok(Holding::new(holder, holds, record.offset));
                }
                Some(Body::Claim(_)) => holds.push((record.offset, Hold::Claim)),
                Some(Body::Release(release)) => holds.push((record.offset, Hold::Release { claim: release.claim })),
                Some(Body::Task(_)) | None => {}
            }
        }
    }
}
