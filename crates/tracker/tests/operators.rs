//! The tracker over a real journal and a real SQLite file, asked by a real client: what is read,
//! what is kept over a restart, and what happens to states that nobody can read or that are older
//! than what is known.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::{net::SocketAddr, num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use prost::Message;
use tokio::task::JoinHandle;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{Approval, Command, Failure, Movement, Order, Payment, Phase};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_tracker::{Error, Settings};
use twqr_types::{StatusCode, TradeNo, UnixMs};
use twqr_wire::{
    bus,
    convert::{StateBody, StatesEntry, decode_record, encode_state, order_from, payment_from},
    ops::{
        GetOrderRequest, GetStatusRequest, GetStatusResponse, ListOrdersRequest, ListSettlementRequest,
        SettlementEntry, operator_service_client::OperatorServiceClient, settlement_entry::Kind,
    },
    pos::PaymentType,
};

const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
/// Orders are accepted at this time and later.
const BEGAN_MS: i64 = 1_790_000_000_000;

/// A payment in a phase; accepted `n` ms after the beginning.
fn payment(n: i64, phase: Phase<Approval>) -> Order {
    let proto = bus::Payment {
        key: Some(bus::OrderKey { merchant_id: format!("M{}", n % 2), merchant_trade_no: format!("T{n}") }),
        trade_no: TradeNo::new(twqr_types::ShardId(0), n.cast_unsigned(), UnixMs(BEGAN_MS)).to_string(),
        accepted_at_ms: BEGAN_MS + n,
        terms: Some(bus::PaymentTerms {
            store_id: "S".into(),
            trade_amount: 9,
            card_token_digest: vec![7; 16].into(),
            ..Default::default()
        }),
        charge: Some(bus::Movement {
            send_by_ms: BEGAN_MS,
            absent_after_ms: BEGAN_MS,
            changed_at_ms: BEGAN_MS + n,
            phase: Some(bus::movement::Phase::UnresolvedMs(i64::MAX)),
            ..bus::Movement::default()
        }),
        ..bus::Payment::default()
    };
    let payment = payment_from(proto).unwrap();
    Order::Payment(Payment { charge: Movement { phase, ..payment.charge.clone() }, ..payment })
}

fn waits() -> Phase<Approval> {
    Phase::Unresolved { next_check: UnixMs(i64::MAX) }
}

fn failed() -> Phase<Approval> {
    Phase::Failed(Failure {
        evidence: twqr_order::Evidence::Declined,
        status_code: StatusCode::BALANCE_TOO_LOW,
        status_desc: "x".into(),
    })
}

fn paid() -> Phase<Approval> {
    Phase::Done(Box::new(Approval {
        payment_type: twqr_order::PaymentType::OtherIssuer,
        debit_amount: 7,
        redeem_name: "points".into(),
        redeem_amount: -2,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    }))
}

fn state(order: Order, position: u64) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Order(Box::new(order)) });
    Entry { key, value: Some(value) }
}

fn accepted_at_ms(order: bus::Order) -> i64 {
    order_from(order).unwrap().accepted_at().0
}

struct Stage {
    journal: Arc<EmbeddedJournal>,
    client: OperatorServiceClient<Channel>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
    health: Health,
}

fn open_journal(folder: &Path) -> Arc<EmbeddedJournal> {
    let one = NonZeroU32::MIN;
    EmbeddedJournal::open(EmbeddedSettings { dir: folder.join("journal"), shards: one, task_partitions: one }).unwrap()
}

impl Stage {
    async fn open(folder: &Path, journal: Arc<EmbeddedJournal>) -> Self {
        let listen: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
        let settings = Settings { listen, database: folder.join("read-model.sqlite"), policy_wait_ms: 10_000 };
        let running = tokio::spawn(twqr_tracker::run(settings, journal.clone(), context));
        let endpoint = Endpoint::from_shared(format!("http://{listen}")).unwrap();
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        Self { journal, client: OperatorServiceClient::new(channel), shutdown, running, health }
    }

