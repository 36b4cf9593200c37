//! The gRPC service: each method hands over to the file that bears its name.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use twqr_wire::pos;

use crate::{core::Core, pay, query, refusal::Refusal, watch};

/// `twqr.pos.v1.PosService`.
pub(crate) struct Api(pub(crate) Arc<Core>);

impl Api {
    fn respond<T>(&self, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|refusal| {
            self.0.note(&refusal);
            Status::from(refusal)
        })
    }
}

#[tonic::async_trait]
impl pos::pos_service_server::PosService for Api {
    type WatchOrderStream = watch::WatchStream;

    async fn pay(&self, request: Request<pos::PayRequest>) -> Result<Response<pos::PayResponse>, Status> {
        self.respond(pay::pay(&self.0, request).await)
    }

    async fn query(&self, request: Request<pos::QueryRequest>) -> Result<Response<pos::QueryResponse>, Status> {
        self.respond(query::query(&self.0, request).await)
    }

    async fn watch_order(
        &self,
        request: Request<pos::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        self.respond(watch::watch(Arc::clone(&self.0), request).await)
    }

    async fn refund(&self, _: Request<pos::RefundRequest>) -> Result<Response<pos::RefundResponse>, Status> {
        self.respond(Err(Refusal::NotOffered("Refund")))
    }

    async fn cancel(&self, _: Request<pos::CancelRequest>) -> Result<Response<pos::CancelResponse>, Status> {
        self.respond(Err(Refusal::NotOffered("Cancel")))
    }
}
