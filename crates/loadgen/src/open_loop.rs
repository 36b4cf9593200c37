//! The open-loop generator: requests start at their own times whether or not earlier ones were
//! answered, and latency is counted from the time at which a request was meant to start, so that a
//! slow answer hides no other (no coordinated omission).

use std::{
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Channel;
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

use crate::{Told, send::is_refusal};

/// Latencies are counted up to this, in µs.
const LATENCY_US_MAX: u64 = 120_000_000;
/// The pause before the next attempt, in ms.
const PAUSE_MS: u64 = 10;
/// How long one call may take, in ms.
const CALL_MS: u64 = 14_000;

/// What an open loop saw.
#[derive(Debug)]
pub struct Measured {
    /// From the intended start to the answer, in µs, of every request.
    pub latencies: Histogram<u64>,
    /// How late requests were handed to the client, in µs: the generator's own error, which is part
    /// of the latencies.
    pub start_lag: Histogram<u64>,
    /// What each caller was told, in the order of the answers.
    pub told: Vec<Told>,
    /// From the first intended start to the last answer.
    pub took: Duration,
}

/// A request and the moment at which it is meant to start.
struct Start {
    intended: Instant,
    request: PayRequest,
}

/// The load of an open loop.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Starts a second on average, at random times (a Poisson process).
    pub rate: f64,
    /// Another seed gives other times.
    pub seed: u64,
    /// How often a request is sent at the most; again only where the API says that it was not
    /// accepted, or where nobody knows.
    pub attempts: u32,
}

/// Sends every request at its time, spread over the channels.
pub async fn open_loop(channels: &[Channel], requests: Vec<PayRequest>, load: Load) -> Measured {
    let began = Instant::now();
    let mut senders = Vec::new();
    let mut lanes = JoinSet::new();
    for channel in channels {
        let (sender, starts) = mpsc::unbounded_channel();
        senders.push(sender);
        lanes.spawn(lane(PosServiceClient::new(channel.clone()), starts, load.attempts));
    }
    let pacer = thread::spawn(move || pace(requests, load, &senders));
    let mut measured =
        Measured { latencies: histogram(), start_lag: histogram(), told: Vec::new(), took: Duration::ZERO };
    while let Some(joined) = lanes.join_next().await {
        let Ok(lane) = joined else { continue };
        measured.latencies += lane.latencies;
        measured.start_lag += lane.start_lag;
        measured.told.extend(lane.told);
    }
    drop(pacer.join());
    measured.took = began.elapsed();
    measured
}

/// A histogram of µs with three significant digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// Hands each request over at its time; on a thread of its own, so that a busy runtime makes it no
/// later.
fn pace(requests: Vec<PayRequest>, Load { rate, seed, .. }: Load, lanes: &[mpsc::UnboundedSender<Start>]) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut intended = Instant::now();
    for (request, lane) in requests.into_iter().zip(lanes.iter().cycle()) {
        let gap = -(1.0 - random.random::<f64>()).ln() / rate;
        intended += Duration::from_secs_f64(gap);
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        drop(lane.send(Start { intended, request }));
    }
}

/// One connection's requests.
async fn lane(
    client: PosServiceClient<Channel>,
    mut starts: mpsc::UnboundedReceiver<Start>,
    attempts: u32,
) -> Measured {
    let mut measured =
        Measured { latencies: histogram(), start_lag: histogram(), told: Vec::new(), took: Duration::ZERO };
    let mut calls = FuturesUnordered::new();
    let mut more = true;
    while more || !calls.is_empty() {
        tokio::select! {
            start = starts.recv(), if more => match start {
                Some(start) => {
                    measured.start_lag.saturating_record(micros(start.intended));
                    calls.push(call(client.clone(), start, attempts));
                }
                None => more = false,
            },
            Some(told) = calls.next(), if !calls.is_empty() => {
                let told: Told = told;
                measured.latencies.saturating_record(told.latency_us);
                measured.told.push(told);
            }
        }
    }
    measured
}

async fn call(mut client: PosServiceClient<Channel>, start: Start, attempts: u32) -> Told {
    let key = (start.request.merchant_id.clone(), start.request.merchant_trade_no.clone());
    let mut attempt = 1;
    loop {
        let mut request = tonic::Request::new(start.request.clone());
        request.set_timeout(Duration::from_millis(CALL_MS));
        let answer = client.pay(request).await.map(tonic::Response::into_inner).map_err(|status| status.code());
        if attempt >= attempts || answer.as_ref().map_or_else(|code| is_refusal(*code), |_| true) {
            return Told { key, latency_us: micros(start.intended), answer };
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
