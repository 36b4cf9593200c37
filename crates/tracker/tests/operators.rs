//! The operators' API of a tracker with a real journal and a real SQLite file: queries, restarts,
//! unreadable states, and states that are older than the stored ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "support/payments.rs"]
mod payments;
#[path = "support/tracker.rs"]
mod tracker;

use std::{path::Path, sync::Arc, time::Duration};

use tonic::Code;
use twqr_access::AccessSettings;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_order::{Cancel, CancelStage, Command, Movement, Order, Payment, Phase};
use twqr_service::{BoundSocket, CancellationToken, Context, Health, SystemClock};
use twqr_tracker::Settings;
use twqr_types::UnixMs;
use twqr_wire::{
    convert::{StateBody, StatesEntry, decode_dead_letter, decode_record, encode_state, order_from},
    ops::{GetOrderRequest, ListOrdersRequest, ListSettlementRequest, SettlementEntry, settlement_entry::Kind},
    pos::PaymentType,
};

use tracker::{BEGAN_MS, ORDERS, STATES, TestTracker, failed, open_journal, paid, payment, state, unresolved};

#[tokio::test]
async fn orders_timelines_and_ages_are_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let states: Vec<Entry> = (0..250).map(|n| state(payment(n, unresolved()), 10)).collect();
    tracker.journal.append(STATES, states).await.unwrap();
    tracker.journal.append(STATES, vec![state(payment(7, failed()), 20)]).await.unwrap();
    let before = tracker.status_when(|status| status.lag == 0 && status.orders == 250).await;
    assert_eq!((before.in_progress, before.oldest_in_progress_ms), (249, BEGAN_MS));
    assert_eq!(before.ages.iter().map(|age| age.orders).sum::<i64>(), 249);
    tracker.close().await;

    let mut tracker = TestTracker::open(folder.path(), journal).await;
    assert_eq!(tracker.status_when(|status| status.lag == 0).await, before, "the status changed with a restart");
    let request = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "T7".into() };
    let order = tracker.client.get_order(request).await.unwrap().into_inner();
    let Order::Payment(payment) = order_from(order.order.unwrap()).unwrap() else { panic!("no payment") };
    assert!(matches!(payment.charge.phase, Phase::Failed(_)));
    let phases: Vec<(String, String)> =
        order.timeline.into_iter().map(|entry| (entry.phase, entry.status_code)).collect();
    assert_eq!(phases, [("unresolved".into(), String::new()), ("failed".into(), "928".into())]);
    tracker.close().await;
}

#[tokio::test]
async fn a_list_is_filtered_and_its_pages_have_no_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let phase = |n: i64| if n % 5 == 0 { unresolved() } else { failed() };
    let states: Vec<Entry> = (0..250).map(|n| state(payment(n, phase(n)), 10)).collect();
    tracker.journal.append(STATES, states).await.unwrap();
    tracker.status_when(|status| status.orders == 250).await;
    for (in_progress_only, merchant_id, expected) in [
        (false, "", 250),
        (true, "", 50),
        (false, "M1", 125),
        (true, "M1", 25),
        (false, "M9", 0),
        (false, "M1' OR '1'='1", 0),
    ] {
        let mut numbers = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListOrdersRequest {
                page_size: 30,
                page_token,
                in_progress_only,
                merchant_id: merchant_id.into(),
                contradicted_only: false,
                attention_only: false,
            };
            let page = tracker.client.list_orders(request).await.unwrap().into_inner();
            numbers.extend(page.orders.into_iter().map(|order| order_from(order).unwrap().accepted_at()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "{merchant_id}: an order is repeated or out of order");
        assert_eq!(numbers.len(), expected, "{in_progress_only} {merchant_id}");
    }
    for (request, field) in [
        (ListOrdersRequest { page_size: 1_001, ..Default::default() }, "page_size"),
        (ListOrdersRequest { page_token: "invalid".into(), ..Default::default() }, "page_token"),
    ] {
        let refused = tracker.client.list_orders(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let unknown = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "none".into() };
    assert_eq!(tracker.client.get_order(unknown).await.unwrap_err().code(), Code::NotFound);
    tracker.close().await;
}

#[tokio::test]
async fn an_older_state_changes_nothing_and_writes_no_due_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let due_now = Phase::Unresolved { next_check: UnixMs(BEGAN_MS) };
    tracker.journal.append(STATES, vec![state(payment(1, failed()), 20)]).await.unwrap();
    tracker.status_when(|status| status.orders == 1).await;
    let (key, value) = encode_state(&StatesEntry {
        epoch: 0,
        position: 10,
        body: StateBody::Order(Box::new(payment(1, due_now.clone()))),
    });
    tracker
        .journal
        .append(STATES, vec![Entry { key, value: Some(value) }, state(payment(2, due_now), 10)])
        .await
        .unwrap();
    let status = tracker.status_when(|status| status.orders == 2).await;
    assert_eq!(status.in_progress, 1, "an older state reopened a final order");
    let mut orders = tracker.journal.reader(ORDERS, 0).await.unwrap();
    let due = orders.next(10).await.unwrap();
    let due_keys: Vec<String> = due
        .into_iter()
        .map(|record| {
            let command = decode_record(record.entry.value.unwrap()).unwrap().command;
            let Command::Due(key) = command else { panic!("{command:?}") };
            key.to_string()
        })
        .collect();
    assert_eq!(due_keys, ["M0/T2"]);
    tracker.close().await;
}

