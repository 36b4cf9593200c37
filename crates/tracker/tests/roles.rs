//! Which role each method of the operators' API needs: whatever writes needs more than reading, and
//! so does a listing that closes the books first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/reasons.rs"]
mod reasons;
#[path = "support/role_callers.rs"]
mod role_callers;
#[path = "support/served.rs"]
mod served;

use std::{collections::BTreeSet, time::Duration};

use reasons::reason_of;
use served::{SHARDS, context, open_journal};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use twqr_access::{AccessSettings, CALLERS};
use twqr_callers::Role;
use twqr_journal::{Journal, Partition, Topic};
use twqr_service::{BoundSocket, CancellationToken};
use twqr_tracker::Settings;
use twqr_wire::ops::{
    ApplyPolicyRequest, ChangeCallerRequest, ChangeMerchantsRequest, GetMerchantRequest, GetOrderRequest,
    GetPolicyRequest, GetStatusRequest, ListCallersRequest, ListMerchantsRequest, ListOrdersRequest,
    ListSettlementRequest, ReplayPolicyRequest, operator_service_client::OperatorServiceClient,
};

const PROTO: &str = include_str!("../../../proto/twqr/ops/v1/ops.proto");
const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Approver];

fn by<T>(role: Role, message: T) -> Request<T> {
    role_callers::by(role as u8, message)
}

/// Calls a method with a request that is refused or changes nothing; `CloseBooks` is a listing that
/// closes the books.
async fn call(mut client: OperatorServiceClient<Channel>, method: &str, role: Role) -> Result<(), Status> {
    let listed = |close| ListSettlementRequest { from_ms: 1, to_ms: 2, close, ..ListSettlementRequest::default() };
    match method {
        "ListOrders" => client.list_orders(by(role, ListOrdersRequest::default())).await.map(drop),
        "GetOrder" => client.get_order(by(role, GetOrderRequest::default())).await.map(drop),
        "GetStatus" => client.get_status(by(role, GetStatusRequest {})).await.map(drop),
        "ListSettlement" => client.list_settlement(by(role, listed(false))).await.map(drop),
        "CloseBooks" => client.list_settlement(by(role, listed(true))).await.map(drop),
        "GetPolicy" => client.get_policy(by(role, GetPolicyRequest::default())).await.map(drop),
        "ApplyPolicy" => client.apply_policy(by(role, ApplyPolicyRequest::default())).await.map(drop),
        "ReplayPolicy" => client.replay_policy(by(role, ReplayPolicyRequest::default())).await.map(drop),
        "ListMerchants" => client.list_merchants(by(role, ListMerchantsRequest::default())).await.map(drop),
        "GetMerchant" => client.get_merchant(by(role, GetMerchantRequest::default())).await.map(drop),
        "ChangeMerchants" => client.change_merchants(by(role, ChangeMerchantsRequest::default())).await.map(drop),
        "ListCallers" => client.list_callers(by(role, ListCallersRequest {})).await.map(drop),
        "ChangeCaller" => client.change_caller(by(role, ChangeCallerRequest::default())).await.map(drop),
        _ => panic!("the method {method} is new: add it here with its role"),
    }
}

/// Fails if a method of the contract has no row, if a writing one is open to viewers, or if a
/// viewer may close the books.
#[tokio::test(flavor = "multi_thread")]
async fn each_method_needs_its_role_and_no_viewer_writes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let callers = ROLES.map(|role| role_callers::caller(&format!("caller-{}", role as u8), role as u8, role));
    let access = AccessSettings { required: true, callers: callers.into(), ..AccessSettings::default() };
    let settings = Settings { database: folder.path().join("read-model.sqlite"), policy_wait_ms: 300, access };
    let shutdown = CancellationToken::new();
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", socket.address())).unwrap();
    let running = tokio::spawn(twqr_tracker::run(socket, settings, journal.clone(), context(&shutdown)));
    let client = OperatorServiceClient::new(endpoint.connect_lazy());
    while call(client.clone(), "GetStatus", Role::Viewer).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = BTreeSet::from(ROLES);
    let rows = [
        ("ListOrders", all.clone()),
        ("GetOrder", all.clone()),
        ("GetStatus", all.clone()),
        ("ListSettlement", all.clone()),
        ("GetPolicy", all.clone()),
        ("ReplayPolicy", all.clone()),
        ("ListMerchants", all.clone()),
        ("GetMerchant", all.clone()),
        ("ListCallers", all),
        ("ChangeMerchants", BTreeSet::from([Role::Operator])),
        ("CloseBooks", BTreeSet::from([Role::Operator])),
        ("ApplyPolicy", BTreeSet::from([Role::Approver])),
        ("ChangeCaller", BTreeSet::from([Role::Approver])),
    ];
    let named = rows.iter().map(|(method, _)| *method).filter(|method| *method != "CloseBooks");
    let rpcs = PROTO.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next());
    assert_eq!(named.collect::<BTreeSet<_>>(), rpcs.collect::<BTreeSet<_>>(), "every method has a row");
    for (method, expected) in rows {
        let mut let_in = BTreeSet::new();
        for role in ROLES {
            let refused = call(client.clone(), method, role).await.err();
            if refused.is_none_or(|refused| reason_of(&refused) != "NOT_PERMITTED") {
                let_in.insert(role);
            }
        }
        assert_eq!(let_in, expected, "{method}");
    }
    let orders = (0..SHARDS).map(|index| Partition { topic: Topic::Orders, index });
    for partition in orders.chain([CALLERS]) {
        assert_eq!(journal.end(partition).await.unwrap(), 0, "{partition}");
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
