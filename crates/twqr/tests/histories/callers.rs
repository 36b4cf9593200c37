//! The callers of a history: they append payments, refunds, cancels, repeats, conflicts and queries
//! as an ingress does. Some change the policy, and some append unreadable records.

mod cancels;
mod policy_changes;
mod refunds;

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
use twqr_card_keys::CardKeys;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Sim, SimSession};
use twqr_loadgen::payments;
use twqr_order::{PROTECTED_TOKENS_SINCE, Policy, ReplyTo};
use twqr_service::Clock;
use twqr_types::{Amount, OrderKey, PayForm, RecordedToken, RefundForm, ShardCount, UnixMs};
use twqr_wire::{
    convert::{encode_cancel, encode_pay, encode_query, encode_refund, pay_form},
    pos::PayRequest,
};

use crate::{
    key_files::{KEY_FILES, ROTATION_STEPS},
    reply_recorder::{INGRESSES, RecordedReplies, record_replies},
};
use cancels::OpenCancel;

/// Which requests the callers of a history make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKinds {
    /// Of every kind.
    All,
    /// None that may cost a payment or a refund although nothing breaks: no refund that the wallet
    /// answers with an ambiguous code, and no policy by which an issuer ceases to be called
    /// idempotent.
    Harmless,
}

/// A history's handle to the running callers.
pub struct Callers {
    replies: Arc<Mutex<RecordedReplies>>,
    done: Arc<AtomicBool>,
}

/// All callers. They run as one task, so that the seed determines the order of their calls.
pub struct Caller {
    pub sim: Sim,
    pub session: Arc<SimSession>,
    pub clock: Arc<dyn Clock>,
    pub replies: Arc<Mutex<RecordedReplies>>,
    pub random: ChaCha8Rng,
    last_correlation: u64,
    /// The payments that were sent.
    pub payments: Vec<PayForm>,
    /// The refunds that were sent.
    pub refunds: Vec<RefundForm>,
    /// The cancels that have no answer yet.
    pub cancels: Vec<OpenCancel>,
    true_policy: Policy,
    kinds: RequestKinds,
    /// How the card tokens are written in its records.
    tokens: TokenForm,
    card_keys: CardKeys,
    /// From here on its changes of the policy raise the protocol version.
    raises_protocol: bool,
}

/// How an ingress writes card tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenForm {
    /// In the clear, as ingresses of earlier builds do.
    Clear,
    /// Under keys on every shard.
    Protected,
    /// Under keys on the shards whose replies have named protocol version 3.
    AsShardsTake,
}

impl TokenForm {
    /// That of the ingresses in the history of this seed. With [`Self::AsShardsTake`] the history
    /// begins at an earlier protocol version, which is raised while it runs.
    pub fn of_seed(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::Clear,
            1 => Self::Protected,
            _ => Self::AsShardsTake,
        }
    }
}

/// What a caller requests of an order.
#[derive(Clone)]
pub enum Request {
    Pay(PayForm),
    Refund(RefundForm),
    Cancel(PayForm),
}

/// How long a caller waits for a reply, in ms.
const PATIENCE_MS: i64 = 12_000;

impl Callers {
    /// Starts callers that make `count` payments, and other requests of these kinds. Changes of the
    /// policy call an issuer idempotent only if `true_policy` does.
    pub fn start(
        sim: &Sim,
        clock: Arc<dyn Clock>,
        seed: u64,
        count: usize,
        true_policy: Policy,
        kinds: RequestKinds,
    ) -> Self {
        let replies = Arc::new(Mutex::new(RecordedReplies::default()));
        let done = Arc::new(AtomicBool::new(false));
        let session = sim.session("ingress");
        for ingress in INGRESSES {
            tokio::spawn(record_replies(ingress, session.clone(), clock.clone(), replies.clone()));
        }
        let caller = Caller {
            sim: sim.clone(),
            session,
            clock,
            replies: replies.clone(),
            random: ChaCha8Rng::seed_from_u64(seed ^ 0xca11),
            last_correlation: 0,
            payments: Vec::new(),
            refunds: Vec::new(),
            cancels: Vec::new(),
            true_policy,
            kinds,
            tokens: TokenForm::of_seed(seed),
            card_keys: CardKeys::new(KEY_FILES.rotated(0)),
            raises_protocol: false,
        };
        let finished = done.clone();
        tokio::spawn(async move {
            caller.run(payments(seed, "h", count)).await;
            finished.store(true, Ordering::Release);
        });
        Self { replies, done }
    }

    /// Whether all requests were sent and every cancel has its answer.
    pub fn are_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn replies(&self) -> RecordedReplies {
        self.replies.lock().unwrap().clone()
    }
}

impl Request {
    pub fn key(&self) -> &OrderKey {
        match self {
            Self::Pay(form) | Self::Cancel(form) => &form.key,
            Self::Refund(form) => &form.key,
        }
    }

    /// The record that an ingress writes; with card tokens in plain text before protocol version 3.
    fn record(&self, at: UnixMs, to: ReplyTo, keys: Option<&CardKeys>) -> Bytes {
        match (self, keys) {
            (Self::Pay(form), Some(keys)) => encode_pay(at, &protected(keys, form, at), Some(to)),
            (Self::Pay(form), None) => encode_pay(at, form, Some(to)),
            (Self::Refund(form), _) => encode_refund(at, form, Some(to)),
            (Self::Cancel(form), Some(keys)) => encode_cancel(at, &protected(keys, form, at), Some(to)),
            (Self::Cancel(form), None) => encode_cancel(at, form, Some(to)),
        }
    }
}