#[tokio::test]
async fn an_older_state_in_the_same_batch_writes_no_due_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let due_now = || Phase::Unresolved { next_check: UnixMs(BEGAN_MS) };
    // A router that lost its shard while it was stalled writes an older state behind the new owner.
    let batch = vec![state(payment(1, failed()), 10), state(payment(1, due_now()), 5), state(payment(2, due_now()), 5)];
    tracker.journal.append(STATES, batch).await.unwrap();
    let status = tracker.status_when(|status| status.orders == 2).await;
    assert_eq!(status.in_progress, 1);
    let mut orders = tracker.journal.reader(ORDERS, 0).await.unwrap();
    let mut due = orders.next(10).await.unwrap();
    if let Ok(more) = tokio::time::timeout(Duration::from_millis(500), orders.next(10)).await {
        due.extend(more.unwrap());
    }
    let commands = due.into_iter().map(|record| decode_record(record.entry.value.unwrap()).unwrap().command);
    let due_keys: Vec<String> = commands
        .map(|command| {
            let Command::Due(key) = command else { panic!("{command:?}") };
            key.to_string()
        })
        .collect();
    assert_eq!(due_keys, ["M0/T2"]);
    tracker.close().await;
}

fn marker(position: u64) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Marker });
    Entry { key, value: Some(value) }
}

#[tokio::test]
async fn a_past_range_is_complete_or_the_error_names_the_shard_that_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let record = || Entry::plain(twqr_wire::convert::encode_due(UnixMs(0), payment(1, paid()).key()));
    journal.append(ORDERS, vec![record(), record(), record()]).await.unwrap();
    journal.append(STATES, vec![state(payment(1, paid()), 2), marker(2)]).await.unwrap();
    tracker.status_when(|status| status.orders == 1).await;
    let past_range = || ListSettlementRequest { from_ms: BEGAN_MS, to_ms: BEGAN_MS + 10_000, ..Default::default() };
    let refused = tracker.client.list_settlement(past_range()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("in shard 0 (and 0 others) 2 of 3"), "{refused:?}");
    assert_eq!(
        tracker.settlement(BEGAN_MS, i64::MAX, "").await.len(),
        1,
        "a range that is not over must list what is settled so far"
    );

    // The marker survives a restart, and a late, lower marker does not lower it.
    journal.append(STATES, vec![marker(3)]).await.unwrap();
    assert_eq!(tracker.settlement(BEGAN_MS, BEGAN_MS + 10_000, "").await.len(), 1);
    tracker.close().await;
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    journal.append(STATES, vec![marker(1)]).await.unwrap();
    assert_eq!(tracker.settlement(BEGAN_MS, BEGAN_MS + 10_000, "").await.len(), 1);
    tracker.close().await;
}

#[tokio::test]
async fn an_unreadable_state_goes_to_dead_letters_and_others_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let bad = Entry { key: "bad".into(), value: Some(vec![0xff; 3].into()) };
    tracker.journal.append(STATES, vec![bad, state(payment(1, unresolved()), 10)]).await.unwrap();
    tracker.status_when(|status| status.orders == 1 && status.lag == 0).await;
    let mut letters = tracker.journal.reader(Partition { topic: Topic::DeadLetters, index: 0 }, 0).await.unwrap();
    let letter = decode_dead_letter(letters.next(1).await.unwrap()[0].entry.value.clone().unwrap()).unwrap();
    assert_eq!((letter.topic.as_str(), letter.offset, &letter.payload[..]), ("order-states", 0, &[0xff; 3][..]));
    tracker.close().await;
}

