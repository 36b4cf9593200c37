//! Finds the caller of each call of the operators' API and checks its role; counts and times the
//! calls.

use std::{
    collections::HashMap,
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
use tonic_types::{ErrorDetails, StatusExt};
use twqr_access::{Access, AccessRefusal, Grant, Verdict};
use twqr_callers::Role;
use twqr_service::read_whole;
use twqr_wire::ops::operator_service_server::OperatorServiceServer;

use super::{Operators, change::DOMAIN};
use crate::metrics;

/// The methods of the operators' API. Only these become labels, whatever a caller asks for.
pub(super) const METHODS: [&str; 12] = [
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
    "ListCallers",
    "ChangeCaller",
];

/// A method that does not exist, in the log of who called.
const OTHER: &str = "other";

/// The role that a method needs. A method that is not listed needs the most powerful role, so that
/// a new one is never open by mistake.
fn role_of(method: Option<&str>) -> Role {
    match method {
        Some(
            "ListOrders" | "GetOrder" | "GetStatus" | "ListSettlement" | "GetPolicy" | "ReplayPolicy" | "ListMerchants"
            | "GetMerchant" | "ListCallers",
        ) => Role::Viewer,
        Some("ChangeMerchants") => Role::Operator,
        Some(_) | None => Role::Approver,
    }
}

/// The answer to a call that is not let in, or not any more.
pub(super) fn refused(refusal: AccessRefusal) -> Status {
    let details = ErrorDetails::with_error_info(refusal.contract_reason(), DOMAIN, HashMap::new());
    let text = format!("{}. Nothing was changed", refusal.text());
    Status::with_error_details(refusal.code(), text, details)
}

/// What the log of who called says of a call of this method that ended with this code. Without a
/// handler's words, the library ends one that cannot be decoded with INTERNAL or OUT_OF_RANGE.
fn verdict_of(method: Option<&str>, code: Code) -> Verdict {
    match code {
        Code::InvalidArgument => Verdict::Request("invalid-fields"),
        Code::ResourceExhausted => Verdict::Request(limit_of(method)),
        Code::Internal | Code::OutOfRange => Verdict::Request("undecodable"),
        Code::Unimplemented => Verdict::Request("unknown-method"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Verdict::LetIn,
    }
}

/// The limit that a call of this method exceeded.
fn limit_of(method: Option<&str>) -> &'static str {
    match method {
        Some("ListSettlement") => "streams",
        Some("ReplayPolicy") => "replays",
        Some(_) | None => "limit",
    }
}

/// The operators' API, measured.
#[derive(Clone)]
pub(super) struct Measured {
    server: OperatorServiceServer<Operators>,
    access: Access,
}

impl Measured {
    pub(super) fn new(operators: Operators, access: Access) -> Self {
        Self { server: OperatorServiceServer::new(operators), access }
    }

    /// Finds the caller of a request, which must have the role that the method needs.
    fn admit(&self, method: Option<&'static str>, request: &http::Request<Body>) -> Result<Grant, AccessRefusal> {
        let grant = self.access.identify(method.unwrap_or(OTHER), request.headers(), request.extensions())?;
        self.access.check_role(&grant, role_of(method))?;
        Ok(grant)
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
        Service::<http::Request<Body>>::poll_ready(&mut self.server, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answered {
        let mut request = read_whole(request);
        let name = request.uri().path().rsplit('/').next();
        let method = name.and_then(|name| METHODS.into_iter().find(|known| *known == name));
        let began = Instant::now();
        let grant = match self.admit(method, &request) {
            Ok(grant) => grant,
            Err(refusal) => {
                if let Some(method) = method {
                    metrics::call(method, refusal.code(), began.elapsed());
                }
                return Box::pin(async move { Ok(refused(refusal).into_http()) });
            }
        };
        request.extensions_mut().insert(grant.clone());
        let (calling, access) = (self.server.call(request), self.access.clone());
        Box::pin(async move {
            let response = calling.await?;
            // A refusal has its status in the headers; an answer has it behind its messages.
            let refused = Status::from_header_map(response.headers());
            let code = refused.map_or(Code::Ok, |status| status.code());
            access.note(&grant, verdict_of(method, code));
            if let Some(method) = method {
                metrics::call(method, code, began.elapsed());
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_who_called_says_which_limit_a_call_exceeded_and_what_else_it_did_wrong() {
        for (method, code, expected) in [
            ("ListSettlement", Code::ResourceExhausted, Verdict::Request("streams")),
            ("ReplayPolicy", Code::ResourceExhausted, Verdict::Request("replays")),
            ("ListOrders", Code::ResourceExhausted, Verdict::Request("limit")),
            ("ReplayPolicy", Code::InvalidArgument, Verdict::Request("invalid-fields")),
            ("ReplayPolicy", Code::OutOfRange, Verdict::Request("undecodable")),
            ("ReplayPolicy", Code::Unavailable, Verdict::LetIn),
            ("ReplayPolicy", Code::Ok, Verdict::LetIn),
        ] {
            assert_eq!(verdict_of(Some(method), code), expected, "{method}, {code:?}");
            assert!(METHODS.contains(&method));
        }
        assert_eq!(verdict_of(None, Code::Unimplemented), Verdict::Request("unknown-method"));
    }
}