fn protected(keys: &CardKeys, form: &PayForm, at: UnixMs) -> PayForm {
    let RecordedToken::Clear(token) = &form.card_token else { return form.clone() };
    let protected = keys.protect(token, &form.key, at).unwrap();
    PayForm { card_token: RecordedToken::Protected(Box::new(protected)), ..form.clone() }
}

impl Caller {
    async fn run(mut self, requests: Vec<PayRequest>) {
        let count = requests.len();
        for (number, request) in requests.into_iter().enumerate() {
            if number > 0 && number.is_multiple_of(count.div_ceil(ROTATION_STEPS)) {
                self.card_keys.replace(KEY_FILES.rotated(number / count.div_ceil(ROTATION_STEPS)));
            }
            if number == count / 2 && self.tokens == TokenForm::AsShardsTake {
                self.raises_protocol = true;
                self.change_policy().await;
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..900))).await;
            let form = pay_form(request).unwrap();
            let cancel_first = self.random.random_bool(0.04);
            if cancel_first {
                self.open_cancel(form.clone()).await;
                if self.random.random_bool(0.2) {
                    continue;
                }
            }
            self.send(&Request::Pay(form.clone())).await;
            self.payments.push(form.clone());
            if cancel_first {
                self.refund_soon(&form).await;
            }
            match self.random.random_range(0..100) {
                0..12 => self.repeat_payment().await,
                12..16 => self.send_conflict().await,
                16..19 => self.append_unreadable().await,
                19..44 => self.refund_a_payment().await,
                44..50 => self.repeat_refund().await,
                50..68 => self.cancel_a_payment().await,
                68..72 => self.change_policy().await,
                _ => {}
            }
            self.follow_up_cancels().await;
        }
        while !self.cancels.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.follow_up_cancels().await;
        }
    }

    /// Returns a reply address with a new correlation, for a call about this order.
    fn reply_to(&mut self, key: &OrderKey) -> ReplyTo {
        self.last_correlation += 1;
        self.replies.lock().unwrap().order_of_call.insert(self.last_correlation, key.clone());
        ReplyTo {
            partition: self.random.random_range(INGRESSES),
            correlation: self.last_correlation,
            until: self.clock.now().plus(PATIENCE_MS),
        }
    }

    /// Whether the tokens in records of this shard are protected.
    fn protects_on(&self, shard: Partition) -> bool {
        match self.tokens {
            TokenForm::Clear => false,
            TokenForm::Protected => true,
            TokenForm::AsShardsTake => {
                let version = self.replies.lock().unwrap().protocol_of_shard.get(&shard.index).copied();
                version.is_some_and(|version| version >= PROTECTED_TOKENS_SINCE)
            }
        }
    }

    fn shard_of(&self, key: &OrderKey) -> Partition {
        let shards = u16::try_from(self.session.partitions(Topic::Orders)).unwrap();
        let index = u32::from(key.shard(ShardCount(shards.try_into().unwrap())).0);
        Partition { topic: Topic::Orders, index }
    }

    /// Sends the request, and repeats it until an append is acknowledged, as a POS does when it has
    /// no answer. Half of the time a query follows, which must find the order (I5). Returns the
    /// correlations of the request's replies.
    pub async fn send(&mut self, request: &Request) -> Vec<u64> {
        let shard = self.shard_of(request.key());
        let mut correlations = Vec::new();
        loop {
            let to = self.reply_to(request.key());
            if matches!(request, Request::Pay(_)) {
                self.replies.lock().unwrap().pays.insert(to.correlation);
            }
            correlations.push(to.correlation);
            let keys = self.protects_on(shard).then_some(&self.card_keys);
            let record = request.record(self.clock.now(), to, keys);
            if self.session.append(shard, vec![Entry::plain(record)]).await.is_ok() {
                break;
            }
        }
        if self.random.random_bool(0.5) {
            let to = self.reply_to(request.key());
            self.replies.lock().unwrap().must_be_found.insert(to.correlation);
            let watch = self.random.random_bool(0.3);
            let record = encode_query(self.clock.now(), request.key(), to, watch);
            drop(self.session.append(shard, vec![Entry::plain(record)]));
        }
        correlations
    }

    async fn repeat_payment(&mut self) {
        let form = self.payments.choose(&mut self.random).unwrap().clone();
        self.send(&Request::Pay(form)).await;
    }

    /// Sends another amount under the number of a payment, or a payment under the number of a
    /// refund.
    async fn send_conflict(&mut self) {
        let form = self.payments.choose(&mut self.random).unwrap().clone();
        let refund = self.refunds.choose(&mut self.random).filter(|_| self.last_correlation.is_multiple_of(3));
        let key = refund.map_or(&form.key, |refund| &refund.key).clone();
        let trade_amount = Amount::parse(form.trade_amount.twd() % 1_000 + 1).unwrap();
        self.send(&Request::Pay(PayForm { key, trade_amount, ..form })).await;
    }

    /// Appends bytes that are no record; the router must put those on `orders` in the dead letters.
    async fn append_unreadable(&mut self) {
        let topic = *[Topic::Orders, Topic::WalletTasks, Topic::FiscTasks, Topic::OrderStates]
            .choose(&mut self.random)
            .unwrap();
        let index = self.random.random_range(0..self.session.partitions(topic));
        let key = if topic.is_compacted() { vec![0xff, self.random.random()] } else { Vec::new() };
        let entry = Entry { key: key.into(), value: Some(vec![0xff; 9].into()) };
        let landed = self.session.append(Partition { topic, index }, vec![entry]).await.is_ok();
        self.replies.lock().unwrap().unreadable_count += usize::from(landed && topic == Topic::Orders);
    }
}
