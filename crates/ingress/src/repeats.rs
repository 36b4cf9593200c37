//! Repeats of a payment: equal ones in flight wait for one call's answer, later ones get it at
//! once. The router decides; this only spares it work: what is not here, or not equal, goes to the
//! router.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use twqr_dedupe::{Cache, Inserted, Key, KeyHasher};
use twqr_types::{KeyName, OrderKey, PayForm};

use crate::ask::Seen;

/// What is known of a payment's first call.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It waits; the order as last seen, if at all.
    Waits(Option<Seen>),
    /// It has its final answer.
    Final(Seen),
    /// It went away without one: somebody else must ask.
    Left,
}

/// The first call for a payment.
pub(crate) struct Call {
    /// Over everything that must be equal in a repeat; the card token is in it only so.
    digest: Key,
    known: watch::Sender<Known>,
}

/// The calls of the last payments.
pub(crate) struct Repeats {
    hasher: KeyHasher,
    calls: Cache<Arc<Call>>,
    /// How often the rules changed: a call under earlier ones is no longer equal to any.
    rules: AtomicU64,
}

/// What a payment is.
pub(crate) enum Turn {
    /// The first: it asks the router.
    First(First),
    /// Equal to one that is known.
    Repeat(watch::Receiver<Known>),
    /// Another request under the number of a known one: the router says what differs.
    Other,
}

/// The first call's duty: whatever happens, those who wait for it hear of it.
pub(crate) struct First {
    repeats: Arc<Repeats>,
    key: Key,
    call: Arc<Call>,
}

impl Repeats {
    /// Two generations of `size` payments.
    pub(crate) fn new(size: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { hasher: KeyHasher::new(rand::random()), calls: Cache::new(size), rules: AtomicU64::new(0) })
    }

    /// Whose turn it is.
    pub(crate) fn turn(self: &Arc<Self>, form: &PayForm, signed_by: Option<&KeyName>) -> Turn {
        let key = self
            .hasher
            .key(&[form.key.merchant_id.as_str().as_bytes(), form.key.merchant_trade_no.as_str().as_bytes()]);
        let digest = self.digest(form, signed_by);
        let call = Arc::new(Call { digest, known: watch::Sender::new(Known::Waits(None)) });
        match self.calls.insert_if_absent(key, call.clone()) {
            Inserted::New => Turn::First(First { repeats: self.clone(), key, call }),
            Inserted::Present(there) if there.digest == digest => Turn::Repeat(there.known.subscribe()),
            Inserted::Present(_) => Turn::Other,
        }
    }

    /// The payment is being cancelled: what is remembered of it is no longer the answer. Calls that
    /// wait for the first one still hear of it.
    pub(crate) fn forget(&self, key: &OrderKey) {
        self.forget_numbers(key.merchant_id.as_str(), key.merchant_trade_no.as_str());
    }

    /// The same by MerchantID and MerchantTradeNo.
    pub(crate) fn forget_numbers(&self, merchant_id: &str, merchant_trade_no: &str) {
        self.calls.remove_if(self.hasher.key(&[merchant_id.as_bytes(), merchant_trade_no.as_bytes()]), |_| true);
    }

    /// Other rules hold: whatever is remembered, the router is asked again.
    pub(crate) fn forget_all(&self) {
        self.rules.fetch_add(1, Ordering::Relaxed);
    }

    /// What the order machine compares, too (POS API, section 4), and whose answer it is: only who
    /// signed with the same key, under the same rules, gets it without the router.
    fn digest(&self, form: &PayForm, signed_by: Option<&KeyName>) -> Key {
        self.hasher.key(&[
            form.store_id.as_str().as_bytes(),
            form.card_token.expose().as_bytes(),
            &form.trade_amount.twd().to_be_bytes(),
            &form.un_redeem.twd().to_be_bytes(),
            signed_by.map_or(&[], |name| name.as_str().as_bytes()),
            &self.rules.load(Ordering::Relaxed).to_be_bytes(),
        ])
    }
}

impl First {
    /// The order as it is now, not final.
    pub(crate) fn seen(&self, seen: &Seen) {
        self.call.known.send_replace(Known::Waits(Some(seen.clone())));
    }

    /// The final answer.
    pub(crate) fn ended(self, seen: Seen) {
        self.call.known.send_replace(Known::Final(seen));
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let left = !matches!(*self.call.known.borrow(), Known::Final(_));
        if left {
            self.repeats.calls.remove_if(self.key, |call| Arc::ptr_eq(call, &self.call));
            self.call.known.send_replace(Known::Left);
        }
    }
}
