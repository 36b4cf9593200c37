//! Plays the full-API day as a POS does. It sends the calls of a chain one after the other. A call
//! that was not accepted, or whose answer was lost, is sent again with the same numbers. A cancel
//! is repeated until it has a final answer, and an order in progress is queried until it is final.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tonic::{Code, Request, Status, transport::Channel};
use twqr_wire::pos::{
    CancelRequest, InquiryType, OrderStatus, PayRequest, PayResponse, QueryRequest, QueryResponse, RefundRequest,
    RefundResponse, pos_service_client::PosServiceClient,
};

use super::{Call, Line};
use crate::{
    TradeKey,
    send::{is_refusal, pause_after},
};

/// A call with its outcome.
#[derive(Clone, Debug)]
pub struct PlayedCall {
    /// The line of the call.
    pub line: Line,
    /// The call's final result.
    pub outcome: CallOutcome,
}

/// The final answer to a call.
#[derive(Clone, Debug, Default)]
pub struct CallOutcome {
    /// A StatusCode; for an inquiry the OrderStatus, if it has one; or the name of the gRPC code
    /// that refused the call.
    pub result: String,
    /// Whether an earlier answer said that the order is in progress.
    pub was_in_progress: bool,
    /// The answer to a payment.
    pub payment: Option<PayResponse>,
    /// The answer to a refund.
    pub refund: Option<RefundResponse>,
}

/// The deadline of one attempt, and the pause before an order in progress is asked about again, in
/// ms.
const ATTEMPT_MS: u64 = 14_000;
const PAUSE_MS: u64 = 300;
/// How long a call is repeated or its order queried until the result is final, in s.
const PATIENCE_S: u64 = 90;
/// The number of chains that are played at once.
const CHAINS_AT_ONCE: usize = 64;

/// Plays the day and returns its calls by chain, in the order of the lines. `progress` is called
/// after each chain.
pub async fn play(channel: &Channel, lines: Vec<Line>, mut progress: impl FnMut()) -> Vec<PlayedCall> {
    let mut chains: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
    for line in lines {
        chains.entry(line.chain).or_default().push(line);
    }
    let one = |(number, lines): (u32, Vec<Line>)| {
        let chain = Player { client: PosServiceClient::new(channel.clone()), trade_nos: BTreeMap::new() };
        async move { (number, chain.chain(lines).await) }
    };
    let mut ended = stream::iter(chains).map(one).buffer_unordered(CHAINS_AT_ONCE);
    let mut played = BTreeMap::new();
    while let Some((number, chain)) = ended.next().await {
        progress();
        played.insert(number, chain);
    }
    played.into_values().flatten().collect()
}

/// Queries every payment (false) and refund (true) of the day until it is final, for at most
/// 90 s each.
pub async fn settle(channel: &Channel, played: &[PlayedCall]) -> BTreeMap<(TradeKey, bool), QueryResponse> {
    let mut keys: Vec<(TradeKey, bool)> = played
        .iter()
        .filter_map(|played| match &played.line.call {
            Call::Payment(_) => Some((played.line.call.key(), false)),
            Call::Refund { .. } => Some((played.line.call.key(), true)),
            Call::Cancel(_) | Call::Inquiry(_) => None,
        })
        .collect();
    keys.sort();
    keys.dedup();
    let query = |(key, is_refund): (TradeKey, bool)| {
        let chain = Player { client: PosServiceClient::new(channel.clone()), trade_nos: BTreeMap::new() };
        async move { ((key.clone(), is_refund), chain.until_final(&key, is_refund).await) }
    };
    let answers: Vec<_> = stream::iter(keys).map(query).buffer_unordered(CHAINS_AT_ONCE).collect().await;
    answers.into_iter().filter_map(|(key, answer)| Some((key, answer?))).collect()
}

/// Sends the calls of one chain.
struct Player {
    client: PosServiceClient<Channel>,
    /// The TradeNos of answered payments by MerchantTradeNo.
    trade_nos: BTreeMap<String, String>,
}

/// The result of one attempt.
type Attempt<T> = Result<T, Status>;

impl Player {
    async fn chain(mut self, lines: Vec<Line>) -> Vec<PlayedCall> {
        let mut played = Vec::with_capacity(lines.len());
        for line in lines {
            let outcome = match line.call.clone() {
                Call::Payment(request) => self.payment(request).await,
                Call::Refund { request, payment } => self.refund(request, &payment).await,
                Call::Cancel(request) => self.cancel(request).await,
                Call::Inquiry(request) => self.inquiry(request).await,
            };
            played.push(PlayedCall { line, outcome });
        }
        played
    }