#[tokio::test]
async fn an_unreadable_order_stops_the_watermark_but_not_other_orders() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let newer = Entry { value: Some(vec![0xff; 3].into()), ..state(payment(1, unresolved()), 10) };
    tracker.journal.append(STATES, vec![newer, state(payment(2, unresolved()), 11)]).await.unwrap();
    let status = tracker.status_when(|status| status.orders == 1).await;
    assert_eq!(status.lag, 2, "the watermark did not stop at the unreadable order");
    let past_range = ListSettlementRequest { from_ms: BEGAN_MS, to_ms: BEGAN_MS + 10_000, ..Default::default() };
    let refused = tracker.client.list_settlement(past_range).await.unwrap_err();
    assert!(refused.message().contains("in shard 0 (and 0 others) 0 of 2"), "{refused:?}");
    tracker.close().await;
}

#[tokio::test]
async fn every_order_is_counted_once_however_often_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    // New and changed in one write; then another change, an outdated state and a new order.
    let batch = vec![state(payment(1, unresolved()), 5), state(payment(1, failed()), 6), state(payment(2, paid()), 5)];
    tracker.journal.append(STATES, batch).await.unwrap();
    let status = tracker.status_when(|status| status.orders > 0 && status.lag == 0).await;
    assert_eq!((status.orders, status.in_progress, status.contradicted), (2, 0, 0));
    let Order::Payment(known) = payment(2, paid()) else { unreachable!() };
    let contradicted = Order::Payment(Payment { contradiction: Some("paid, then declined".into()), ..known });
    let batch = vec![state(contradicted, 9), state(payment(1, unresolved()), 4), state(payment(3, unresolved()), 9)];
    tracker.journal.append(STATES, batch).await.unwrap();
    let status = tracker.status_when(|status| status.orders > 2 && status.lag == 0).await;
    assert_eq!((status.orders, status.in_progress, status.contradicted), (3, 1, 1));
    let request = ListOrdersRequest { contradicted_only: true, ..Default::default() };
    assert_eq!(tracker.client.list_orders(request).await.unwrap().into_inner().orders.len(), 1);
    tracker.close().await;
}

/// A charge that took effect after it had failed, and whose reversal the issuer refused: `gave_up`
/// as an earlier build left it.
fn refused_reversal(n: i64, gave_up: bool) -> Order {
    let Order::Payment(known) = payment(n, failed()) else { unreachable!() };
    let (at, refusal) = (UnixMs(BEGAN_MS), known.charge.failure().cloned());
    let reversal = Movement::in_phase(at, Phase::Failed(refusal.clone().unwrap()));
    let cancel = Cancel {
        requested_at: at,
        remark: known.terms.remark.clone(),
        amount: 9,
        attempts: 1,
        last_sent_offset: 1,
        amounts: vec![(1, 9)],
        is_requested: false,
        was_answered_as_done: false,
        stage: if gave_up { CancelStage::Reversing(reversal) } else { CancelStage::Retry { at: UnixMs(i64::MAX) } },
        last_refusal: refusal.filter(|_| !gave_up),
        changed_at: at,
    };
    let contradiction = Some("failed, then took effect".into());
    Order::Payment(Payment { cancel: Some(cancel), charge_took_effect_after_all: true, contradiction, ..known })
}

#[tokio::test]
async fn orders_that_need_a_person_are_listed_until_they_are_settled() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let mut long_unsettled = payment(5, unresolved());
    if let Order::Payment(payment) = &mut long_unsettled {
        payment.charge.changed_at = UnixMs(BEGAN_MS + 3_600_000);
    }
    let (retried, given_up) = (refused_reversal(1, false), refused_reversal(2, true));
    let orders = [retried, given_up, payment(3, unresolved()), payment(4, failed()), long_unsettled];
    let batch = orders.into_iter().map(|order| state(order, 5)).collect();
    tracker.journal.append(STATES, batch).await.unwrap();
    let status = tracker.status_when(|status| status.orders == 5 && status.lag == 0).await;
    assert_eq!((status.attention, status.in_progress), (3, 4));
    assert_eq!(attention(&mut tracker).await, ["T1", "T2", "T5"]);
    tracker.close().await;

    // The rows as an earlier build left them: nothing is read again, and the given up one is found.
    let statements = [
        "DROP INDEX orders_attention",
        "ALTER TABLE orders DROP COLUMN needs_attention",
        "UPDATE orders SET is_final = 1 WHERE merchant_trade_no = 'T2'",
        "DROP TABLE listings",
        "ALTER TABLE positions DROP COLUMN beginning_offset",
        "ALTER TABLE positions DROP COLUMN beginning_mark",
        "ALTER TABLE positions DROP COLUMN newest_beginning",
        "DELETE FROM _sqlx_migrations WHERE version > 5",
    ];
    edit_read_model(folder.path(), &statements).await;
    let mut tracker = TestTracker::open(folder.path(), journal).await;
    assert_eq!(attention(&mut tracker).await, ["T2"]);
    let batch = vec![state(payment(2, failed()), 9)];
    tracker.journal.append(STATES, batch).await.unwrap();
    tracker.status_when(|status| status.attention == 0).await;
    tracker.close().await;
}

