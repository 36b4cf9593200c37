//! An operators' API that serves the settled movements of a test, under a policy whose cut-offs
//! the test chooses. The commands that read accounts need no other call.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use twqr_types::{CutOff, UnixMs};
use twqr_wire::ops::{
    ApplyPolicyRequest, ApplyPolicyResponse, ChangeCallerRequest, ChangeCallerResponse, ChangeMerchantsRequest,
    ChangeMerchantsResponse, GetMerchantRequest, GetMerchantResponse, GetOrderRequest, GetOrderResponse,
    GetPolicyRequest, GetPolicyResponse, GetStatusRequest, GetStatusResponse, ListCallersRequest, ListCallersResponse,
    ListMerchantsRequest, ListMerchantsResponse, ListOrdersRequest, ListOrdersResponse, ListSettlementRequest,
    ListSettlementResponse, PolicyHistoryEntry, ReplayPolicyRequest, ReplayPolicyResponse, SettlementEntry,
    operator_service_server::{OperatorService, OperatorServiceServer},
};

use super::DAY_MS;

/// An operators' API with these settled movements, and a policy with these cut-offs.
struct FixedOperators {
    entries: Vec<SettlementEntry>,
    /// The cut-off of each version of the policy, and when the version was taken.
    cut_offs: Vec<(UnixMs, CutOff)>,
}

#[tonic::async_trait]
impl OperatorService for FixedOperators {
    type ListSettlementStream = tokio_stream::Iter<std::vec::IntoIter<Result<ListSettlementResponse, Status>>>;

    async fn list_settlement(
        &self,
        request: Request<ListSettlementRequest>,
    ) -> Result<Response<Self::ListSettlementStream>, Status> {
        let ListSettlementRequest { from_ms, to_ms, merchant_id, close: _ } = request.into_inner();
        let wanted = |entry: &&SettlementEntry| {
            (from_ms..to_ms).contains(&entry.settled_at_ms.max(entry.booked_at_ms))
                && (merchant_id.is_empty() || merchant_id == entry.merchant_id)
        };
        let found =
            self.entries.iter().filter(wanted).cloned().map(|entry| Ok(ListSettlementResponse { entry: Some(entry) }));
        Ok(Response::new(tokio_stream::iter(found.collect::<Vec<_>>())))
    }

    async fn list_merchants(
        &self,
        _: Request<ListMerchantsRequest>,
    ) -> Result<Response<ListMerchantsResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn get_merchant(&self, _: Request<GetMerchantRequest>) -> Result<Response<GetMerchantResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn change_merchants(
        &self,
        _: Request<ChangeMerchantsRequest>,
    ) -> Result<Response<ChangeMerchantsResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn get_order(&self, _: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn get_policy(&self, _: Request<GetPolicyRequest>) -> Result<Response<GetPolicyResponse>, Status> {
        let entry = |(version, (at, cut_off)): (u64, &(UnixMs, CutOff))| PolicyHistoryEntry {
            version,
            at_ms: at.0,
            day_begins_min: Some(cut_off.minutes()),
            ..PolicyHistoryEntry::default()
        };
        let history = (1..).zip(&self.cut_offs).map(entry).collect();
        Ok(Response::new(GetPolicyResponse { history, ..GetPolicyResponse::default() }))
    }

    async fn apply_policy(&self, _: Request<ApplyPolicyRequest>) -> Result<Response<ApplyPolicyResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn list_callers(&self, _: Request<ListCallersRequest>) -> Result<Response<ListCallersResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn change_caller(&self, _: Request<ChangeCallerRequest>) -> Result<Response<ChangeCallerResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }

    async fn replay_policy(&self, _: Request<ReplayPolicyRequest>) -> Result<Response<ReplayPolicyResponse>, Status> {
        Err(Status::unimplemented("not used by these commands"))
    }
}

/// Serves these entries under a policy with the default cut-off.
pub async fn serve(entries: Vec<SettlementEntry>) -> SocketAddr {
    serve_with(entries, &[(UnixMs(DAY_MS), CutOff::default())]).await
}

/// Serves these entries under a policy with these cut-offs, each with the time of its version.
pub async fn serve_with(entries: Vec<SettlementEntry>, cut_offs: &[(UnixMs, CutOff)]) -> SocketAddr {
    let operators = FixedOperators { entries, cut_offs: cut_offs.to_vec() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Server::builder().add_service(OperatorServiceServer::new(operators));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}
