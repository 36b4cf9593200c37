//! The callers of a history: payments, refunds, cancels, repeats, conflicts and questions, written
//! as an ingress writes them. Among them somebody changes the rules, and somebody writes what
//! nobody can read.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Sim, SimSession};
use twqr_loadgen::payments;
use twqr_order::ReplyTo;
use twqr_service::Clock;
use twqr_types::{Amount, OrderKey, PayForm, RefundForm, ShardCount, UnixMs};
use twqr_wire::{
    convert::{encode_cancel, encode_pay, encode_query, encode_refund, pay_form},
    pos::PayRequest,
};

use crate::{
    cancels::OpenCancel,
    heard::{Heard, REPLIES, listen},
};

/// All callers.
pub struct Callers {
    heard: Arc<Mutex<Heard>>,
    done: Arc<AtomicBool>,
}

/// Whoever calls, in the order of their calls.
pub struct Caller {
    pub sim: Sim,
    pub session: Arc<SimSession>,
    pub clock: Arc<dyn Clock>,
    pub heard: Arc<Mutex<Heard>>,
    pub random: ChaCha8Rng,
    next: u64,
    /// The payments that were sent.
    pub sent: Vec<PayForm>,
    /// The refunds that were sent.
    pub refunds: Vec<RefundForm>,
    /// The cancels that have no answer yet.
    pub cancels: Vec<OpenCancel>,
}

/// Something that a caller wants.
#[derive(Clone)]
pub enum Request {
    Pay(PayForm),
    Refund(RefundForm),
    Cancel(PayForm),
}

/// How long a caller waits, in ms.
const PATIENCE_MS: i64 = 12_000;

impl Callers {
    pub fn start(sim: &Sim, clock: Arc<dyn Clock>, seed: u64, count: usize) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let done = Arc::new(AtomicBool::new(false));
        let session = sim.session("ingress");
        tokio::spawn(listen(session.clone(), heard.clone()));
        let caller = Caller {
            sim: sim.clone(),
            session,
            clock,
            heard: heard.clone(),
            random: ChaCha8Rng::seed_from_u64(seed ^ 0xca11),
            next: 0,
            sent: Vec::new(),
            refunds: Vec::new(),
            cancels: Vec::new(),
        };
        let finished = done.clone();
        tokio::spawn(async move {
            caller.run(payments(seed, "h", count)).await;
            finished.store(true, Ordering::Release);
        });
        Self { heard, done }
    }

    /// Whether everything was sent and every cancel answered.
    pub fn are_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

impl Request {
    pub fn key(&self) -> &OrderKey {
        match self {
            Self::Pay(form) | Self::Cancel(form) => &form.key,
            Self::Refund(form) => &form.key,
        }
    }

    fn record(&self, at: UnixMs, to: ReplyTo) -> Bytes {
        match self {
            Self::Pay(form) => encode_pay(at, form, Some(to)),
            Self::Refund(form) => encode_refund(at, form, Some(to)),
            Self::Cancel(form) => encode_cancel(at, form, Some(to)),
        }
    }
}

impl Caller {
    async fn run(mut self, requests: Vec<PayRequest>) {
        for request in requests {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..900))).await;
            let form = pay_form(request).unwrap();
            let cancelled_before = self.random.random_bool(0.04);
            if cancelled_before {
                self.open_cancel(form.clone()).await;
                if self.random.random_bool(0.2) {
                    continue;
                }
            }
            self.send(&Request::Pay(form.clone())).await;
            self.sent.push(form.clone());
            if cancelled_before {
                self.refund_soon(&form).await;
            }
            match self.random.random_range(0..100) {
                0..12 => self.repeat().await,
                12..16 => self.conflict().await,
                16..19 => self.unreadable().await,
                19..44 => self.refund().await,
                44..50 => self.repeat_refund().await,
                50..68 => self.cancel().await,
                68..72 => self.change_rules().await,
                _ => {}
            }
            self.go_on_with_cancels().await;
        }
        while !self.cancels.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.go_on_with_cancels().await;
        }
    }

    fn reply_to(&mut self, key: &OrderKey) -> ReplyTo {
        self.next += 1;
        self.heard.lock().unwrap().about.insert(self.next, key.clone());
        ReplyTo { partition: REPLIES.index, correlation: self.next, until: self.clock.now().plus(PATIENCE_MS) }
    }

    fn shard(&self, key: &OrderKey) -> Partition {
        let shards = u16::try_from(self.session.partitions(Topic::Orders)).unwrap();
        let index = u32::from(key.shard(ShardCount(shards.try_into().unwrap())).0);
        Partition { topic: Topic::Orders, index }
    }

    /// Sends until it is acknowledged, as a POS does that hears nothing; then asks, now and then:
    /// from here on the order must be found. Returns where answers come.
    pub async fn send(&mut self, request: &Request) -> Vec<u64> {
        let shard = self.shard(request.key());
        let mut correlations = Vec::new();
        loop {
            let to = self.reply_to(request.key());
            correlations.push(to.correlation);
            let record = request.record(self.clock.now(), to);
            if self.session.append(shard, vec![Entry::plain(record)]).await.is_ok() {
                break;
            }
        }
        if self.random.random_bool(0.5) {
            let to = self.reply_to(request.key());
            self.heard.lock().unwrap().must_be_found.insert(to.correlation);
            let watch = self.random.random_bool(0.3);
            let record = encode_query(self.clock.now(), request.key(), to, watch);
            drop(self.session.append(shard, vec![Entry::plain(record)]));
        }
        correlations
    }

    async fn repeat(&mut self) {
        let form = self.sent.choose(&mut self.random).unwrap().clone();
        self.send(&Request::Pay(form)).await;
    }

    /// Another amount under the number of a payment, or a payment under the number of a refund.
    async fn conflict(&mut self) {
        let form = self.sent.choose(&mut self.random).unwrap().clone();
        let refund = self.refunds.choose(&mut self.random).filter(|_| self.next.is_multiple_of(3));
        let key = refund.map_or(&form.key, |refund| &refund.key).clone();
        let trade_amount = Amount::parse(form.trade_amount.twd() % 1_000 + 1).unwrap();
        self.send(&Request::Pay(PayForm { key, trade_amount, ..form })).await;
    }

    async fn unreadable(&mut self) {
        let topic = *[Topic::Orders, Topic::WalletTasks, Topic::FiscTasks, Topic::OrderStates]
            .choose(&mut self.random)
            .unwrap();
        let index = self.random.random_range(0..self.session.partitions(topic));
        let key = if topic.is_compacted() { vec![0xff, self.random.random()] } else { Vec::new() };
        let entry = Entry { key: key.into(), value: Some(vec![0xff; 9].into()) };
        let landed = self.session.append(Partition { topic, index }, vec![entry]).await.is_ok();
        self.heard.lock().unwrap().unreadable += usize::from(landed && topic == Topic::Orders);
    }
}