async fn attention(tracker: &mut TestTracker) -> Vec<String> {
    let request = ListOrdersRequest { attention_only: true, ..Default::default() };
    let listed = tracker.client.list_orders(request).await.unwrap().into_inner().orders;
    listed.into_iter().map(|order| order_from(order).unwrap().key().merchant_trade_no.to_string()).collect()
}

/// Runs SQL statements on the read model of a closed tracker.
async fn edit_read_model(folder: &Path, statements: &[&'static str]) {
    let file = format!("sqlite:{}", folder.join("read-model.sqlite").display());
    let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn an_unreadable_stored_order_blocks_the_settlement_but_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let states: Vec<Entry> = (1..=3).map(|n| state(payment(n, paid()), 10)).collect();
    tracker.journal.append(STATES, states).await.unwrap();
    tracker.status_when(|status| status.orders == 3).await;
    tracker.close().await;
    edit_read_model(folder.path(), &["UPDATE orders SET state = x'ff' WHERE merchant_trade_no = 'T2'"]).await;

    let mut tracker = TestTracker::open(folder.path(), journal).await;
    let (mut readable, mut unreadable, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { page_size: 1, page_token, ..Default::default() };
        let page = tracker.client.list_orders(request).await.unwrap().into_inner();
        readable.extend(page.orders.into_iter().map(|order| order_from(order).unwrap().key().to_string()));
        unreadable.extend(page.unreadable.into_iter().map(|order| (order.merchant_id, order.merchant_trade_no)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(readable, ["M1/T1", "M1/T3"]);
    assert_eq!(unreadable, [("M0".to_owned(), "T2".to_owned())]);

    let get = GetOrderRequest { merchant_id: "M0".into(), merchant_trade_no: "T2".into() };
    let range = ListSettlementRequest { from_ms: BEGAN_MS, to_ms: i64::MAX, ..Default::default() };
    let mut settlement = tracker.client.list_settlement(range).await.unwrap().into_inner();
    let refused = loop {
        match settlement.message().await {
            Ok(entry) => assert!(entry.is_some(), "the list ended as if it were complete"),
            Err(refused) => break refused,
        }
    };
    for refused in [refused, tracker.client.get_order(get).await.unwrap_err()] {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        for part in ["M0/T2", "build that wrote it", "log of the tracker"] {
            assert!(refused.message().contains(part), "{part}: {refused:?}");
        }
        assert!(!refused.message().contains("sqlite"), "it names a file of ours: {refused:?}");
    }
    tracker.close().await;
}

#[tokio::test]
async fn alarms_ring_although_a_stored_order_in_progress_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let due_now = || Phase::Unresolved { next_check: UnixMs(BEGAN_MS) };
    tracker
        .journal
        .append(STATES, vec![state(payment(1, due_now()), 5), state(payment(2, due_now()), 5)])
        .await
        .unwrap();
    tracker.status_when(|status| status.orders == 2).await;
    tracker.close().await;
    edit_read_model(folder.path(), &["UPDATE orders SET state = x'ff' WHERE merchant_trade_no = 'T1'"]).await;

    let before = journal.end(ORDERS).await.unwrap();
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let mut orders = journal.reader(ORDERS, before).await.unwrap();
    let mut due = std::collections::BTreeSet::new();
    while due.len() < 2 {
        let records = tokio::time::timeout(Duration::from_secs(10), orders.next(10)).await;
        for record in records.unwrap_or_else(|_| panic!("only these were due: {due:?}")).unwrap() {
            let command = decode_record(record.entry.value.unwrap()).unwrap().command;
            let Command::Due(key) = command else { panic!("{command:?}") };
            due.insert(key.to_string());
        }
    }
    tracker.close().await;
}

#[tokio::test]
async fn the_error_names_a_damaged_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("read-model.sqlite"), vec![7; 8_192]).unwrap();
    let context =
        Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
    let settings = Settings {
        database: folder.path().join("read-model.sqlite"),
        policy_wait_ms: 10_000,
        access: AccessSettings::default(),
    };
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let running = twqr_tracker::run(socket, settings, open_journal(folder.path()), context);
    let error = running.await.unwrap_err().to_string();
    assert!(error.contains("read-model.sqlite") && error.contains("delete it"), "{error}");
}

#[tokio::test]
async fn settled_movements_are_listed_once_sorted_by_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    let settled = |n: i64, at: i64| {
        let Order::Payment(mut payment) = payment(n, paid()) else { unreachable!() };
        payment.charge.changed_at = UnixMs(BEGAN_MS + at);
        Order::Payment(payment)
    };
    // Enough orders for several pages. The list itself waits until the read model has them.
    let mut states: Vec<Entry> = (0..2_500).map(|n| state(settled(n, 10_000 + n / 7), 10)).collect();
    states.push(state(payment(3_000, unresolved()), 10));
    states.push(state(payment(3_001, failed()), 10));
    tracker.journal.append(STATES, states).await.unwrap();
    let all = tracker.settlement(BEGAN_MS, BEGAN_MS + 100_000, "").await;
    let times: Vec<i64> = all.iter().map(|entry| entry.settled_at_ms).collect();
    let numbers: std::collections::BTreeSet<&str> = all.iter().map(|entry| entry.trade_no.as_str()).collect();
    assert!(times.is_sorted() && numbers.len() == 2_500 && all.len() == 2_500, "{} {}", numbers.len(), all.len());
    let range = tracker.settlement(BEGAN_MS + 10_001, BEGAN_MS + 10_003, "M1").await;
    assert_eq!(range.len(), 7, "14 orders in two ms, every second one of M1");
    let first = tracker.settlement(BEGAN_MS + 10_000, BEGAN_MS + 10_001, "M0").await.remove(0);
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
        booked_at_ms: BEGAN_MS + 10_000,
        ..SettlementEntry::default()
    };
    assert_eq!(first, expected);

    // A later change of an order does not move it to another day.
    let contradiction = Some("paid, then declined".into());
    let Order::Payment(known) = settled(0, 10_000) else { unreachable!() };
    let contradicted = Payment { contradiction, ..known };
    tracker.journal.append(STATES, vec![state(Order::Payment(contradicted), 20)]).await.unwrap();
    assert_eq!(tracker.settlement(BEGAN_MS, BEGAN_MS + 100_000, "").await, all);
    let backwards = ListSettlementRequest { from_ms: 2, to_ms: 2, ..Default::default() };
    let refused = tracker.client.list_settlement(backwards).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("to_ms")), (Code::InvalidArgument, true));
    tracker.close().await;
}

