//! No refusal of the operators' API lacks a reason: every method is refused here, by a tracker that
//! has no router, for what the request contains and for what the tracker has not read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/reasons.rs"]
mod reasons;
#[path = "support/served.rs"]
mod served;

use std::time::Duration;

use reasons::reason_of;
use served::{TestTracker, first_policy, open_journal};
use tonic::Status;
use twqr_wire::{
    convert::policy_out,
    ops::{
        ApplyPolicyRequest, ChangeCallerRequest, ChangeMerchantsRequest, GetMerchantRequest, GetOrderRequest,
        GetPolicyRequest, ListMerchantsRequest, ListOrdersRequest, ListSettlementRequest, ReplayPolicyRequest,
    },
};

const PROTO: &str = include_str!("../../../proto/twqr/ops/v1/ops.proto");
/// The methods that a tracker without a router answers: there is nothing to refuse.
const ANSWERED: [&str; 2] = ["GetStatus", "ListCallers"];

/// A time in Unix ms that no clock shows yet, in the year 2096.
const LATER_MS: i64 = 4_000_000_000_000;

/// Each call that is refused, with its method and the expected reason.
async fn refusals(tracker: &TestTracker) -> Vec<(&'static str, &'static str, Status)> {
    let mut client = tracker.client.clone();
    let order = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "T1".into() };
    let policy = Some(policy_out(&first_policy()));
    let apply = ApplyPolicyRequest { policy: policy.clone(), who: "a".into(), why: "b".into(), ..Default::default() };
    let replay = ReplayPolicyRequest { policy, orders_max: 1 };
    let close = |to_ms| ListSettlementRequest { from_ms: 1, to_ms, close: true, ..Default::default() };
    let merchant = GetMerchantRequest { merchant_id: "M1".into(), store_id: None };
    let page = |page_token: &str| ListOrdersRequest { page_token: page_token.into(), ..Default::default() };
    let settlement = ListSettlementRequest::default();
    vec![
        ("ListOrders", "FIELD_VIOLATIONS", client.list_orders(page("invalid")).await.unwrap_err()),
        ("GetOrder", "FIELD_VIOLATIONS", client.get_order(GetOrderRequest::default()).await.unwrap_err()),
        ("GetOrder", "NOT_FOUND", client.get_order(order).await.unwrap_err()),
        ("ListSettlement", "FIELD_VIOLATIONS", client.list_settlement(settlement).await.unwrap_err()),
        ("ListSettlement", "CLOSING_TOO_EARLY", client.list_settlement(close(LATER_MS)).await.unwrap_err()),
        ("ListSettlement", "POLICY_NOT_READ", client.list_settlement(close(2)).await.unwrap_err()),
        ("GetPolicy", "POLICY_NOT_READ", client.get_policy(GetPolicyRequest { version: 0 }).await.unwrap_err()),
        ("ApplyPolicy", "FIELD_VIOLATIONS", client.apply_policy(ApplyPolicyRequest::default()).await.unwrap_err()),
        ("ApplyPolicy", "POLICY_NOT_READ", client.apply_policy(apply).await.unwrap_err()),
        ("ReplayPolicy", "FIELD_VIOLATIONS", client.replay_policy(ReplayPolicyRequest::default()).await.unwrap_err()),
        ("ReplayPolicy", "POLICY_NOT_READ", client.replay_policy(replay).await.unwrap_err()),
        ("ListMerchants", "POLICY_NOT_READ", client.list_merchants(ListMerchantsRequest::default()).await.unwrap_err()),
        ("GetMerchant", "POLICY_NOT_READ", client.get_merchant(merchant).await.unwrap_err()),
        (
            "ChangeMerchants",
            "FIELD_VIOLATIONS",
            client.change_merchants(ChangeMerchantsRequest::default()).await.unwrap_err(),
        ),
        ("ChangeCaller", "FIELD_VIOLATIONS", refused_caller(tracker).await),
    ]
}

/// The refusal of a caller without a name, once the callers are read: before that, every change is
/// refused for another reason.
async fn refused_caller(tracker: &TestTracker) -> Status {
    for _ in 0..2_000 {
        let refused = tracker.client.clone().change_caller(ChangeCallerRequest::default()).await.unwrap_err();
        if reason_of(&refused) != "CALLERS_NOT_READ" {
            return refused;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the callers are not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_with_a_reason_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TestTracker::open(folder.path(), &open_journal(folder.path()), false, 300).await;
    let refusals = refusals(&tracker).await;
    for (method, expected, refused) in &refusals {
        assert_eq!(reason_of(refused), *expected, "{method}: {refused:?}");
    }
    for method in PROTO.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()) {
        let is_refused = refusals.iter().any(|(refused, ..)| *refused == method);
        assert!(is_refused != ANSWERED.contains(&method), "{method} is new: add a call that it refuses");
    }
    tracker.close().await;
}
