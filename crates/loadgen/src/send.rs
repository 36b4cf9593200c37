//! Sends requests through the public API, with a bound on the calls in flight. A request whose
//! answer is lost is sent again under the same MerchantTradeNo, as a POS does.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use tonic::{Code, transport::Channel};
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, PayResponse, QueryRequest, QueryResponse,
    pos_service_client::PosServiceClient,
};

/// MerchantID and MerchantTradeNo.
pub type TradeKey = (String, String);

/// The result of one request from its caller's view.
#[derive(Clone, Debug)]
pub struct CallResult {
    /// The request's key.
    pub key: TradeKey,
    /// Time from the first attempt to the answer, in µs.
    pub latency_us: u64,
    /// The answer, or the gRPC code of the refusal or of the last attempt.
    pub answer: Result<PayResponse, Code>,
}

/// The largest number of attempts for a request.
const ATTEMPTS_MAX: u32 = 20;
/// The pause before the second attempt, and the longest pause, in ms. Each is twice the one before:
/// while a whole system is down, thousands of requests wait, and short pauses would keep a small
/// machine too busy to start it again.
const PAUSE_MS: u64 = 10;
const PAUSE_MS_MAX: u64 = 5_000;
/// The deadline of one attempt, in ms.
const ATTEMPT_MS: u64 = 14_000;

/// Whether the code is a final refusal: the request was not accepted, and another attempt would be
/// refused as well.
pub fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::AlreadyExists
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

/// The pause after an attempt, of which the first is number 1.
pub(crate) fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(PAUSE_MS_MAX.ilog2());
    Duration::from_millis((PAUSE_MS << doublings).min(PAUSE_MS_MAX))
}

/// Sends all requests, at most `in_flight` at once, and returns their results in the order of the
/// requests. `progress` is called after each result.
pub async fn send_each(
    channel: &Channel,
    requests: Vec<PayRequest>,
    in_flight: usize,
    mut progress: impl FnMut(),
) -> Vec<CallResult> {
    let one = |(number, request): (usize, PayRequest)| {
        let client = PosServiceClient::new(channel.clone());
        async move { (number, send_one(client, request).await) }
    };
    let mut answers = stream::iter(requests.into_iter().enumerate()).map(one).buffer_unordered(in_flight.max(1));
    let mut results = Vec::new();
    while let Some(answer) = answers.next().await {
        progress();
        results.push(answer);
    }
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

async fn send_one(mut client: PosServiceClient<Channel>, request: PayRequest) -> CallResult {
    let key = (request.merchant_id.clone(), request.merchant_trade_no.clone());
    let started = std::time::Instant::now();
    let mut answer = Err(Code::Unavailable);
    for number in 1..=ATTEMPTS_MAX {
        let mut attempt = tonic::Request::new(request.clone());
        attempt.set_timeout(Duration::from_millis(ATTEMPT_MS));
        answer = client.pay(attempt).await.map(tonic::Response::into_inner).map_err(|status| status.code());
        if answer.as_ref().map_or_else(|code| is_refusal(*code), |_| true) {
            break;
        }
        tokio::time::sleep(pause_after(number)).await;
    }
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    CallResult { key, latency_us, answer }
}

/// Queries every accepted order until it is final, for at most `patience`. An order that is still
/// in progress then is returned as such; one that could not be queried is left out.
pub async fn resolve(
    channel: &Channel,
    results: &[CallResult],
    patience: Duration,
) -> BTreeMap<TradeKey, QueryResponse> {
    let accepted = results.iter().filter(|result| result.answer.is_ok());
    let mut open: Vec<TradeKey> = accepted.map(|result| result.key.clone()).collect();
    open.sort();
    open.dedup();
    let mut orders = BTreeMap::new();
    let until = tokio::time::Instant::now() + patience;
    while !open.is_empty() {
        let query = |key: TradeKey| query_one(PosServiceClient::new(channel.clone()), key);
        let answers: Vec<_> = stream::iter(open).map(query).buffer_unordered(64).collect().await;
        open = Vec::new();
        for (key, answer) in answers {
            let in_progress =
                answer.as_ref().is_none_or(|order| order.order_status == Some(OrderStatus::InProgress.into()));
            if in_progress {
                open.push(key.clone());
            }
            orders.extend(answer.map(|order| (key, order)));
        }
        if tokio::time::Instant::now() >= until {
            break;
        }
        if !open.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    orders
}

async fn query_one(mut client: PosServiceClient<Channel>, key: TradeKey) -> (TradeKey, Option<QueryResponse>) {
    let mut request = tonic::Request::new(QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: key.0.clone(),
        merchant_trade_no: key.1.clone(),
        ..QueryRequest::default()
    });
    request.set_timeout(Duration::from_secs(10));
    let answer = client.query(request).await.ok().map(tonic::Response::into_inner);
    (key, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 9, 10, 11, u32::MAX].map(|attempt| pause_after(attempt).as_millis());
        assert_eq!(pauses, [10, 20, 40, 2_560, 5_000, 5_000, 5_000]);
    }
}
