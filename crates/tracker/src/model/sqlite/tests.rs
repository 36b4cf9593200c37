//! The file of the read model: what a batch of states leaves in it, and files of newer builds.

use twqr_consumer::KnownBeginnings;
use twqr_order::{Approval, Movement, Order, Phase};
use twqr_types::{Amount, ShardId, TradeNo, UnixMs};

use super::*;
use crate::payments;

const AT: UnixMs = UnixMs(1_790_000_000_000);

fn stored(number: u64, position: u64, phase: Phase<Approval>) -> StoredOrder {
    let form = payments::form("M1", &format!("T{number}"), 9);
    let charge = Movement::in_phase(AT, phase);
    let order = Order::Payment(payments::payment(form, TradeNo::new(ShardId(0), number, AT), AT, charge));
    StoredOrder { order, position, is_only_state: false }
}

/// What the file says of an order: its phase, and the phases of its timeline.
async fn phases(model: &SqliteModel, number: u64) -> (&'static str, Vec<String>) {
    let history = model.order("M1", &format!("T{number}")).await.unwrap().unwrap().unwrap();
    (phase_name(&history.order), history.timeline.into_iter().map(|entry| entry.phase).collect())
}

fn unresolved() -> Phase<Approval> {
    Phase::Unresolved { next_check: UnixMs(i64::MAX) }
}

fn paid() -> Phase<Approval> {
    Phase::Done(Box::new(payments::approval(Amount::parse(9).unwrap(), 0)))
}

#[tokio::test]
async fn the_newest_state_of_a_batch_is_stored_and_the_timeline_has_all() {
    let folder = tempfile::tempdir().unwrap();
    let model = SqliteModel::open(&folder.path().join("read-model.sqlite")).await.unwrap();
    let batches = [
        vec![
            stored(1, 1, unresolved()),
            stored(2, 2, unresolved()),
            stored(1, 3, paid()),
            stored(3, 9, paid()),
            // A router that has lost its shard may write an outdated state behind a newer one.
            stored(3, 8, unresolved()),
        ],
        vec![stored(2, 10, paid()), stored(4, 11, unresolved())],
    ];
    for (next, batch) in (1..).zip(batches) {
        let watermark = Watermark { next, marker: 0, beginnings: KnownBeginnings::default() };
        model.apply(0, watermark, Arc::new(batch)).await.unwrap();
    }
    for (number, phase, timeline) in [
        (1, "paid", vec!["unresolved", "paid"]),
        (2, "paid", vec!["unresolved", "paid"]),
        (3, "paid", vec!["unresolved", "paid"]),
        (4, "unresolved", vec!["unresolved"]),
    ] {
        let (stored, stored_timeline) = phases(&model, number).await;
        assert_eq!((stored, stored_timeline), (phase, timeline.into_iter().map(String::from).collect()), "{number}");
    }
    let replaced = sqlx::query_scalar("SELECT replaced FROM orders ORDER BY merchant_trade_no");
    let replaced: Vec<i64> = replaced.fetch_all(&model.readers).await.unwrap();
    assert_eq!(replaced, [0, 1, 0, 0], "only the newest state of a batch is written");
    let status = model.status().await.unwrap();
    assert_eq!((status.orders, status.in_progress.len()), (4, 1), "each order counts once");
}

#[tokio::test]
async fn a_file_with_the_schema_of_a_newer_build_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("read-model.sqlite");
    let model = SqliteModel::open(&file).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'newer', 1, x'00', 0)",
    )
    .execute(&model.readers)
    .await
    .unwrap();
    model.readers.close().await;
    drop(model);
    let opened = SqliteModel::open(&file).await.unwrap();
    assert_eq!(opened.snapshot(0).await.unwrap().next, 0);
    assert!(folder.path().join("read-model.sqlite.newer").exists());
}
