//! An ingress with the embedded journal, for real clients over loopback. There is no router: the
//! test itself reads the records and writes the replies.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking; not every test needs all of it"
)]

mod faulty_journal;

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use twqr_access::AccessSettings;
use twqr_card_keys::CardKeys;
use twqr_ingress::{AdmissionSettings, Error, FairnessSettings, Settings, Sockets, run};
use twqr_journal::{
    Entry, Journal, Offset, Partition, Record, Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{
    Approval, Command, EffectId, Movement, Nonces, Order, Payment, PaymentType, Phase, Remembering, ReplyTo, Terms,
};
use twqr_service::{BoundSocket, CancellationToken, Clock, Context, Health, SystemClock};
use twqr_types::{
    CardTokenDigest, ComparedToken, Issuer, KeyName, PayForm, RawPay, ShardId, StatusCode, TradeNo, UnixMs,
};
use twqr_wire::{
    convert::{DeadLetter, ReplyContent, ReplyRecord, decode_dead_letter, decode_record, encode_reply_record},
    pos::{PayRequest, pos_service_client::PosServiceClient},
};

pub use faulty_journal::FaultyJournal;

/// A running ingress.
pub struct Stage {
    pub journal: Arc<FaultyJournal>,
    pub address: SocketAddr,
    /// The address of the POS HTTP form, if it is served.
    pub http: Option<SocketAddr>,
    pub health: Health,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), Error>>,
    _folder: tempfile::TempDir,
}

/// The system's clock, which a test declares to be wrong.
#[derive(Default)]
pub struct DoubtfulClock(pub AtomicBool);

impl Clock for DoubtfulClock {
    fn now(&self) -> UnixMs {
        SystemClock.now()
    }

    fn is_skewed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that the ingress wrote for the router.
pub struct RouterRequest {
    pub offset: u64,
    /// The whole record.
    pub bytes: Bytes,
    /// The payment that is requested; absent if the record is an inquiry or a watch.
    pub pay: Option<PayForm>,
    pub signed_by: Option<KeyName>,
    pub reply_to: ReplyTo,
}

pub fn settings() -> Settings {
    Settings {
        member: "ingress-0".into(),
        http: None,
        answer_within_ms: 10_000,
        in_progress_code: StatusCode::FISC_ABNORMAL,
        calls_max: 1_000,
        admission: AdmissionSettings { delay: Duration::from_millis(100), limit_min: 256, limit_max: 256 },
        streams_max: 2,
        stream_in_flight_max: 8,
        repeats_size: NonZeroUsize::new(1_000).unwrap(),
        card_keys: CardKeys::in_memory(SystemClock.now(), 1),
        warm_rounds: 0,
        drain_within_ms: 500,
        connection_age: None,
        access: AccessSettings::default(),
        fairness: FairnessSettings::default(),
    }
}

impl Stage {
    pub async fn open(settings: Settings) -> Self {
        Self::open_with(settings, Arc::new(SystemClock)).await
    }

    /// The error with which an ingress ends at its start.
    pub async fn start_error(settings: Settings) -> Error {
        Self::start(settings).serving.await.unwrap().unwrap_err()
    }

    fn start(settings: Settings) -> Self {
        Self::start_with(settings, Arc::new(SystemClock))
    }

    /// Opens an ingress with this clock.
    pub async fn open_with(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let stage = Self::start_with(settings, clock);
        stage.until(|stage| stage.health.is_ready()).await;
        stage
    }

    /// Starts an ingress with these faults of its journal, and does not wait until it is ready.
    pub fn begin(settings: Settings, faults: impl FnOnce(&FaultyJournal)) -> Self {
        Self::start_faulty(settings, Arc::new(SystemClock), faults)
    }

    fn start_with(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self::start_faulty(settings, clock, |_| {})
    }

    fn start_faulty(settings: Settings, clock: Arc<dyn Clock>, faults: impl FnOnce(&FaultyJournal)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let one = NonZeroU32::MIN;
        let inner =
            EmbeddedJournal::open(EmbeddedSettings { dir: folder.path().into(), shards: one, task_partitions: one });
        let journal = Arc::new(FaultyJournal::new(inner.unwrap()));
        faults(&journal);
        let (grpc, form) = (BoundSocket::on_loopback("grpc").unwrap(), BoundSocket::on_loopback("pos_http").unwrap());
        let address = grpc.address();
        let http = settings.http.is_some().then(|| form.address());
        let sockets = Sockets { grpc, http: http.is_some().then_some(form) };
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let context = Context { clock, shutdown: shutdown.clone(), health: health.clone() };
        let serving = tokio::spawn(run(sockets, settings, journal.clone(), context));
        Self { journal, address, http, health, shutdown, serving, _folder: folder }
    }

    /// Waits until the condition holds.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the condition did not hold within 10 s; health: {:?}", self.health.report());
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> PosServiceClient<Channel> {
        PosServiceClient::new(self.channel().await)
    }

    /// Waits for at least `count` requests from offset `from` on.
    pub async fn requests(&self, from: Offset, count: usize) -> Vec<RouterRequest> {
        let mut reader = self.journal.reader(orders(), from).await.unwrap();
        let mut requests = Vec::new();
        while requests.len() < count {
            let read = tokio::time::timeout(Duration::from_secs(10), reader.next(100)).await;
            let Ok(read) = read else { panic!("no request for the router arrived within 10 s") };
            requests.extend(read.unwrap().into_iter().map(router_request));
        }
        requests
    }

