//! Counts and times the calls of the operators' API.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use twqr_wire::ops::operator_service_server::OperatorServiceServer;

use super::Operators;
use crate::metrics;

/// The methods of the operators' API. Only these become labels, whatever a caller asks for.
const METHODS: [&str; 10] = [
    "ListOrders",
    "GetOrder",
    "GetStatus",
    "ListSettlement",
    "GetPolicy",
    "ApplyPolicy",
    "ReplayPolicy",
    "ListMerchants",
    "GetMerchant",
    "ChangeMerchants",
];

/// The operators' API, measured.
#[derive(Clone)]
pub(super) struct Measured(OperatorServiceServer<Operators>);

impl Measured {
    pub(super) fn new(operators: Operators) -> Self {
        metrics::register_calls(&METHODS);
        Self(OperatorServiceServer::new(operators))
    }
}

impl NamedService for Measured {
    const NAME: &'static str = OperatorServiceServer::<Operators>::NAME;
}

type Answered = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Measured {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answered {
        let name = request.uri().path().rsplit('/').next();
        let method = name.and_then(|name| METHODS.into_iter().find(|known| *known == name));
        let began = Instant::now();
        let calling = self.0.call(request);
        Box::pin(async move {
            let response = calling.await?;
            if let Some(method) = method {
                // A refusal has its status in the headers; an answer has it behind its messages.
                let refused = Status::from_header_map(response.headers());
                metrics::call(method, refused.map_or(Code::Ok, |status| status.code()), began.elapsed());
            }
            Ok(response)
        })
    }
}
