//! Retries of one payment. Every attempt has the same MerchantTradeNo, so that at most one of them
//! charges (invariant I1).

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use twqr_wire::pos::{PayRequest, PayResponse, pos_service_client::PosServiceClient};

use crate::Connection;

/// How often a payment is attempted, and how long each attempt may take.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// At most this many attempts: 1 to 100.
    pub max: u32,
    /// How long one attempt may take, in ms; a POS waits 15 s.
    pub timeout_ms: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { max: 8, timeout_ms: 15_000 }
    }
}

/// The result of all attempts at a payment.
#[derive(Debug)]
pub struct Answer {
    /// The result of the last attempt.
    pub result: Result<PayResponse, Box<Status>>,
    /// How many attempts it took.
    pub attempts: u32,
    /// From the first attempt to the end of the last.
    pub took: Duration,
}

/// The first pause is drawn from 0 to this, in ms; the range doubles with each attempt.
const PAUSE_MS_FIRST: u64 = 100;
/// The largest random pause, in ms.
const PAUSE_MS_MAX: u64 = 5_000;
/// The longest pause that the server may ask for, in ms.
const ASKED_PAUSE_MS_MAX: u64 = 30_000;

/// Sends a payment. Retries it if it is unknown whether the request was accepted, or if it was
/// refused for a temporary reason, such as overload.
pub async fn pay(client: &PosServiceClient<Connection>, request: &PayRequest, attempts: Attempts) -> Answer {
    let started = Instant::now();
    let mut attempt = 1;
    loop {
        let mut call = Request::new(request.clone());
        call.set_timeout(Duration::from_millis(attempts.timeout_ms));
        let result = client.clone().pay(call).await;
        let (result, retry) = match result {
            Ok(response) => (Ok(response.into_inner()), false),
            Err(status) => {
                let retry = is_retryable(&status);
                (Err(Box::new(status)), retry)
            }
        };
        match &result {
            Err(status) if retry && attempt < attempts.max => {
                tokio::time::sleep(pause(status, attempt)).await;
                attempt += 1;
            }
            Ok(_) | Err(_) => return Answer { result, attempts: attempt, took: started.elapsed() },
        }
    }
}

/// Whether the same request may succeed later.
fn is_retryable(status: &Status) -> bool {
    let connection_lost = std::error::Error::source(status).is_some();
    let temporary = [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded, Code::Cancelled];
    connection_lost || temporary.contains(&status.code())
}

/// Returns the pause that the server asks for plus a random one, so that callers do not all retry
/// at the same time.
fn pause(status: &Status, attempt: u32) -> Duration {
    let range = PAUSE_MS_FIRST.saturating_mul(1 << attempt.min(16)).min(PAUSE_MS_MAX);
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
    asked.min(Duration::from_millis(ASKED_PAUSE_MS_MAX)) + Duration::from_millis(rand::rng().random_range(1..=range))
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn only_temporary_refusals_are_retried() {
        for (code, again) in [
            (Code::Unavailable, true),
            (Code::ResourceExhausted, true),
            (Code::DeadlineExceeded, true),
            (Code::Cancelled, true),
            (Code::InvalidArgument, false),
            (Code::AlreadyExists, false),
            (Code::Unauthenticated, false),
            (Code::Unimplemented, false),
            (Code::Internal, false),
        ] {
            assert_eq!(is_retryable(&Status::new(code, "")), again, "{code:?}");
        }
    }

    #[test]
    fn pauses_are_bounded_and_honour_the_server() {
        let plain = Status::unavailable("");
        let asked = |ms| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(ms)));
            Status::with_error_details(Code::ResourceExhausted, "", details)
        };
        for attempt in 1..100 {
            let own = pause(&plain, attempt);
            assert!(own > Duration::ZERO && own <= Duration::from_millis(PAUSE_MS_MAX), "{attempt}: {own:?}");
            assert!(pause(&asked(700), attempt) > Duration::from_millis(700), "{attempt}");
            let longest = Duration::from_millis(ASKED_PAUSE_MS_MAX + PAUSE_MS_MAX);
            assert!(pause(&asked(10_000_000), attempt) <= longest, "{attempt}");
        }
    }
}
