//! Finds the caller of each call of the operators' API and checks its role; counts and times the
//! calls. Every refusal of a call leaves here, so none does without a reason.

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
use twqr_access::{Access, AccessRefusal, Grant, Verdict};
use twqr_callers::Role;
use twqr_service::read_whole;
use twqr_wire::ops::{OperatorRefusalReason, operator_service_server::OperatorServiceServer};

use super::{
    Operators,
    refusal::{explained, reason_of, refused, unknown_method},
};
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

/// The method that a path names; `None` if the service has no such method.
fn method_of(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?.strip_prefix(Measured::NAME)?.strip_prefix('/')?;
    METHODS.into_iter().find(|known| *known == name)
}

/// What the log of who called says of a call that was refused for this reason; `None`: it was not.
fn verdict_of(reason: Option<OperatorRefusalReason>) -> Verdict {
    use OperatorRefusalReason as Reason;
    let Some(reason) = reason else { return Verdict::LetIn };
    match reason {
        Reason::FieldViolations => Verdict::Request("invalid-fields"),
        Reason::TooManyStreams => Verdict::Request("streams"),
        Reason::ReplayRunning => Verdict::Request("replays"),
        Reason::Undecodable | Reason::TooLarge | Reason::Compressed => Verdict::Request("undecodable"),
        Reason::UnknownMethod => Verdict::Request("unknown-method"),
        Reason::Unspecified
        | Reason::NoCredential
        | Reason::CredentialRefused
        | Reason::NotPermitted
        | Reason::CallersNotRead
        | Reason::NotFound
        | Reason::VersionConflict
        | Reason::PolicyUndecided
        | Reason::CallerUndecided
        | Reason::ClosingUndecided
        | Reason::ClosingTooEarly
        | Reason::UnreadableOrder
        | Reason::ProtocolTooOld
        | Reason::OlderBuilds
        | Reason::PolicyNotRead
        | Reason::ReadModelUnavailable
        | Reason::ReadModelBehind
        | Reason::LogUnavailable
        | Reason::InternalError => Verdict::LetIn,
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
        let method = method_of(request.uri().path());
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
            let status = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
            let refusal = status.map(|status| if method.is_some() { explained(status) } else { unknown_method() });
            access.note(&grant, verdict_of(refusal.as_ref().and_then(reason_of)));
            if let Some(method) = method {
                metrics::call(method, refusal.as_ref().map_or(Code::Ok, Status::code), began.elapsed());
            }
            Ok(refusal.map_or(response, Status::into_http))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::refusal::refuse;

    #[test]
    fn the_log_of_who_called_says_which_limit_a_call_exceeded_and_what_else_it_did_wrong() {
        for (refusal, expected) in [
            (Some(refuse(OperatorRefusalReason::TooManyStreams, "")), Verdict::Request("streams")),
            (Some(refuse(OperatorRefusalReason::ReplayRunning, "")), Verdict::Request("replays")),
            (Some(refuse(OperatorRefusalReason::FieldViolations, "")), Verdict::Request("invalid-fields")),
            (Some(explained(Status::out_of_range(""))), Verdict::Request("undecodable")),
            (Some(explained(Status::internal(""))), Verdict::Request("undecodable")),
            (Some(unknown_method()), Verdict::Request("unknown-method")),
            (Some(refuse(OperatorRefusalReason::InternalError, "")), Verdict::LetIn),
            (Some(refuse(OperatorRefusalReason::LogUnavailable, "")), Verdict::LetIn),
            (None, Verdict::LetIn),
        ] {
            assert_eq!(verdict_of(refusal.as_ref().and_then(reason_of)), expected, "{refusal:?}");
        }
    }

    #[test]
    fn only_the_whole_path_names_a_method() {
        for (path, expected) in [
            ("/twqr.ops.v1.OperatorService/GetPolicy", Some("GetPolicy")),
            ("/twqr.ops.v1.OperatorService/x/GetPolicy", None),
            ("/twqr.ops.v1.OperatorService/GetPolicy/", None),
            ("/twqr.ops.v1.OperatorService/Shred", None),
            ("/GetPolicy", None),
        ] {
            assert_eq!(method_of(path), expected, "{path}");
        }
    }
}