    async fn status_when(&mut self, holds: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
        for _ in 0..1_000 {
            let status = self.client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the read model did not get there within 10 s: {:?}", self.health.report())
    }

    async fn settlement(&mut self, from_ms: i64, to_ms: i64, merchant_id: &str) -> Vec<SettlementEntry> {
        let request = ListSettlementRequest { from_ms, to_ms, merchant_id: merchant_id.into() };
        let mut stream = self.client.list_settlement(request).await.unwrap().into_inner();
        let mut entries = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            entries.push(response.entry.unwrap());
        }
        entries
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn operators_see_orders_timelines_and_ages_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut stage = Stage::open(folder.path(), journal.clone()).await;
    let states: Vec<Entry> = (0..250).map(|n| state(payment(n, waits()), 10)).collect();
    stage.journal.append(STATES, states).await.unwrap();
    stage.journal.append(STATES, vec![state(payment(7, failed()), 20)]).await.unwrap();
    let before = stage.status_when(|status| status.lag == 0 && status.orders == 250).await;
    assert_eq!((before.in_progress, before.oldest_in_progress_ms), (249, BEGAN_MS));
    assert_eq!(before.ages.iter().map(|age| age.orders).sum::<i64>(), 249);
    stage.close().await;

    let mut stage = Stage::open(folder.path(), journal).await;
    assert_eq!(stage.status_when(|status| status.lag == 0).await, before, "the same after a restart");
    let request = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "T7".into() };
    let order = stage.client.get_order(request).await.unwrap().into_inner();
    let Some(bus::order::Order::Payment(payment)) = order.order.unwrap().order else { panic!("no payment") };
    assert!(matches!(payment.charge.unwrap().phase, Some(bus::movement::Phase::Failed(_))));
    let phases: Vec<(String, String)> =
        order.timeline.into_iter().map(|entry| (entry.phase, entry.status_code)).collect();
    assert_eq!(phases, [("unresolved".into(), String::new()), ("failed".into(), "928".into())]);
    stage.close().await;
}

#[tokio::test]
async fn a_list_is_paged_without_gaps_and_filtered() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let phase = |n: i64| if n % 5 == 0 { waits() } else { failed() };
    let states: Vec<Entry> = (0..250).map(|n| state(payment(n, phase(n)), 10)).collect();
    stage.journal.append(STATES, states).await.unwrap();
    stage.status_when(|status| status.orders == 250).await;
    for (in_progress_only, merchant_id, expected) in
        [(false, "", 250), (true, "", 50), (false, "M1", 125), (true, "M1", 25), (false, "M9", 0)]
    {
        let mut numbers = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListOrdersRequest {
                page_size: 30,
                page_token,
                in_progress_only,
                merchant_id: merchant_id.into(),
                contradicted_only: false,
            };
            let page = stage.client.list_orders(request).await.unwrap().into_inner();
            numbers.extend(page.orders.into_iter().map(accepted_at_ms));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "{merchant_id}: each once, in order");
        assert_eq!(numbers.len(), expected, "{in_progress_only} {merchant_id}");
    }
    for (request, field) in [
        (ListOrdersRequest { page_size: 1_001, ..Default::default() }, "page_size"),
        (ListOrdersRequest { page_token: "mine".into(), ..Default::default() }, "page_token"),
    ] {
        let refused = stage.client.list_orders(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let nobody = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "none".into() };
    assert_eq!(stage.client.get_order(nobody).await.unwrap_err().code(), Code::NotFound);
    stage.close().await;
}

#[tokio::test]
async fn an_older_state_changes_nothing_and_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let due_now = Phase::Unresolved { next_check: UnixMs(BEGAN_MS) };
    stage.journal.append(STATES, vec![state(payment(1, failed()), 20)]).await.unwrap();
    stage.status_when(|status| status.orders == 1).await;
    let (key, value) = encode_state(&StatesEntry {
        epoch: 0,
        position: 10,
        body: StateBody::Order(Box::new(payment(1, due_now.clone()))),
    });
    stage
        .journal
        .append(STATES, vec![Entry { key, value: Some(value) }, state(payment(2, due_now), 10)])
        .await
        .unwrap();
    let status = stage.status_when(|status| status.orders == 2).await;
    assert_eq!(status.in_progress, 1, "final stays final");
    let mut orders = stage.journal.reader(ORDERS, 0).await.unwrap();
    let due = orders.next(10).await.unwrap();
    let woken: Vec<String> = due
        .into_iter()
        .map(|record| {
            let command = decode_record(record.entry.value.unwrap()).unwrap().command;
            let Command::Due(key) = command else { panic!("{command:?}") };
            key.to_string()
        })
        .collect();
    assert_eq!(woken, ["M0/T2"]);
    stage.close().await;
}

