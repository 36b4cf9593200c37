//! The POS HTTP form: JSON with a signature over HTTP, for the POS that exist today (POS API,
//! section 5). Whatever is said about a request is a StatusCode in an HTTP 200.

mod answers;
mod call;
mod canonical;
mod form;
mod json;
mod key_file;
mod keys;
mod refusal;

#[cfg(test)]
mod described;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::BytesMut;
use futures::StreamExt;
use tokio::{net::TcpListener, time::Instant};
use tracing::{info, warn};
use twqr_service::{CancellationToken, Limits, serve_http};

pub use key_file::KeysError;

use self::{call::Front, json::Fault, key_file::Source, keys::MerchantKeys, refusal::Refusal};
use crate::{REQUEST_BYTES_MAX, api::PosApi};

/// How much of a body that is too large is still read, so that its sender reads the answer, in
/// bytes.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive, in ms.
const BODY_WITHIN_MS: u64 = 10_000;
/// How long the name of a system may be, in characters.
const SYSTEM_LEN_MAX: usize = 32;
/// The API's description for tools.
const OPENAPI: &str = include_str!("http/openapi.json");

/// Where the form is served, and whose signatures count.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The merchants' keys, as TOML: `[keys]`, then `MerchantID = "key"`, `MerchantID = ["key",
    /// "key before"]` or `MerchantID = { name = "key" }`. Read again when it changes. By its name
    /// the rules know a key. Further keys come from the environment: `TWQR_MERCHANT_KEY_` and the
    /// MerchantID.
    pub keys_file: Option<PathBuf>,
}

impl HttpSettings {
    /// Reads the keys and forgets them: whether an ingress could begin with them.
    pub fn check_keys(&self) -> Result<(), KeysError> {
        Source::new(self.keys_file.clone()).read().map(drop)
    }
}

/// The four calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Payment,
    Inquiry,
    Refund,
    Cancel,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Payment, Self::Inquiry, Self::Refund, Self::Cancel];

    /// Its last part of the path.
    const fn path(self) -> &'static str {
        match self {
            Self::Payment => "/{system}/Payment",
            Self::Inquiry => "/{system}/Inquiry",
            Self::Refund => "/{system}/Refund",
            Self::Cancel => "/{system}/Cancel",
        }
    }

    /// Its name in metrics and logs.
    const fn method(self) -> &'static str {
        match self {
            Self::Payment => "http_Payment",
            Self::Inquiry => "http_Inquiry",
            Self::Refund => "http_Refund",
            Self::Cancel => "http_Cancel",
        }
    }
}

/// The form with its keys, before it serves.
pub(crate) struct Form {
    source: Source,
    keys: MerchantKeys,
}

impl Form {
    /// Reads the keys.
    pub(crate) fn open(settings: &HttpSettings) -> Result<Self, KeysError> {
        let source = Source::new(settings.keys_file.clone());
        let keys = MerchantKeys::new(source.read()?);
        Ok(Self { source, keys })
    }

    /// Serves until shutdown, and then for as long as calls in flight may take.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        api: Arc<PosApi>,
        shutdown: CancellationToken,
        drain: Duration,
    ) {
        if let Ok(address) = listener.local_addr() {
            info!(%address, "the POS HTTP form is served");
        }
        let router = router(Front { api, keys: self.keys.clone() });
        tokio::select! {
            cut_off = serve_http(listener, router, Limits::public("pos_http"), shutdown, drain) => if cut_off > 0 {
                warn!(cut_off, drain_ms = drain.as_millis() as u64, "POS calls were still in flight at the end of the drain; their connections are closed");
            },
            () = self.source.follow(self.keys) => {}
        }
    }
}

fn router(front: Front) -> Router {
    let described = || async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) };
    let mut router = Router::new().route("/openapi.json", get(described));
    for operation in Operation::ALL {
        // A path that is no text names no system.
        let take = move |State(front): State<Front>, system: Result<Path<String>, PathRejection>, body: Body| async move {
            take(&front, operation, &system.map(|Path(system)| system).unwrap_or_default(), body).await
        };
        router = router.route(operation.path(), post(take));
    }
    router.fallback(not_found).method_not_allowed_fallback(not_allowed).with_state(front)
}

async fn take(front: &Front, operation: Operation, system: &str, body: Body) -> Response {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !(1..=SYSTEM_LEN_MAX).contains(&system.len()) || !system.chars().all(letter) {
        return not_found().await;
    }
    let began = Instant::now();
    let body = tokio::time::timeout(Duration::from_millis(BODY_WITHIN_MS), read(body)).await;
    let body = body.unwrap_or_else(|_| Err(Fault(format!("the body did not arrive within {BODY_WITHIN_MS} ms"))));
    let body = body.as_deref().map_err(|Fault(what)| Refusal::from(Fault(what.clone())));
    Json(front.answer(operation, body, began).await).into_response()
}

/// The whole body, up to its limit.
async fn read(body: Body) -> Result<BytesMut, Fault> {
    let mut pieces = body.into_data_stream();
    let (mut whole, mut length) = (BytesMut::new(), 0_usize);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Fault("the body broke off".to_owned()))?;
        length = length.saturating_add(piece.len());
        if length <= REQUEST_BYTES_MAX {
            whole.extend_from_slice(&piece);
        } else if length > DISCARD_BYTES_MAX {
            break;
        }
    }
    if length > REQUEST_BYTES_MAX {
        return Err(Fault(format!("the body is larger than {REQUEST_BYTES_MAX} bytes")));
    }
    Ok(whole)
}

#[allow(clippy::unused_async, reason = "a handler")]
async fn not_found() -> Response {
    let hint = "POST /{system}/Payment, Inquiry, Refund or Cancel; {system} is 1 to 32 letters, digits, '_' or '-'. \
                GET /openapi.json describes them";
    told(StatusCode::NOT_FOUND, "there is nothing at this path", hint)
}

#[allow(clippy::unused_async, reason = "a handler")]
async fn not_allowed() -> Response {
    told(StatusCode::METHOD_NOT_ALLOWED, "this path does not have this method", "calls are POST, /openapi.json is GET")
}

fn told(status: StatusCode, error: &str, hint: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error, "hint": hint }))).into_response()
}
