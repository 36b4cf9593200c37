//! What operators read in refusals: nothing about our machines, also if the journal fails with an
//! error that names a host and a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/failing_journal.rs"]
mod failing_journal;
#[path = "../../ingress/tests/support/own_names.rs"]
mod own_names;
#[path = "support/served.rs"]
mod served;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use failing_journal::FailingJournal;
use served::{context, open_journal, policy};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use twqr_access::AccessSettings;
use twqr_order::Policy;
use twqr_router::MemoryStore;
use twqr_service::{BoundSocket, CancellationToken, Clock, SystemClock};
use twqr_tracker::Settings;
use twqr_wire::{
    convert::policy_out,
    ops::{
        ApplyPolicyRequest, ChangeCallerRequest, ChangeMerchantsRequest, GetMerchantRequest, GetOrderRequest,
        GetPolicyRequest, GetStatusRequest, ListCallersRequest, ListMerchantsRequest, ListOrdersRequest,
        ListSettlementRequest, ListingChange, ReplayPolicyRequest, operator_service_client::OperatorServiceClient,
    },
};

const HOUR_MS: i64 = 3_600_000;

type Client = OperatorServiceClient<Channel>;

/// A policy under which books can be closed and the directory can be changed.
fn rules(name: &str) -> Policy {
    Policy { protocol_version: 2, ..policy(name, &[("22", "")]) }
}

/// Connects, and waits until the tracker has read the policy of every shard and the callers.
async fn ready_client(endpoint: String) -> Client {
    let endpoint = Endpoint::from_shared(endpoint).unwrap();
    for _ in 0..1_000 {
        if let Ok(channel) = endpoint.connect().await {
            let mut client = OperatorServiceClient::new(channel);
            let policy = client.get_policy(GetPolicyRequest { version: 0 }).await;
            let has_policy = policy.is_ok_and(|got| got.into_inner().shards.iter().all(|shard| shard.version == 1));
            if has_policy && client.list_callers(ListCallersRequest {}).await.is_ok() {
                return client;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the tracker has not read the policy and the callers within 10 s")
}

/// The refusals of requests that are wrong whatever the state of the system is.
async fn refused_as_wrong(client: &mut Client) -> Vec<Status> {
    let wrong_page = ListOrdersRequest { page_token: "wrong".into(), ..ListOrdersRequest::default() };
    let unknown = GetOrderRequest { merchant_id: "M1".into(), merchant_trade_no: "none".into() };
    let never_listed = GetMerchantRequest { merchant_id: "M1".into(), store_id: None };
    let pages = ListMerchantsRequest { page_size: 1_001, ..ListMerchantsRequest::default() };
    vec![
        client.list_orders(wrong_page).await.unwrap_err(),
        client.get_order(GetOrderRequest::default()).await.unwrap_err(),
        client.get_order(unknown).await.unwrap_err(),
        client.list_settlement(ListSettlementRequest::default()).await.unwrap_err(),
        client.get_policy(GetPolicyRequest { version: 99 }).await.unwrap_err(),
        client.apply_policy(ApplyPolicyRequest::default()).await.unwrap_err(),
        client.replay_policy(ReplayPolicyRequest::default()).await.unwrap_err(),
        client.list_merchants(pages).await.unwrap_err(),
        client.get_merchant(never_listed).await.unwrap_err(),
        client.change_merchants(ChangeMerchantsRequest::default()).await.unwrap_err(),
        client.change_caller(ChangeCallerRequest::default()).await.unwrap_err(),
    ]
}

/// The refusals of valid requests that must append, while the journal refuses that.
async fn refused_without_appends(client: &mut Client) -> Vec<Status> {
    let [who, why] = ["alice", "a test"].map(str::to_owned);
    let (who, why) = (|| who.clone(), || why.clone());
    let policy =
        ApplyPolicyRequest { policy: Some(policy_out(&rules("second"))), expected_version: 1, who: who(), why: why() };
    let removal = ListingChange { merchant_id: "M1".into(), version: 1, ..ListingChange::default() };
    let merchants = ChangeMerchantsRequest { changes: vec![removal], who: who(), why: why() };
    let caller = ChangeCallerRequest { name: "shop".into(), expected_version: 0, caller: None, who: who(), why: why() };
    let now = SystemClock.now();
    let (from_ms, to_ms) = (now.plus(-2 * HOUR_MS).0, now.plus(-HOUR_MS).0);
    let closing = ListSettlementRequest { from_ms, to_ms, close: true, ..ListSettlementRequest::default() };
    vec![
        client.apply_policy(policy).await.unwrap_err(),
        client.change_merchants(merchants).await.unwrap_err(),
        client.change_caller(caller).await.unwrap_err(),
        client.list_settlement(closing).await.unwrap_err(),
    ]
}

/// The refusals of valid requests that must read the log, while that is not possible.
async fn refused_without_reads(client: &mut Client) -> Vec<Status> {
    let replay = ReplayPolicyRequest { policy: Some(policy_out(&rules("other"))), orders_max: 0 };
    let day = ListSettlementRequest { from_ms: 0, to_ms: HOUR_MS, ..ListSettlementRequest::default() };
    vec![
        client.get_status(GetStatusRequest {}).await.unwrap_err(),
        client.list_settlement(day).await.unwrap_err(),
        client.replay_policy(replay).await.unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_of_the_operators_api_names_a_host_or_a_path_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, shutdown) = (open_journal(folder.path()), CancellationToken::new());
    let journal = Arc::new(FailingJournal::new(inner.clone()));
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let endpoint = format!("http://{}", socket.address());
    let database = folder.path().join("read-model.sqlite");
    let settings = Settings { database, policy_wait_ms: 1_000, access: AccessSettings::default() };
    let tracker = tokio::spawn(twqr_tracker::run(socket, settings, journal.clone(), context(&shutdown)));
    let router = twqr_router::Settings {
        member: "router-0".into(),
        policy: rules("first"),
        checkpoint_interval_ms: 20,
        standby: true,
        store: Arc::new(MemoryStore::default()),
    };
    let router = tokio::spawn(twqr_router::run(router, inner, context(&shutdown)));
    let mut client = ready_client(endpoint).await;

    let mut refused = refused_as_wrong(&mut client).await;
    journal.appends_fail.store(true, Ordering::SeqCst);
    let mut failed = refused_without_appends(&mut client).await;
    journal.appends_fail.store(false, Ordering::SeqCst);
    journal.reads_fail.store(true, Ordering::SeqCst);
    failed.extend(refused_without_reads(&mut client).await);
    journal.reads_fail.store(false, Ordering::SeqCst);
    for status in &failed {
        assert!(status.message().contains("see the log of the tracker for the reason"), "{status:?}");
    }
    refused.extend(failed);
    own_names::assert_absent(&refused.iter().map(|status| format!("{status:?}")).collect::<Vec<_>>());

    shutdown.cancel();
    tracker.await.unwrap().unwrap();
    router.await.unwrap().unwrap();
}
