//! Repeats of payments: an equal request whose answer is known is answered at once, one whose first call still runs joins it. This
//! only spares the router work: whatever is in doubt goes to the router, which alone decides.

mod cache;

use std::{
    hash::Hasher,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};

use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::sync::Notify;
use twqr_types::PayForm;

use crate::view::PayView;
use cache::{Cache, Inserted};

/// The payments that this process knows of.
pub(crate) struct Repeats {
    cache: Cache<Arc<Flight>>,
    /// Keyed at random, so that nobody can make two requests look equal.
    hasher: SipHasher13,
}

/// The first call for a payment, as its repeats see it.
pub(crate) struct Flight {
    fingerprint: u128,
    /// Where the first call waits: what is known meanwhile stands there.
    correlation: u64,
    /// The final state, or none where the first call ended without one.
    ended: OnceLock<Option<Arc<PayView>>>,
    bell: Notify,
}

/// How a payment request stands to those before it.
pub(crate) enum Standing<'a> {
    /// None before it is known.
    First(Lead<'a>),
    /// An equal one came before, and this is its final state.
    Known(Arc<PayView>),
    /// An equal one is being answered.
    Running(Arc<Flight>),
    /// One with other fields came before.
    Different,
}

/// The duty to tell the repeats how the first call ended; dropping it tells them to ask for themselves.
pub(crate) struct Lead<'a> {
    repeats: &'a Repeats,
    key: u128,
    flight: Arc<Flight>,
}

impl Repeats {
    /// Keeps about as many payments.
    pub(crate) fn new(kept: NonZeroUsize) -> Self {
        Self { cache: Cache::new(kept), hasher: SipHasher13::new_with_key(&rand::random()) }
    }

    /// Finds what came before under the key of the form. A first call waits under `correlation`.
    pub(crate) fn enter(&self, form: &PayForm, correlation: u64) -> Standing<'_> {
        let key = self.key(form);
        let fingerprint = self.fingerprint(form);
        let flight = Flight { fingerprint, correlation, ended: OnceLock::new(), bell: Notify::new() };
        let flight = Arc::new(flight);
        match self.cache.insert_if_absent(key, Arc::clone(&flight)) {
            Inserted::New => Standing::First(Lead { repeats: self, key, flight }),
            Inserted::Present(other) if other.fingerprint != fingerprint => Standing::Different,
            Inserted::Present(other) => match other.ended.get() {
                Some(Some(view)) => Standing::Known(Arc::clone(view)),
                Some(None) | None => Standing::Running(other),
            },
        }
    }

    fn key(&self, form: &PayForm) -> u128 {
        self.hash(|hasher| {
            text(hasher, form.key.merchant_id.as_str());
            text(hasher, form.key.merchant_trade_no.as_str());
        })
    }

    /// Over what the router compares, and what an answer to another request would echo wrongly.
    fn fingerprint(&self, form: &PayForm) -> u128 {
        self.hash(|hasher| {
            text(hasher, form.store_id.as_str());
            text(hasher, form.gateway_trade_no.as_str());
            text(hasher, form.card_token.expose());
            hasher.write_i64(form.trade_amount.twd());
            hasher.write_i64(form.un_redeem.twd());
        })
    }

    fn hash(&self, write: impl FnOnce(&mut SipHasher13)) -> u128 {
        let mut hasher = self.hasher;
        write(&mut hasher);
        hasher.finish128().as_u128()
    }
}

/// With its length, so that two texts never run into each other.
fn text(hasher: &mut SipHasher13, text: &str) {
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

impl Flight {
    /// Where the first call waits.
    pub(crate) fn correlation(&self) -> u64 {
        self.correlation
    }

    /// Waits until the first call has ended; none: without a final state.
    pub(crate) async fn ended(&self) -> Option<Arc<PayView>> {
        let mut bell = std::pin::pin!(self.bell.notified());
        bell.as_mut().enable();
        if self.ended.get().is_none() {
            bell.await;
        }
        self.ended.get().cloned().flatten()
    }

    fn end(&self, view: Option<Arc<PayView>>) {
        if self.ended.set(view).is_ok() {
            self.bell.notify_waiters();
        }
    }
}

impl Lead<'_> {
    /// The final state is known: this and later repeats get it.
    pub(crate) fn settle(self, view: Arc<PayView>) {
        self.flight.end(Some(view));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.flight.ended.get().is_none() {
            self.repeats.cache.remove_if(self.key, |present| Arc::ptr_eq(present, &self.flight));
            self.flight.end(None);
        }
    }
}

#[cfg(test)]
mod tests;