    /// Waits for at least `count` payments in the log, and returns all that are there. Probes and
    /// inquiries are left out.
    pub async fn pay_requests(&self, count: usize) -> Vec<RouterRequest> {
        for _ in 0..2_000 {
            let end = usize::try_from(self.orders_end().await).unwrap();
            let mut requests = self.requests(0, end).await;
            requests.retain(|request| request.pay.is_some());
            if requests.len() >= count {
                return requests;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("fewer than {count} payments arrived within 10 s")
    }

    pub async fn orders_end(&self) -> Offset {
        self.journal.end(orders()).await.unwrap()
    }

    /// Replies as the router would.
    pub async fn reply(&self, to: &ReplyTo, content: ReplyContent, repeat: bool) {
        let reply = ReplyRecord { correlation: to.correlation, repeat, ..ReplyRecord::broadcast(content) };
        self.write_reply(to.partition, encode_reply_record(&reply)).await;
    }

    /// Writes these bytes as a record of `replies`.
    pub async fn write_reply(&self, partition: u32, bytes: Bytes) {
        let replies = Partition { topic: Topic::Replies, index: partition };
        self.journal.append(replies, vec![Entry::plain(bytes)]).await.unwrap();
    }

    /// The numbers of the payments in the log.
    pub async fn payments(&self) -> Vec<String> {
        let end = self.orders_end().await;
        let mut numbers = Vec::new();
        if end == 0 {
            return numbers;
        }
        let (mut reader, mut next) = (self.journal.reader(orders(), 0).await.unwrap(), 0);
        while next < end {
            for record in reader.next(1_000).await.unwrap() {
                next = record.offset + 1;
                let pay = router_request(record).pay;
                numbers.extend(pay.map(|form| form.key.merchant_trade_no.as_str().to_owned()));
            }
        }
        numbers
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let partition = Partition { topic: Topic::DeadLetters, index: 0 };
        let end = self.journal.end(partition).await.unwrap();
        if end == 0 {
            return Vec::new();
        }
        let mut reader = self.journal.reader(partition, 0).await.unwrap();
        let read = reader.next(100).await.unwrap();
        read.into_iter().map(|record| decode_dead_letter(record.entry.value.unwrap()).unwrap()).collect()
    }
}

fn orders() -> Partition {
    Partition { topic: Topic::Orders, index: 0 }
}

/// Where a probe or an inquiry is answered; absent if the record is a payment.
pub fn probe(record: Record) -> Option<ReplyTo> {
    let request = router_request(record);
    request.pay.is_none().then_some(request.reply_to)
}

fn router_request(record: Record) -> RouterRequest {
    let bytes = record.entry.value.unwrap();
    let decoded = decode_record(bytes.clone()).unwrap();
    let (pay, reply_to) = match decoded.command {
        Command::Pay(pay) => (Some(pay.form), pay.reply_to.unwrap()),
        Command::Query(query) => (None, query.reply_to),
        other => panic!("unexpected record: {other:?}"),
    };
    RouterRequest { offset: record.offset, bytes, pay, signed_by: decoded.signed_by, reply_to }
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

/// The TradeNo of the orders that [`payment_order`] makes.
pub fn trade_no() -> TradeNo {
    TradeNo::new(ShardId(0), 1, UnixMs(0))
}

/// A payment of M1 with this charge, as the router knows it.
pub fn payment_order(number: &str, charge: Phase<Approval>) -> Payment {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        store_id: "S1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 120,
        ..RawPay::default()
    };
    let form = PayForm::parse(raw).unwrap();
    Payment {
        key: form.key,
        trade_no: trade_no(),
        accepted_at: UnixMs(0),
        terms: Terms {
            store_id: form.store_id,
            store_name: form.store_name,
            gateway_trade_no: form.gateway_trade_no,
            pos_id: form.pos_id,
            pos_trade_time: form.pos_trade_time,
            trade_amount: form.trade_amount,
            un_redeem: form.un_redeem,
            requested_un_redeem: form.un_redeem,
            remark: form.remark,
            extra1: form.extra1,
            extra2: form.extra2,
            card_token: ComparedToken::Digest(CardTokenDigest::from_bytes([0; CardTokenDigest::LEN])),
        },
        issuer: Some(Issuer::Wallet),
        charge: movement(charge),
        refunds: Vec::new(),
        cancel: None,
        subscribers: Vec::new(),
        charge_took_effect_after_all: false,
        contradiction: None,
        protocol_version: 0,
        remembering: Remembering::All,
        nonces: Nonces::default(),
    }
}

/// A reply with the order of [`payment_order`].
pub fn order(number: &str, charge: Phase<Approval>) -> ReplyContent {
    ReplyContent::Order(Box::new(Order::Payment(payment_order(number, charge))))
}

pub fn movement<A>(phase: Phase<A>) -> Movement<A> {
    Movement::in_phase(UnixMs(0), phase)
}

pub fn paid() -> Phase<Approval> {
    Phase::Done(Box::new(Approval {
        payment_type: PaymentType::StoredValue,
        debit_amount: 120,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    }))
}

pub fn paying() -> Phase<Approval> {
    Phase::Sent { task: EffectId { shard: ShardId(0), offset: 0, n: 0 } }
}
