//! Repeats of a payment. Equal requests that arrive while the first one is pending share its
//! answer; later ones get the cached answer at once. The order machine decides about repeats; this
//! cache only saves work. A request that is not in the cache, or differs from the cached one, goes
//! to the router.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use twqr_dedupe::{Cache, Inserted, Key, KeyHasher};
use twqr_types::{KeyName, OrderKey, PayForm, RecordedToken};

use crate::router_client::OrderView;

/// The progress of the first request of a payment.
#[derive(Clone, Debug)]
pub(crate) enum FirstState {
    /// It is pending; with the order in the newest reply, if one has arrived.
    Pending(Option<OrderView>),
    /// It has its final answer.
    Final(OrderView),
    /// It ended without a final answer: another request must ask the router.
    Abandoned,
}

/// The cached part of the first request of a payment.
struct FirstRequest {
    /// A hash of all fields that must be equal in a repeat. Nothing else is kept of the card token.
    digest: Key,
    state: watch::Sender<FirstState>,
}

/// The first requests of the latest payments.
pub(crate) struct Repeats {
    hasher: KeyHasher,
    requests: Cache<Arc<FirstRequest>>,
    /// Payments that were requested and whose first call ended without a final answer.
    unanswered: Cache<()>,
    /// How often the policy changed. It is a part of every digest, so that no request equals one
    /// from before a change.
    policy_changes: AtomicU64,
}

/// How a payment request relates to earlier ones under its number.
pub(crate) enum Turn {
    /// It is the first: it asks the router, and shares the answer.
    First(First),
    /// It equals the first request, whose state it follows.
    Repeat(watch::Receiver<FirstState>),
    /// It differs from the first request: the router names the fields.
    Different,
}

/// Held by the first request while it asks the router. If it is dropped without a final answer, the
/// repeats are notified, and one of them asks the router next.
pub(crate) struct First {
    repeats: Arc<Repeats>,
    key: Key,
    request: Arc<FirstRequest>,
    is_appended: AtomicBool,
}

impl Repeats {
    /// A cache of two generations with `size` payments each.
    pub(crate) fn new(size: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self {
            hasher: KeyHasher::new(rand::random()),
            requests: Cache::new(size),
            unanswered: Cache::new(size),
            policy_changes: AtomicU64::new(0),
        })
    }

    /// Finds out whether a payment request is a repeat, and remembers it if it is the first.
    pub(crate) fn turn(self: &Arc<Self>, form: &PayForm, signed_by: Option<&KeyName>) -> Turn {
        let key = self.key(&form.key);
        let digest = self.digest(form, signed_by);
        let request = Arc::new(FirstRequest { digest, state: watch::Sender::new(FirstState::Pending(None)) });
        match self.requests.insert_if_absent(key, request.clone()) {
            Inserted::New => {
                Turn::First(First { repeats: self.clone(), key, request, is_appended: AtomicBool::new(false) })
            }
            Inserted::Present(first) if first.digest == digest => Turn::Repeat(first.state.subscribe()),
            Inserted::Present(_) => Turn::Different,
        }
    }

    /// Forgets a payment that is being cancelled: its remembered answer is no longer valid.
    /// Requests that already follow the first one still get its answer.
    pub(crate) fn forget(&self, key: &OrderKey) {
        self.requests.remove_if(self.key(key), |_| true);
    }

    /// Makes every remembered answer invalid: the policy changed.
    pub(crate) fn forget_all(&self) {
        self.policy_changes.fetch_add(1, Ordering::Relaxed);
    }

    fn key(&self, key: &OrderKey) -> Key {
        self.hasher.key(&[key.merchant_id.as_str().as_bytes(), key.merchant_trade_no.as_str().as_bytes()])
    }

    /// Hashes the fields that the order machine compares (`proto/README.md`, section Repeats). The
    /// key that signed the request is included: an answer is shared only with callers that sign
    /// with the same key, since the policy may refuse another one.
    fn digest(&self, form: &PayForm, signed_by: Option<&KeyName>) -> Key {
        self.hasher.key(&[
            form.store_id.as_str().as_bytes(),
            card_token(form),
            &form.trade_amount.twd().to_be_bytes(),
            &form.un_redeem.twd().to_be_bytes(),
            signed_by.map_or(&[], |name| name.as_str().as_bytes()),
            &self.policy_changes.load(Ordering::Relaxed).to_be_bytes(),
        ])
    }
}

/// The part of the card token that must be equal. A caller's own request has it in plain text.
fn card_token(form: &PayForm) -> &[u8] {
    match &form.card_token {
        RecordedToken::Clear(token) => token.expose().as_bytes(),
        RecordedToken::Protected(token) => token.macs.first().map_or(&[], |mac| &mac.bytes),
    }
}

impl First {
    /// Whether an earlier call requested the payment and ended without a final answer.
    pub(crate) fn is_accepted(&self) -> bool {
        self.repeats.unanswered.get(self.key).is_some()
    }

    /// The record was appended: from now on a repeat is about an order that may be accepted.
    pub(crate) fn appended(&self) {
        self.is_appended.store(true, Ordering::Relaxed);
    }

    /// Shares the order as it is now, without a result.
    pub(crate) fn update(&self, view: &OrderView) {
        self.request.state.send_replace(FirstState::Pending(Some(view.clone())));
    }

    /// Shares the final answer, which stays remembered.
    pub(crate) fn finish(self, view: OrderView) {
        self.request.state.send_replace(FirstState::Final(view));
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let has_answer = matches!(*self.request.state.borrow(), FirstState::Final(_));
        if !has_answer {
            if self.is_appended.load(Ordering::Relaxed) {
                self.repeats.unanswered.insert_if_absent(self.key, ());
            }
            self.repeats.requests.remove_if(self.key, |request| Arc::ptr_eq(request, &self.request));
            self.request.state.send_replace(FirstState::Abandoned);
        }
    }
}
