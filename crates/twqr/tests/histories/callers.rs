//! The callers of a history: payments, repeats, conflicts and questions, written as an ingress writes them, and everything that they
//! heard. Among them somebody writes what nobody can read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    sim::{Sim, SimSession},
};
use twqr_loadgen::payments;
use twqr_order::ReplyTo;
use twqr_service::Clock;
use twqr_types::{OrderKey, PayForm, ShardCount};
use twqr_wire::{
    bus::ReplyRecord,
    convert::{pay_form, pay_record, query_record},
    pos::PayRequest,
};

/// What was heard, and what must not be.
#[derive(Clone, Default)]
pub struct Heard {
    /// By correlation, in the order of arrival.
    pub replies: BTreeMap<u64, Vec<ReplyRecord>>,
    /// Which order a call was about.
    pub about: BTreeMap<u64, OrderKey>,
    /// Questions asked after a Pay was acknowledged: the order must be found.
    pub must_be_found: BTreeSet<u64>,
    /// Records that nobody can read, on `orders`.
    pub unreadable: usize,
}

/// All callers.
pub struct Callers {
    heard: Arc<Mutex<Heard>>,
    done: Arc<AtomicBool>,
}

struct Caller {
    session: Arc<SimSession>,
    clock: Arc<dyn Clock>,
    heard: Arc<Mutex<Heard>>,
    random: ChaCha8Rng,
    next: u64,
}

const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };
/// How long a caller waits, in ms.
const PATIENCE_MS: i64 = 12_000;

impl Callers {
    pub fn start(sim: &Sim, clock: Arc<dyn Clock>, seed: u64, count: usize) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let done = Arc::new(AtomicBool::new(false));
        let session = sim.session("ingress");
        tokio::spawn(listen(session.clone(), heard.clone()));
        let random = ChaCha8Rng::seed_from_u64(seed ^ 0xca11);
        let caller = Caller { session, clock, heard: heard.clone(), random, next: 0 };
        let finished = done.clone();
        tokio::spawn(async move {
            caller.run(payments(seed, "h", count)).await;
            finished.store(true, Ordering::Release);
        });
        Self { heard, done }
    }

    pub fn are_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

async fn listen(session: Arc<SimSession>, heard: Arc<Mutex<Heard>>) {
    let mut next = 0;
    loop {
        let Ok(mut reader) = session.reader(REPLIES, next).await else { continue };
        while let Ok(records) = reader.next(100).await {
            for record in records {
                next = record.offset + 1;
                let reply = ReplyRecord::decode(record.entry.value.unwrap()).unwrap();
                heard.lock().unwrap().replies.entry(reply.correlation).or_default().push(reply);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Caller {
    async fn run(mut self, requests: Vec<PayRequest>) {
        let mut sent: Vec<PayForm> = Vec::new();
        for request in requests {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..900))).await;
            let form = pay_form(request).unwrap();
            self.pay(&form).await;
            sent.push(form);
            match self.random.random_range(0..100) {
                0..15 => self.repeat(&sent).await,
                15..20 => self.conflict(&sent).await,
                20..23 => self.unreadable().await,
                _ => {}
            }
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

    /// Sends until it is acknowledged, as a POS does that hears nothing; then asks, now and then.
    async fn pay(&mut self, form: &PayForm) {
        let shard = self.shard(&form.key);
        loop {
            let to = self.reply_to(&form.key);
            let record = pay_record(self.clock.now(), form, Some(to));
            if self.session.append(shard, vec![Entry::plain(record)]).await.is_ok() {
                break;
            }
        }
        if self.random.random_bool(0.5) {
            let to = self.reply_to(&form.key);
            self.heard.lock().unwrap().must_be_found.insert(to.correlation);
            let record = query_record(self.clock.now(), &form.key, to, false);
            drop(self.session.append(shard, vec![Entry::plain(record)]));
        }
    }

    async fn repeat(&mut self, sent: &[PayForm]) {
        let form = sent.choose(&mut self.random).unwrap().clone();
        self.pay(&form).await;
    }

    async fn conflict(&mut self, sent: &[PayForm]) {
        let form = sent.choose(&mut self.random).unwrap().clone();
        let amount = form.trade_amount.twd() % 1_000 + 1;
        let other = PayForm { trade_amount: twqr_types::Amount::parse(amount).unwrap(), ..form };
        self.pay(&other).await;
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
