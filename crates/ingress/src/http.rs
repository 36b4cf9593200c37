//! The POS HTTP form: signed JSON over HTTP, for existing POS (`proto/README.md`, section HTTP
//! form). The answer to every call is an HTTP 200 with a StatusCode, refusals included; only a path
//! or a method that does not exist has another HTTP status.

mod call_handler;
mod canonical;
mod field_names;
pub mod fuzzing;
mod json;
mod json_answer;
mod json_request;
mod key_source;
mod keys;
mod message_keys;
mod message_signature;
mod pos_refusal;
mod signature_base;

#[cfg(test)]
mod openapi_tests;

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{Extensions, HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::BytesMut;
use futures::StreamExt;
use tokio::time::Instant;
use tracing::{info, warn};
use twqr_access::{Access, AccessLog};
use twqr_service::{CallerConnection, CancellationToken, Health, Limits, Listener, Part, serve_http};
use twqr_types::SignatureForm;
use twqr_wire::hops::HOPS_HEADER;

pub use key_source::KeysError;

use self::{
    call_handler::{Arrival, CallHandler},
    json::JsonFault,
    key_source::KeySource,
    keys::MerchantKeys,
    pos_refusal::PosRefusal,
    signature_base::RequestHead,
};
use crate::{REQUEST_BYTES_MAX, api::PosApi, hops::CallHops};

/// If a body is too large, up to this many bytes of it are still read: many clients read the answer
/// only after they have sent the whole body.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive, in ms.
const BODY_WITHIN_MS: u64 = 10_000;
/// How long `{system}` in the path may be, in characters.
const SYSTEM_LEN_MAX: usize = 32;
/// The part of an ingress that reports whether the file with the merchants' keys can be used.
const KEYS_PART: &str = "merchant-keys";
/// The OpenAPI description of the form.
const OPENAPI: &str = include_str!("http/openapi.json");

/// With which keys the POS HTTP form is served.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The merchants' keys, as TOML: `[keys]`, then `MerchantID = "key"`, `MerchantID = ["key",
    /// "key before"]` or `MerchantID = { name = "key" }`. The policy refers to a key by its name.
    /// The file is read again when it changes. Further keys come from environment variables named
    /// `TWQR_MERCHANT_KEY_` and the MerchantID.
    pub keys_file: Option<PathBuf>,
    /// The forms of the signed text that are accepted.
    pub signature_forms: Vec<SignatureForm>,
    /// By how much the SendTime of a request with Sign may differ from this process's time, in s;
    /// any time is accepted if absent.
    pub send_time_window_s: Option<NonZeroU32>,
}

impl HttpSettings {
    /// Checks that an ingress could start with the keys; does not keep them.
    pub fn check_keys(&self) -> Result<(), KeysError> {
        KeySource::new(self.keys_file.clone()).read().map(drop)
    }
}

/// The four operations of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Payment,
    Inquiry,
    Refund,
    Cancel,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Payment, Self::Inquiry, Self::Refund, Self::Cancel];

    /// The operation that a caller must be allowed to use.
    const fn of_caller(self) -> twqr_callers::Operation {
        match self {
            Self::Payment => twqr_callers::Operation::Pay,
            Self::Inquiry => twqr_callers::Operation::Query,
            Self::Refund => twqr_callers::Operation::Refund,
            Self::Cancel => twqr_callers::Operation::Cancel,
        }
    }

    /// The path of the operation, as a route of axum.
    const fn path(self) -> &'static str {
        match self {
            Self::Payment => "/{system}/Payment",
            Self::Inquiry => "/{system}/Inquiry",
            Self::Refund => "/{system}/Refund",
            Self::Cancel => "/{system}/Cancel",
        }
    }

    /// The operation in metrics and logs.
    const fn method(self) -> &'static str {
        match self {
            Self::Payment => "http_Payment",
            Self::Inquiry => "http_Inquiry",
            Self::Refund => "http_Refund",
            Self::Cancel => "http_Cancel",
        }
    }
}

/// The server of the form, with the keys that it started with.
pub(crate) struct HttpForm {
    source: Arc<KeySource>,
    keys: MerchantKeys,
    /// Degraded while the file with the keys cannot be used.
    part: Part,
    send_time_window_s: Option<NonZeroU32>,
}

impl HttpForm {
    /// Reads the keys; fails if they are invalid.
    pub(crate) async fn open(settings: &HttpSettings, health: &Health) -> Result<Self, KeysError> {
        let source = Arc::new(KeySource::new(settings.keys_file.clone()));
        let keys = MerchantKeys::new(source.read_in_background().await?, settings.signature_forms.clone());
        let part = health.side_part(KEYS_PART);
        Ok(Self { source, keys, part, send_time_window_s: settings.send_time_window_s })
    }

