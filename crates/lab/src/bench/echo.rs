//! The floor of gRPC: a server that answers each payment at once, with a response of the usual
//! size.

use std::{net::SocketAddr, pin::Pin};

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use twqr_service::CancellationToken;
use twqr_types::StatusCode;
use twqr_wire::pos::{
    CancelRequest, CancelResponse, PayRequest, PayResponse, PayStreamRequest, PayStreamResponse, QueryRequest,
    QueryResponse, RefundRequest, RefundResponse, WatchOrderRequest, WatchOrderResponse, pay_stream_response,
    pos_service_server::{PosService, PosServiceServer},
};

struct Echo;

/// Serves until `stop` fires.
pub(crate) async fn serve(listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
    let server = Server::builder().tcp_nodelay(true).add_service(PosServiceServer::new(Echo));
    Ok(server.serve_with_shutdown(listen, stop.cancelled_owned()).await?)
}

/// The answer to a payment.
fn approval(request: PayRequest) -> PayResponse {
    PayResponse {
        merchant_id: request.merchant_id,
        store_id: request.store_id,
        gateway_trade_no: request.gateway_trade_no,
        merchant_trade_no: request.merchant_trade_no,
        pos_id: request.pos_id,
        trade_no: "T000000000000000000000000".to_owned(),
        trade_time: "2026/11/24 12:00:00".to_owned(),
        status_code: StatusCode::SUCCESS.into(),
        status_desc: "success".to_owned(),
        trade_amount: request.trade_amount,
        debit_amount: request.trade_amount,
        invoice_vehicle: "/ABC+123".to_owned(),
        ..PayResponse::default()
    }
}

/// The answer to calls other than payments.
fn unimplemented<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the echo answers payments only"))
}

#[tonic::async_trait]
impl PosService for Echo {
    type PayStreamStream = Pin<Box<dyn Stream<Item = Result<PayStreamResponse, Status>> + Send>>;
    type WatchOrderStream = futures::stream::Empty<Result<WatchOrderResponse, Status>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        Ok(Response::new(approval(request.into_inner())))
    }

    async fn pay_stream(
        &self,
        requests: Request<Streaming<PayStreamRequest>>,
    ) -> Result<Response<Self::PayStreamStream>, Status> {
        let answers = requests.into_inner().map(|request| {
            let PayStreamRequest { request_id, payment, .. } = request?;
            let approved = pay_stream_response::Result::Response(approval(payment.unwrap_or_default()));
            Ok(PayStreamResponse { request_id, result: Some(approved), hops: String::new() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        unimplemented()
    }

    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        unimplemented()
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        unimplemented()
    }

    async fn watch_order(&self, _: Request<WatchOrderRequest>) -> Result<Response<Self::WatchOrderStream>, Status> {
        unimplemented()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use tonic::Code;
    use twqr_loadgen::{CallResult, Load, Over, open_loop, payments};

    use super::*;
    use crate::launch::{ReservedAddresses, connect};

    #[tokio::test(flavor = "multi_thread")]
    async fn each_payment_of_an_open_loop_has_its_own_answer_or_the_code_of_its_failure() {
        let mut reserved = ReservedAddresses::default();
        let [listen] = reserved.reserve().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listen, stop.clone()));
        let channels = [connect(listen).await.unwrap(), connect(listen).await.unwrap()];
        let requests = payments(7, "echo", 200);
        let numbers: BTreeSet<_> = requests.iter().map(|request| request.merchant_trade_no.clone()).collect();
        let load = |over| Load { rate: 2_000.0, seed: 7, attempts: 1, over };
        for over in [Over::Calls, Over::Streams] {
            let measured = open_loop(&channels, requests.clone(), load(over)).await;
            let own = |result: &CallResult| {
                let answer = result.answer.as_ref().unwrap();
                assert_eq!(answer.merchant_trade_no, result.key.1, "{over:?}");
                result.key.1.clone()
            };
            assert_eq!(measured.results.iter().map(own).collect::<BTreeSet<_>>(), numbers, "{over:?}");
            assert_eq!((measured.results.len(), measured.latencies.len(), measured.start_lag.len()), (200, 200, 200));
        }
        stop.cancel();
        server.await.unwrap().unwrap();
        for over in [Over::Calls, Over::Streams] {
            let measured = open_loop(&channels, requests.clone(), load(over)).await;
            let failed = |result: &&CallResult| result.answer.as_ref().is_err_and(|code| *code == Code::Unavailable);
            assert_eq!(measured.results.iter().filter(failed).count(), 200, "{over:?}");
        }
    }
}