#[tokio::test]
async fn an_older_state_in_the_same_batch_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let due_now = || Phase::Unresolved { next_check: UnixMs(BEGAN_MS) };
    // A router that stood still writes behind the one that took its shard.
    let batch = vec![state(payment(1, failed()), 10), state(payment(1, due_now()), 5), state(payment(2, due_now()), 5)];
    stage.journal.append(STATES, batch).await.unwrap();
    let status = stage.status_when(|status| status.orders == 2).await;
    assert_eq!(status.in_progress, 1);
    let mut orders = stage.journal.reader(ORDERS, 0).await.unwrap();
    let mut due = orders.next(10).await.unwrap();
    if let Ok(more) = tokio::time::timeout(Duration::from_millis(500), orders.next(10)).await {
        due.extend(more.unwrap());
    }
    let woken = due.into_iter().map(|record| decode_record(record.entry.value.unwrap()).unwrap().command);
    let woken: Vec<String> = woken
        .map(|command| {
            let Command::Due(key) = command else { panic!("{command:?}") };
            key.to_string()
        })
        .collect();
    assert_eq!(woken, ["M0/T2"]);
    stage.close().await;
}

fn marker(position: u64) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Marker });
    Entry { key, value: Some(value) }
}

#[tokio::test]
async fn a_day_that_is_over_is_complete_or_refused_by_the_shards_name() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut stage = Stage::open(folder.path(), journal.clone()).await;
    let record = || Entry::plain(twqr_wire::convert::encode_due(UnixMs(0), payment(1, paid()).key()));
    journal.append(ORDERS, vec![record(), record(), record()]).await.unwrap();
    journal.append(STATES, vec![state(payment(1, paid()), 2), marker(2)]).await.unwrap();
    stage.status_when(|status| status.orders == 1).await;
    let over = || ListSettlementRequest { from_ms: BEGAN_MS, to_ms: BEGAN_MS + 10_000, merchant_id: String::new() };
    let refused = stage.client.list_settlement(over()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("in shard 0 (and 0 others) 2 of 3"), "{refused:?}");
    assert_eq!(stage.settlement(BEGAN_MS, i64::MAX, "").await.len(), 1, "what is there of a range that is not over");

    // A restart knows the marker still, and an older one that comes late takes nothing back.
    journal.append(STATES, vec![marker(3)]).await.unwrap();
    assert_eq!(stage.settlement(BEGAN_MS, BEGAN_MS + 10_000, "").await.len(), 1);
    stage.close().await;
    let mut stage = Stage::open(folder.path(), journal.clone()).await;
    journal.append(STATES, vec![marker(1)]).await.unwrap();
    assert_eq!(stage.settlement(BEGAN_MS, BEGAN_MS + 10_000, "").await.len(), 1);
    stage.close().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_read_goes_to_the_dead_letters_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let bad = Entry { key: "bad".into(), value: Some(vec![0xff; 3].into()) };
    stage.journal.append(STATES, vec![bad, state(payment(1, waits()), 10)]).await.unwrap();
    stage.status_when(|status| status.orders == 1 && status.lag == 0).await;
    let mut letters = stage.journal.reader(Partition { topic: Topic::DeadLetters, index: 0 }, 0).await.unwrap();
    let letter = bus::DeadLetter::decode(letters.next(1).await.unwrap()[0].entry.value.clone().unwrap()).unwrap();
    assert_eq!((letter.topic.as_str(), letter.offset, &letter.payload[..]), ("order-states", 0, &[0xff; 3][..]));
    stage.close().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_read_again_by_the_next_build_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let newer = Entry { value: Some(vec![0xff; 3].into()), ..state(payment(1, waits()), 10) };
    stage.journal.append(STATES, vec![newer, state(payment(2, waits()), 11)]).await.unwrap();
    let status = stage.status_when(|status| status.orders == 1).await;
    assert_eq!(status.lag, 2, "the model is not beyond it");
    let over = ListSettlementRequest { from_ms: BEGAN_MS, to_ms: BEGAN_MS + 10_000, merchant_id: String::new() };
    let refused = stage.client.list_settlement(over).await.unwrap_err();
    assert!(refused.message().contains("in shard 0 (and 0 others) 0 of 2"), "{refused:?}");
    stage.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("read-model.sqlite"), vec![7; 8_192]).unwrap();
    let context =
        Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database: folder.path().join("read-model.sqlite"),
        policy_wait_ms: 10_000,
    };
    let error = twqr_tracker::run(settings, open_journal(folder.path()), context).await.unwrap_err().to_string();
    assert!(error.contains("read-model.sqlite") && error.contains("delete it"), "{error}");
}

