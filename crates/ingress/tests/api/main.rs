//! The API as a caller meets it: a real gRPC client over loopback, the real order machine, and a journal that can go wrong.

mod edge;
mod journal;
mod pay;
mod router;
mod watch;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use journal::{FakeJournal, Handle};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::Channel;
use twqr_ingress::{Error, Settings};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_types::{OrderKey, PayForm, RawPay};
use twqr_wire::pos::{self, pos_service_client::PosServiceClient};

/// One ingress with its callers.
struct World {
    journal: Arc<FakeJournal>,
    client: PosServiceClient<Channel>,
    channel: Channel,
    context: Context,
    serving: JoinHandle<Result<(), Error>>,
    routing: JoinHandle<()>,
}

/// Short deadlines, so that what is never answered ends soon.
fn settings() -> Settings {
    Settings { answer_within: Duration::from_millis(400), ..Settings::default() }
}

/// As long as it takes: for what must be answered.
fn patient() -> Settings {
    Settings { answer_within: Duration::from_secs(30), ..Settings::default() }
}

impl World {
    async fn new(settings: Settings) -> Self {
        let journal = FakeJournal::new();
        let context =
            Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handle = Arc::new(Handle(Arc::clone(&journal)));
        let serving = tokio::spawn(twqr_ingress::run_on(listener, settings, handle, context.clone()));
        let routing = tokio::spawn(router::route(Arc::clone(&journal)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let client = PosServiceClient::new(channel.clone());
        Self { journal, client, channel, context, serving, routing }
    }

    async fn pay(&self, request: pos::PayRequest) -> Result<pos::PayResponse, tonic::Status> {
        self.client.clone().pay(request).await.map(tonic::Response::into_inner)
    }

    async fn query(&self, merchant_trade_no: &str) -> Result<pos::QueryResponse, tonic::Status> {
        let request = pos::QueryRequest {
            inquiry_type: pos::InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: merchant_trade_no.into(),
            ..Default::default()
        };
        self.client.clone().query(request).await.map(tonic::Response::into_inner)
    }

    /// The issuer says at last that the customer was charged.
    fn approve(&self, request: &pos::PayRequest) {
        let key = key(request);
        let shards = twqr_types::ShardCount((journal::SHARDS as u16).try_into().unwrap());
        let partition =
            twqr_journal::Partition { topic: twqr_journal::Topic::Orders, index: u32::from(key.shard(shards).0) };
        let task = twqr_order::EffectId { shard: key.shard(shards), offset: 0, n: 0 };
        let result = router::approved(twqr_types::Issuer::Wallet, request.trade_amount);
        self.journal.write(partition, vec![router::outcome(key, task, result)]);
    }

    /// Waits until so many records stand in `orders`.
    async fn until_orders(&self, count: usize) {
        let mut changes = self.journal.changes();
        while self.journal.orders().len() < count {
            FakeJournal::changed(&mut changes).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
        self.routing.abort();
    }
}

fn request(merchant_trade_no: &str, trade_amount: i64) -> pos::PayRequest {
    pos::PayRequest {
        merchant_id: "M1".into(),
        store_id: "S1".into(),
        store_name: "Store".into(),
        gateway_trade_no: "G1".into(),
        merchant_trade_no: merchant_trade_no.into(),
        pos_id: "P1".into(),
        pos_trade_time: "2025/03/10 09:08:07".into(),
        card_token: "22SECRETSECRETSECR".into(),
        trade_amount,
        un_redeem: 0,
        remark: "remark".into(),
        extra1: "one".into(),
        extra2: "two".into(),
        extra3: String::new(),
        send_time: "20250310090807".into(),
    }
}

fn key(request: &pos::PayRequest) -> OrderKey {
    let raw = RawPay {
        merchant_id: request.merchant_id.clone(),
        merchant_trade_no: request.merchant_trade_no.clone(),
        card_token: "22".into(),
        trade_amount: 1,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap().key
}