#[tokio::test]
async fn a_read_model_of_the_first_version_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
    tracker.journal.append(STATES, vec![state(payment(1, paid()), 10)]).await.unwrap();
    tracker.status_when(|status| status.orders == 1 && status.lag == 0).await;
    tracker.close().await;
    // The schema as the first migration leaves it.
    let statements = [
        "DROP INDEX orders_settled",
        "DROP INDEX orders_cancelled",
        "ALTER TABLE orders DROP COLUMN settled_at_ms",
        "ALTER TABLE orders DROP COLUMN cancelled_at_ms",
        "DROP TABLE policies",
        "ALTER TABLE positions DROP COLUMN beginning_offset",
        "ALTER TABLE positions DROP COLUMN beginning_mark",
        "ALTER TABLE positions DROP COLUMN newest_beginning",
        "ALTER TABLE positions DROP COLUMN marker",
        "DROP INDEX orders_unfinished",
        "ALTER TABLE orders DROP COLUMN replaced",
        "DROP TABLE counts",
        "DROP TABLE listings",
        "DROP INDEX orders_attention",
        "ALTER TABLE orders DROP COLUMN needs_attention",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ];
    edit_read_model(folder.path(), &statements).await;
    let mut tracker = TestTracker::open(folder.path(), journal).await;
    assert_eq!(tracker.settlement(0, i64::MAX, "").await.len(), 1);
    tracker.status_when(|status| status.orders == 1 && status.lag == 0).await;
    tracker.close().await;
}