#[tokio::test]
async fn what_was_settled_is_listed_by_when_it_was_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(folder.path(), open_journal(folder.path())).await;
    let settled = |n: i64, at: i64| {
        let Order::Payment(mut payment) = payment(n, paid()) else { unreachable!() };
        payment.charge.changed_at = UnixMs(BEGAN_MS + at);
        Order::Payment(payment)
    };
    // Enough for several pages, all at once: the list must not wait for anybody but the read model.
    let mut states: Vec<Entry> = (0..2_500).map(|n| state(settled(n, 10_000 + n / 7), 10)).collect();
    states.push(state(payment(3_000, waits()), 10));
    states.push(state(payment(3_001, failed()), 10));
    stage.journal.append(STATES, states).await.unwrap();
    let all = stage.settlement(BEGAN_MS, BEGAN_MS + 100_000, "").await;
    let times: Vec<i64> = all.iter().map(|entry| entry.settled_at_ms).collect();
    let numbers: std::collections::BTreeSet<&str> = all.iter().map(|entry| entry.trade_no.as_str()).collect();
    assert!(times.is_sorted() && numbers.len() == 2_500 && all.len() == 2_500, "{} {}", numbers.len(), all.len());
    let range = stage.settlement(BEGAN_MS + 10_001, BEGAN_MS + 10_003, "M1").await;
    assert_eq!(range.len(), 7, "14 orders in two ms, every other one of M1");
    let first = stage.settlement(BEGAN_MS + 10_000, BEGAN_MS + 10_001, "M0").await.remove(0);
    let expected = SettlementEntry {
        kind: Kind::Payment.into(),
        merchant_id: "M0".into(),
        store_id: "S".into(),
        merchant_trade_no: "T0".into(),
        trade_no: first.trade_no.clone(),
        payment_type: PaymentType::OtherIssuer.into(),
        trade_amount: 9,
        debit_amount: 7,
        redeem_amount: -2,
        accepted_at_ms: BEGAN_MS,
        settled_at_ms: BEGAN_MS + 10_000,
        ..SettlementEntry::default()
    };
    assert_eq!(first, expected);

    // What comes to an order later does not take it to another day.
    let contradiction = Some("paid, then declined".into());
    let Order::Payment(known) = settled(0, 10_000) else { unreachable!() };
    let contradicted = Payment { contradiction, ..known };
    stage.journal.append(STATES, vec![state(Order::Payment(contradicted), 20)]).await.unwrap();
    assert_eq!(stage.settlement(BEGAN_MS, BEGAN_MS + 100_000, "").await, all);
    let backwards = ListSettlementRequest { from_ms: 2, to_ms: 2, merchant_id: String::new() };
    let refused = stage.client.list_settlement(backwards).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("to_ms")), (Code::InvalidArgument, true));
    stage.close().await;
}

#[tokio::test]
async fn a_read_model_from_before_the_accounting_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut stage = Stage::open(folder.path(), journal.clone()).await;
    stage.journal.append(STATES, vec![state(payment(1, paid()), 10)]).await.unwrap();
    stage.status_when(|status| status.orders == 1 && status.lag == 0).await;
    stage.close().await;
    // As the first migration left it.
    let file = format!("sqlite:{}", folder.path().join("read-model.sqlite").display());
    let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
    for statement in [
        "DROP INDEX orders_settled",
        "DROP INDEX orders_cancelled",
        "ALTER TABLE orders DROP COLUMN settled_at_ms",
        "ALTER TABLE orders DROP COLUMN cancelled_at_ms",
        "DROP TABLE policies",
        "ALTER TABLE positions DROP COLUMN marker",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let mut stage = Stage::open(folder.path(), journal).await;
    assert_eq!(stage.settlement(0, i64::MAX, "").await.len(), 1);
    stage.close().await;
}
