//! The operators' queries read as much as they answer, however many orders are stored.

use sqlx::{QueryBuilder, Row};
use twqr_types::{MerchantId, MerchantTradeNo};

use super::*;

async fn empty_model(folder: &tempfile::TempDir) -> SqliteModel {
    SqliteModel::open(&folder.path().join("read-model.sqlite")).await.unwrap()
}

/// How SQLite runs a query, one step a line.
async fn plan(model: &SqliteModel, mut explained: QueryBuilder<sqlx::Sqlite>) -> String {
    let rows = explained.build().fetch_all(&model.readers).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    steps.join("\n")
}

#[tokio::test]
async fn rare_orders_are_listed_from_their_partial_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let model = empty_model(&folder).await;
    let contradicted = ListFilter { contradicted_only: true, size: 100, ..ListFilter::default() };
    let in_progress = ListFilter { in_progress_only: true, size: 100, ..ListFilter::default() };
    let attention = ListFilter { attention_only: true, size: 100, ..ListFilter::default() };
    for (filter, index) in
        [(contradicted, "orders_contradicted"), (in_progress, "orders_unfinished"), (attention, "orders_attention")]
    {
        for merchant_id in ["", "M1"] {
            let filter = ListFilter { merchant_id: merchant_id.into(), ..filter.clone() };
            let plan = plan(&model, list_query("EXPLAIN QUERY PLAN ", filter)).await;
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{index} {merchant_id}: {plan}");
        }
    }
}

#[tokio::test]
async fn the_status_is_counted_without_reading_all_orders() {
    let folder = tempfile::tempdir().unwrap();
    let model = empty_model(&folder).await;
    for query in [ORDERS, CONTRADICTED, ATTENTION, IN_PROGRESS, APPLIED] {
        let plan = plan(&model, QueryBuilder::new(format!("EXPLAIN QUERY PLAN {query}"))).await;
        for step in plan.lines().filter(|step| step.contains(" orders ") || step.ends_with(" orders")) {
            let partial = ["orders_contradicted", "orders_unfinished", "orders_attention"];
            assert!(partial.iter().any(|index| step.contains(index)), "{query}: {plan}");
        }
    }
}

#[tokio::test]
async fn settled_orders_are_listed_from_the_index_of_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = empty_model(&folder).await;
    for (by, index) in [(SettledBy::Settled, "orders_settled"), (SettledBy::Cancelled, "orders_cancelled")] {
        let plan = plan(&model, QueryBuilder::new(format!("EXPLAIN QUERY PLAN {}", by.query()))).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn due_orders_are_looked_up_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = empty_model(&folder).await;
    let key = |n: u64| OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse(format!("T{n}")).unwrap(),
    };
    let states: Vec<(OrderKey, u64)> = (0..100).map(|n| (key(n), n)).collect();
    let plan = plan(&model, superseded_query("EXPLAIN QUERY PLAN ", &states)).await;
    assert!(plan.contains("SEARCH orders USING INDEX") && !plan.contains("SCAN orders"), "{plan}");
}
