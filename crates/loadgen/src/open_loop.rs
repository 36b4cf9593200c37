//! The open-loop generator. Each request starts at its own time, whether or not earlier ones were
//! answered, and its latency counts from the intended start. So a slow answer does not hide the
//! latency of the requests behind it (no coordinated omission).

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, transport::Channel};
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

use crate::{
    CallResult, CallerKey,
    latency::latency_histogram,
    pay_streams::PayStreams,
    send::{is_refusal, pause_after},
};

/// The shortest pause between two starts, in µs.
const PAUSE_US_MIN: u64 = 250;
/// The deadline of one call, in ms.
const CALL_MS: u64 = 14_000;
/// How much longer than that its answer over a stream may take, in ms.
const GRACE_MS: u64 = 1_000;

/// The result of an open loop.
#[derive(Debug)]
pub struct Measurement {
    /// Time from the intended start to the answer, in µs, of every request.
    pub latencies: Histogram<u64>,
    /// Time from the intended start until the client received the request, in µs. This is the
    /// generator's own error; the latencies include it.
    pub start_lag: Histogram<u64>,
    /// The result of each call, in the order of the answers.
    pub results: Vec<CallResult>,
    /// Time from the first intended start to the last answer.
    pub took: Duration,
}

/// A request with its intended start.
struct Start {
    intended: Instant,
    request: PayRequest,
}

/// How the requests of an open loop are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Each as a call of its own.
    Calls,
    /// Over one PayStream on each channel.
    Streams,
}

/// The rate of an open loop, how requests are sent, and how often each is attempted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Average number of starts per second, at random times (a Poisson process).
    pub rate: f64,
    /// The seed of the start times.
    pub seed: u64,
    /// The largest number of attempts for a request. It is sent again only if it was not accepted,
    /// or if its answer was lost. Over streams there is one attempt.
    pub attempts: u32,
    /// How requests are sent.
    pub over: Over,
}

/// Sends each request at its intended time, over the channels in turn.
pub async fn open_loop(channels: &[Channel], requests: Vec<PayRequest>, load: Load) -> Measurement {
    let began = Instant::now();
    let mut senders = Vec::new();
    let mut lanes = JoinSet::new();
    for channel in channels {
        let (sender, starts) = mpsc::unbounded_channel();
        senders.push(sender);
        match load.over {
            Over::Calls => {
                let client = PosServiceClient::new(channel.clone());
                lanes.spawn(lane(starts, move |start| call(client.clone(), start, load.attempts)))
            }
            Over::Streams => {
                let streams = Arc::new(PayStreams::new(&[CallerKey::default().client(channel.clone())]));
                lanes.spawn(lane(starts, move |start| call_over_stream(streams.clone(), start)))
            }
        };
    }
    let pacer = thread::spawn(move || pace(requests, load, &senders));
    let mut measured = Measurement::empty();
    while let Some(joined) = lanes.join_next().await {
        let Ok(lane) = joined else { continue };
        measured.latencies += lane.latencies;
        measured.start_lag += lane.start_lag;
        measured.results.extend(lane.results);
    }
    drop(pacer.join());
    measured.took = began.elapsed();
    measured
}

impl Measurement {
    fn empty() -> Self {
        Self {
            latencies: latency_histogram(),
            start_lag: latency_histogram(),
            results: Vec::new(),
            took: Duration::ZERO,
        }
    }
}

/// Passes each request to a lane at its intended time, or up to [`PAUSE_US_MIN`] later: at high
/// rates one pause serves several requests. It runs on its own thread, so that a busy runtime does
/// not delay it.
fn pace(requests: Vec<PayRequest>, load: Load, lanes: &[mpsc::UnboundedSender<Start>]) {
    let mut random = ChaCha8Rng::seed_from_u64(load.seed);
    let mut intended = Instant::now();
    for (request, lane) in requests.into_iter().zip(lanes.iter().cycle()) {
        let gap = -(1.0 - random.random::<f64>()).ln() / load.rate;
        intended += Duration::from_secs_f64(gap);
        let left = intended.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::sleep(left.max(Duration::from_micros(PAUSE_US_MIN)));
        }
        drop(lane.send(Start { intended, request }));
    }
}

/// Sends the requests of one connection, each by `call`.
async fn lane<C>(mut starts: mpsc::UnboundedReceiver<Start>, call: impl Fn(Start) -> C) -> Measurement
where
    C: Future<Output = CallResult>,
{
    let mut measured = Measurement::empty();
    let mut calls = FuturesUnordered::new();
    let mut more = true;
    while more || !calls.is_empty() {
        tokio::select! {
            start = starts.recv(), if more => match start {
                Some(start) => {
                    measured.start_lag.saturating_record(micros(start.intended));
                    calls.push(call(start));
                }
                None => more = false,
            },
            Some(result) = calls.next(), if !calls.is_empty() => {
                let result: CallResult = result;
                measured.latencies.saturating_record(result.latency_us);
                measured.results.push(result);
            }
        }
    }
    measured
}

async fn call(mut client: PosServiceClient<Channel>, start: Start, attempts: u32) -> CallResult {
    let key = (start.request.merchant_id.clone(), start.request.merchant_trade_no.clone());
    let mut attempt = 1;
    loop {
        let mut request = tonic::Request::new(start.request.clone());
        request.set_timeout(Duration::from_millis(CALL_MS));
        let answer = client.pay(request).await.map(tonic::Response::into_inner).map_err(|status| status.code());
        if attempt >= attempts || answer.as_ref().map_or_else(|code| is_refusal(*code), |_| true) {
            return CallResult { key, latency_us: micros(start.intended), answer };
        }
        tokio::time::sleep(pause_after(attempt)).await;
        attempt += 1;
    }
}

async fn call_over_stream(streams: Arc<PayStreams>, Start { intended, request }: Start) -> CallResult {
    let key = (request.merchant_id.clone(), request.merchant_trade_no.clone());
    let answer = timeout(Duration::from_millis(CALL_MS + GRACE_MS), streams.call(0, request, CALL_MS, false)).await;
    let answer = answer.unwrap_or(Err(Code::DeadlineExceeded)).map(|(response, _hops)| response);
    CallResult { key, latency_us: micros(intended), answer }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
