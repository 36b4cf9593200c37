//! A running tracker for tests, and the states that it reads.

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use twqr_access::AccessSettings;
use twqr_journal::{
    Entry, Partition, Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{Approval, Failure, Movement, Order, Phase};
use twqr_service::{BoundSocket, CancellationToken, Context, Health, SystemClock};
use twqr_tracker::{Error, Settings};
use twqr_types::{Amount, ShardId, StatusCode, TradeNo, UnixMs};
use twqr_wire::{
    convert::{StateBody, StatesEntry, encode_state},
    ops::{
        GetStatusRequest, GetStatusResponse, ListSettlementRequest, SettlementEntry,
        operator_service_client::OperatorServiceClient,
    },
};

pub const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
pub const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
/// All orders are accepted at this time or later.
pub const BEGAN_MS: i64 = 1_790_000_000_000;

/// A payment of 9 TWD in this phase, accepted `n` ms after the beginning.
pub fn payment(n: i64, phase: Phase<Approval>) -> Order {
    let form = super::payments::form(&format!("M{}", n % 2), &format!("T{n}"), 9);
    let trade_no = TradeNo::new(ShardId(0), n.cast_unsigned(), UnixMs(BEGAN_MS));
    let accepted_at = UnixMs(BEGAN_MS + n);
    let charge = Movement { changed_at: accepted_at, ..Movement::in_phase(UnixMs(BEGAN_MS), phase) };
    Order::Payment(super::payments::payment(form, trade_no, accepted_at, charge))
}

pub fn unresolved() -> Phase<Approval> {
    Phase::Unresolved { next_check: UnixMs(i64::MAX) }
}

pub fn failed() -> Phase<Approval> {
    Phase::Failed(Failure {
        evidence: twqr_order::Evidence::Declined,
        status_code: StatusCode::BALANCE_TOO_LOW,
        status_desc: "x".into(),
    })
}

pub fn paid() -> Phase<Approval> {
    Phase::Done(Box::new(super::payments::approval(Amount::parse(9).unwrap(), -2)))
}

pub fn state(order: Order, position: u64) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Order(Box::new(order)) });
    Entry { key, value: Some(value) }
}

/// A running tracker and a client of its operators' API.
pub struct TestTracker {
    pub journal: Arc<EmbeddedJournal>,
    pub client: OperatorServiceClient<Channel>,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<Result<(), Error>>,
    pub health: Health,
}

pub fn open_journal(folder: &Path) -> Arc<EmbeddedJournal> {
    let one = NonZeroU32::MIN;
    EmbeddedJournal::open(EmbeddedSettings { dir: folder.join("journal"), shards: one, task_partitions: one }).unwrap()
}

impl TestTracker {
    pub async fn open(folder: &Path, journal: Arc<EmbeddedJournal>) -> Self {
        let socket = BoundSocket::on_loopback("operators").unwrap();
        let listen = socket.address();
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
        let settings = Settings {
            database: folder.join("read-model.sqlite"),
            policy_wait_ms: 10_000,
            access: AccessSettings::default(),
        };
        let running = tokio::spawn(twqr_tracker::run(socket, settings, journal.clone(), context));
        let endpoint = Endpoint::from_shared(format!("http://{listen}")).unwrap();
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        Self { journal, client: OperatorServiceClient::new(channel), shutdown, running, health }
    }

    pub async fn status_when(&mut self, holds: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
        for _ in 0..1_000 {
            let status = self.client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the read model did not reach the expected state within 10 s: {:?}", self.health.report())
    }

    pub async fn settlement(&mut self, from_ms: i64, to_ms: i64, merchant_id: &str) -> Vec<SettlementEntry> {
        let request = ListSettlementRequest { from_ms, to_ms, merchant_id: merchant_id.into(), close: false };
        let mut stream = self.client.list_settlement(request).await.unwrap().into_inner();
        let mut entries = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            entries.push(response.entry.unwrap());
        }
        entries
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}
