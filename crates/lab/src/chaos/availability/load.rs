//! The load of the measurement: payments that the issuers approve, at a steady average rate until
//! it is ended, whether or not earlier ones were answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use twqr_loadgen::{CallResult, is_in_progress, issuer_of, steady_payments};
use twqr_types::{Issuer, TradeNo};
use twqr_wire::pos::PayRequest;

use super::client::Ingresses;

/// How many payments are generated at once.
const ROUND: usize = 1_000;

/// A payment and its result.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    /// The intended start, in ms since the load began.
    pub(super) began_ms: u64,
    /// The ingress to which it was sent first.
    pub(super) ingress: usize,
    /// Whether the wallet is its issuer.
    pub(super) is_wallet: bool,
    /// The shard of its order, if a final answer named it.
    pub(super) shard: Option<u16>,
    /// The answer; the latency counts from the intended start.
    pub(super) result: CallResult,
}

impl Payment {
    /// When the caller was answered, in ms since the load began.
    pub(super) fn ended_ms(&self) -> u64 {
        self.began_ms + self.result.latency_us / 1_000
    }

    /// Whether the answer is final.
    pub(super) fn is_final(&self) -> bool {
        self.result.answer.as_ref().is_ok_and(|answer| !is_in_progress(answer))
    }
}

/// The newest start of a payment that was finally answered, in ms since the load began, by the
/// issuer's side and shard.
type Answered = Mutex<BTreeMap<(bool, u16), u64>>;

/// A running load.
pub(super) struct PaymentLoad {
    began: Instant,
    is_ended: Arc<AtomicBool>,
    answered: Arc<Answered>,
    task: JoinHandle<Vec<Payment>>,
}

/// A request with its intended start.
struct Start {
    intended: Instant,
    request: PayRequest,
}

impl PaymentLoad {
    /// Starts `rate` payments per second on average, at random times (a Poisson process).
    pub(super) fn start(addresses: &[SocketAddr], rate: u32, seed: u64) -> anyhow::Result<Self> {
        let ingresses = Arc::new(Ingresses::connect(addresses)?);
        let (began, is_ended, answered) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::default());
        let (sender, starts) = mpsc::unbounded_channel();
        let ended = is_ended.clone();
        thread::Builder::new().name("pacer".to_owned()).spawn(move || pace(rate, seed, &ended, &sender))?;
        let task = tokio::spawn(collect(ingresses, began, starts, Arc::clone(&answered)));
        Ok(Self { began, is_ended, answered, task })
    }

    /// The time since the load began, in ms.
    pub(super) fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// How many pairs of an issuer's side and a shard have answered a payment that began at or
    /// after `since_ms`, of how many that have ever answered one.
    pub(super) fn answered_since(&self, since_ms: u64) -> (usize, usize) {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        (answered.values().filter(|began| **began >= since_ms).count(), answered.len())
    }

    /// Ends the load, and waits for the answers that are still to come.
    pub(super) async fn end(self) -> anyhow::Result<Vec<Payment>> {
        self.is_ended.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Passes on each request at its intended time. It runs on its own thread, so that a busy runtime
/// does not delay it.
fn pace(rate: u32, seed: u64, is_ended: &AtomicBool, starts: &mpsc::UnboundedSender<Start>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut intended = Instant::now();
    for round in 0_u64.. {
        for request in steady_payments(seed.wrapping_add(round), &format!("a{seed}-{round}"), ROUND) {
            intended += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / f64::from(rate.max(1)));
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            if is_ended.load(Ordering::Relaxed) || starts.send(Start { intended, request }).is_err() {
                return;
            }
        }
    }
}

/// Sends each payment in a task of its own, to the ingresses in turn.
async fn collect(
    ingresses: Arc<Ingresses>,
    began: Instant,
    mut starts: mpsc::UnboundedReceiver<Start>,
    answered: Arc<Answered>,
) -> Vec<Payment> {
    let mut calls = JoinSet::new();
    let mut payments = Vec::new();
    let mut ingress = 0;
    loop {
        tokio::select! {
            start = starts.recv() => {
                let Some(start) = start else { break };
                ingress = (ingress + 1) % ingresses.count();
                calls.spawn(pay(ingresses.clone(), ingress, began, start, answered.clone()));
            }
            Some(done) = calls.join_next() => payments.extend(done),
        }
    }
    while let Some(done) = calls.join_next().await {
        payments.extend(done);
    }
    payments
}

async fn pay(
    ingresses: Arc<Ingresses>,
    ingress: usize,
    began: Instant,
    start: Start,
    answered: Arc<Answered>,
) -> Payment {
    let Start { intended, request } = start;
    let key = (request.merchant_id.clone(), request.merchant_trade_no.clone());
    let is_wallet = issuer_of(&request.card_token) == Some(Issuer::Wallet);
    let answer = ingresses.pay(ingress, request).await;
    let latency_us = u64::try_from(intended.elapsed().as_micros()).unwrap_or(u64::MAX);
    let shard = answer.as_ref().ok().and_then(|answer| TradeNo::parse(&answer.trade_no).ok());
    let shard = shard.map(|trade_no| trade_no.shard().0);
    let began_ms = millis(intended.saturating_duration_since(began));
    let payment = Payment { began_ms, ingress, is_wallet, shard, result: CallResult { key, latency_us, answer } };
    if let (true, Some(shard)) = (payment.is_final(), shard) {
        let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = answered.entry((is_wallet, shard)).or_default();
        *newest = began_ms.max(*newest);
    }
    payment
}