    async fn payment(&mut self, request: PayRequest) -> CallOutcome {
        let key = (request.merchant_id.clone(), request.merchant_trade_no.clone());
        let answer = self.until_answered(&request, |mut client, call| async move { client.pay(call).await }).await;
        let mut payment = match answer {
            Ok(payment) => payment,
            Err(code) => return CallOutcome::refused(code),
        };
        let was_in_progress = is_in_progress(&payment.status_desc);
        if was_in_progress && let Some(order) = self.until_final(&key, false).await {
            payment = order.payment.unwrap_or(payment);
        }
        if !payment.trade_no.is_empty() {
            self.trade_nos.insert(key.1, payment.trade_no.clone());
        }
        CallOutcome { result: payment.status_code.clone(), was_in_progress, payment: Some(payment), refund: None }
    }

    async fn refund(&mut self, mut request: RefundRequest, of: &str) -> CallOutcome {
        if let Some(trade_no) = self.trade_nos.get(of) {
            request.trade_no.clone_from(trade_no);
        }
        let key = (request.merchant_id.clone(), request.merchant_trade_no.clone());
        let answer = self.until_answered(&request, |mut client, call| async move { client.refund(call).await }).await;
        let mut refund = match answer {
            Ok(refund) => refund,
            Err(code) => return CallOutcome::refused(code),
        };
        let was_in_progress = is_in_progress(&refund.status_desc);
        if was_in_progress && let Some(order) = self.until_final(&key, true).await {
            refund = order.refund.unwrap_or(refund);
        }
        CallOutcome { result: refund.status_code.clone(), was_in_progress, payment: None, refund: Some(refund) }
    }

    async fn cancel(&mut self, request: CancelRequest) -> CallOutcome {
        let until = Instant::now() + Duration::from_secs(PATIENCE_S);
        let mut was_in_progress = false;
        loop {
            let answer =
                self.until_answered(&request, |mut client, call| async move { client.cancel(call).await }).await;
            match answer {
                Err(code) => return CallOutcome::refused(code),
                Ok(answer) if is_in_progress(&answer.status_desc) && Instant::now() < until => was_in_progress = true,
                Ok(answer) => {
                    return CallOutcome { result: answer.status_code, was_in_progress, ..CallOutcome::default() };
                }
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }

    async fn inquiry(&mut self, request: QueryRequest) -> CallOutcome {
        let answer = self.until_answered(&request, |mut client, call| async move { client.query(call).await }).await;
        match answer {
            Ok(answer) => {
                let result = answer.order_status.map_or(answer.status_code, |status| status.to_string());
                CallOutcome { result, ..CallOutcome::default() }
            }
            Err(code) => CallOutcome::refused(code),
        }
    }

    /// Queries the order until it is final, for at most 90 s, and returns its last state;
    /// `None` if a query was refused.
    async fn until_final(&self, key: &TradeKey, is_refund: bool) -> Option<QueryResponse> {
        let inquiry_type = if is_refund { InquiryType::Refund } else { InquiryType::Payment };
        let request = QueryRequest {
            inquiry_type: inquiry_type.into(),
            merchant_id: key.0.clone(),
            merchant_trade_no: key.1.clone(),
            ..QueryRequest::default()
        };
        let until = Instant::now() + Duration::from_secs(PATIENCE_S);
        loop {
            let query = |mut client: PosServiceClient<Channel>, call| async move { client.query(call).await };
            let order = self.until_answered(&request, query).await.ok()?;
            if order.order_status != Some(OrderStatus::InProgress.into()) || Instant::now() >= until {
                return Some(order);
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }

    /// Sends the request until it is answered or finally refused.
    async fn until_answered<Q: Clone, A, F>(
        &self,
        request: &Q,
        send: impl Fn(PosServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Code>
    where
        F: Future<Output = Attempt<tonic::Response<A>>>,
    {
        let until = Instant::now() + Duration::from_secs(PATIENCE_S);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut call = Request::new(request.clone());
            call.set_timeout(Duration::from_millis(ATTEMPT_MS));
            match send(self.client.clone(), call).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_refusal(status.code()) || Instant::now() >= until => return Err(status.code()),
                Err(_) => tokio::time::sleep(pause_after(attempt)).await,
            }
        }
    }
}

impl CallOutcome {
    fn refused(code: Code) -> Self {
        let result = if code == Code::AlreadyExists { "ALREADY_EXISTS".to_owned() } else { format!("{code:?}") };
        Self { result, ..Self::default() }
    }
}

/// Whether the answer is not final yet, by its StatusDesc.
fn is_in_progress(status_desc: &str) -> bool {
    status_desc.contains("is in progress")
}