    /// Serves until shutdown, and then until the calls in flight have ended, for at most `drain`.
    pub(crate) async fn serve(
        self,
        listener: Listener,
        (api, access): (Arc<PosApi>, Access),
        shutdown: CancellationToken,
        drain: Duration,
    ) {
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving the POS HTTP form");
        }
        let router = router(CallHandler {
            api,
            access,
            keys: self.keys.clone(),
            send_time_window_s: self.send_time_window_s,
            log: AccessLog::new("pos_http"),
        });
        tokio::select! {
            cut_off = serve_http(listener, router, Limits::public("pos_http"), shutdown, drain) => if cut_off > 0 {
                warn!(cut_off, drain_ms = drain.as_millis() as u64, "POS calls were still in flight at the end of the drain; their connections are closed");
            },
            () = self.source.follow(self.keys, self.part) => {}
        }
    }
}

fn router(handler: CallHandler) -> Router {
    let described = || async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) };
    let mut router = Router::new();
    // Strangers get nothing.
    if !handler.access.is_required() {
        router = router.route("/openapi.json", get(described));
    }
    for operation in Operation::ALL {
        let handle = move |State(handler): State<CallHandler>,
                           system: Result<Path<String>, PathRejection>,
                           uri: Uri,
                           headers: HeaderMap,
                           extensions: Extensions,
                           body: Body| async move {
            // A path that is not UTF-8 is handled like an empty system: it is not found.
            let system = system.map(|Path(system)| system).unwrap_or_default();
            let head = RequestHead { method: &Method::POST, uri: &uri, headers: &headers };
            handle(&handler, operation, &system, head, &extensions, body).await
        };
        router = router.route(operation.path(), post(handle));
    }
    router.fallback(not_found).method_not_allowed_fallback(not_allowed).with_state(handler)
}

async fn handle(
    handler: &CallHandler,
    operation: Operation,
    system: &str,
    head: RequestHead<'_>,
    extensions: &Extensions,
    body: Body,
) -> Response {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !(1..=SYSTEM_LEN_MAX).contains(&system.len()) || !system.chars().all(is_allowed) {
        return not_found().await;
    }
    let began = Instant::now();
    let hops = CallHops::of_headers(operation.method(), head.headers, began);
    let arrival = Arrival { at: began, from: CallerConnection::address(extensions), hops: hops.clone() };
    let body = tokio::time::timeout(Duration::from_millis(BODY_WITHIN_MS), read(body)).await;
    let body = body.unwrap_or_else(|_| Err(JsonFault(format!("the body did not arrive within {BODY_WITHIN_MS} ms"))));
    let body = body.as_deref().map_err(|JsonFault(what)| PosRefusal::from(JsonFault(what.clone())));
    let admitted = handler.admit(operation, head.headers, extensions);
    let request = admitted.map(|admitted| (admitted, body));
    let mut response = Json(handler.answer(operation, head, request, arrival).await).into_response();
    if let Some(value) = hops.and_then(|hops| hops.header()) {
        response.headers_mut().insert(HOPS_HEADER, value);
    }
    response
}

/// Reads the whole body, up to its limit.
async fn read(body: Body) -> Result<BytesMut, JsonFault> {
    let mut pieces = body.into_data_stream();
    let (mut whole, mut length) = (BytesMut::new(), 0_usize);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| JsonFault("the body broke off".to_owned()))?;
        length = length.saturating_add(piece.len());
        if length <= REQUEST_BYTES_MAX {
            whole.extend_from_slice(&piece);
        } else if length > DISCARD_BYTES_MAX {
            break;
        }
    }
    if length > REQUEST_BYTES_MAX {
        return Err(JsonFault(format!("the body is larger than {REQUEST_BYTES_MAX} bytes")));
    }
    Ok(whole)
}

#[allow(clippy::unused_async, reason = "a handler")]
async fn not_found() -> Response {
    let hint = "POST /{system}/Payment, Inquiry, Refund or Cancel; {system} is 1 to 32 letters, digits, '_' or '-'. \
                GET /openapi.json describes them";
    http_error(StatusCode::NOT_FOUND, "there is nothing at this path", hint)
}

#[allow(clippy::unused_async, reason = "a handler")]
async fn not_allowed() -> Response {
    http_error(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not have this method",
        "calls are POST, /openapi.json is GET",
    )
}

fn http_error(status: StatusCode, error: &str, hint: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error, "hint": hint }))).into_response()
}
