//! Fairness: limits how much of this ingress one caller, and one merchant, may use. Calls above a
//! limit are refused before anything is appended, so that a flood by one does not affect the
//! others.
//!
//! Rates are counted by GCRA (the generic cell rate algorithm): one time for each name, and up to a
//! second's calls at once. Names are hashed to a bounded number of slots, so a flood of names does
//! not take more memory; two names with the same slot share its limits.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;
use twqr_callers::CallerLimits;
use twqr_service::LogThrottle;

use crate::{
    metrics,
    refusal::{Limited, Opened, Refusal},
};

/// How many places there are for callers, and for merchants.
const PLACES: u64 = 1 << 18;
/// Idle places are looked for when there are so many in use, and then twice those that are left.
const SWEEP_LEN_MIN: usize = 4_096;
/// How many calls may come at once, as the time in which they would come evenly.
const BURST: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about refused calls, in ms.
const LOG_MS: u64 = 1_000;
/// The delay after which a call may be sent again that was one too many at once.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How much of an ingress one name may use; without a number there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseLimits {
    /// Calls per second: 1 to 1,000,000.
    pub calls_per_s: Option<NonZeroU32>,
    /// Calls at once: 1 to 1,000,000.
    pub calls_max: Option<NonZeroU32>,
}

/// The limits of each caller and of each merchant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FairnessSettings {
    /// Of a caller that has no limits of its own.
    pub caller: UseLimits,
    /// Of a merchant, over all its callers.
    pub merchant: UseLimits,
    /// How many streams of payments a caller may have open at once.
    pub caller_streams_max: Option<NonZeroU32>,
    /// How many watches of orders a caller may have open at once.
    pub caller_watches_max: Option<NonZeroU32>,
}

/// The calls of callers and merchants.
pub(crate) struct Fairness {
    settings: FairnessSettings,
    callers: Arc<Uses>,
    merchants: Arc<Uses>,
    streams: Arc<Uses>,
    watches: Arc<Uses>,
    log: Mutex<LogThrottle>,
}

impl Fairness {
    pub(crate) fn new(settings: FairnessSettings) -> Self {
        let log = Mutex::new(LogThrottle::every_ms(LOG_MS));
        let [callers, merchants, streams, watches] = [(); 4].map(|()| Arc::default());
        Self { settings, callers, merchants, streams, watches, log }
    }

    /// Begins a call of a caller. The call ends when what is returned is dropped.
    pub(crate) fn begin_caller(&self, name: &str, own: CallerLimits) -> Result<Use, Refusal> {
        let or = |own: Option<u32>, default| own.and_then(NonZeroU32::new).or(default);
        let UseLimits { calls_per_s, calls_max } = self.settings.caller;
        let limits =
            UseLimits { calls_per_s: or(own.calls_per_s, calls_per_s), calls_max: or(own.calls_max, calls_max) };
        self.callers.begin(name, limits).map_err(|excess| self.refused(Limited::Caller, name, excess))
    }

    /// Opens a stream or a watch of a caller. It is closed when what is returned is dropped: these
    /// stay open for as long as a caller likes, so they are no calls in progress.
    pub(crate) fn open(&self, what: Opened, name: &str) -> Result<Use, Refusal> {
        let FairnessSettings { caller_streams_max, caller_watches_max, .. } = self.settings;
        let (open, calls_max) = match what {
            Opened::Stream => (&self.streams, caller_streams_max),
            Opened::Watch => (&self.watches, caller_watches_max),
        };
        open.begin(name, UseLimits { calls_per_s: None, calls_max }).map_err(|_| {
            self.report(Limited::Caller, what.name(), name);
            Refusal::TooManyOpen(what)
        })
    }

    /// Begins a call for a merchant.
    pub(crate) fn begin_merchant(&self, merchant_id: &str) -> Result<Use, Refusal> {
        let begun = self.merchants.begin(merchant_id, self.settings.merchant);
        begun.map_err(|excess| self.refused(Limited::Merchant, merchant_id, excess))
    }

    fn refused(&self, of: Limited, name: &str, excess: Excess) -> Refusal {
        match excess {
            Excess::Calls => {
                self.report(of, "concurrency", name);
                Refusal::ConcurrencyExceeded(of, RETRY_AFTER)
            }
            Excess::Rate(after) => {
                self.report(of, "rate", name);
                Refusal::RateExceeded(of, after)
            }
        }
    }

    /// Counts a refusal, and logs it if none was logged a moment ago.
    fn report(&self, of: Limited, kind: &'static str, name: &str) {
        metrics::limited(of, kind);
        if let Some(suppressed) = self.log.lock().unwrap_or_else(PoisonError::into_inner).permit() {
            let name = loggable(of, name);
            warn!(?of, kind, name, suppressed, "a call was refused: its caller or merchant has reached a limit");
        }
    }
}

/// The name that may be logged. That of a caller is configured. A MerchantID is still what the
/// request says: text of any kind, such as a card token in the wrong field.
fn loggable(of: Limited, name: &str) -> Option<&str> {
    match of {
        Limited::Caller => Some(name),
        Limited::Merchant => None,
    }
}

/// The reason why a call is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excess {
    /// Too many calls at once.
    Calls,
    /// Too many calls per second; the next one may begin after this time.
    Rate(Duration),
}

/// A call in progress.
pub(crate) struct Use(Option<(Arc<Uses>, u64)>);

impl Drop for Use {
    fn drop(&mut self) {
        if let Some((uses, place)) = self.0.take() {
            uses.end(place);
        }
    }
}

/// The calls of names.
#[derive(Default)]
struct Uses {
    hash: RandomState,
    places: Mutex<UsedPlaces>,
}

#[derive(Default)]
struct UsedPlaces {
    used: HashMap<u64, Place>,
    sweep_at: usize,
}

/// One place; it is idle, and need not be kept, once no call is in progress and `next` is past.
#[derive(Clone, Copy)]
struct Place {
    calls: u32,
    /// When the next call would come, if all came evenly.
    next: Instant,
}

impl Uses {
    fn begin(self: &Arc<Self>, name: &str, limits: UseLimits) -> Result<Use, Excess> {
        if limits == UseLimits::default() {
            return Ok(Use(None));
        }
        let (at, now) = (self.hash.hash_one(name) % PLACES, Instant::now());
        let mut places = self.places();
        places.sweep(now);
        let mut place = places.used.get(&at).copied().unwrap_or(Place { calls: 0, next: now });
        if limits.calls_max.is_some_and(|most| place.calls >= most.get()) {
            return Err(Excess::Calls);
        }
        if let Some(rate) = limits.calls_per_s {
            let next = place.next.max(now) + Duration::from_secs(1) / rate.get();
            let excess = next.duration_since(now).saturating_sub(BURST);
            if !excess.is_zero() {
                return Err(Excess::Rate(excess));
            }
            place.next = next;
        }
        place.calls += 1;
        places.used.insert(at, place);
        Ok(Use(Some((self.clone(), at))))
    }

    fn end(&self, at: u64) {
        if let Entry::Occupied(mut place) = self.places().used.entry(at) {
            place.get_mut().calls -= 1;
            if place.get().is_idle(Instant::now()) {
                place.remove();
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, UsedPlaces> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsedPlaces {
    /// Drops idle places, if many are in use.
    fn sweep(&mut self, now: Instant) {
        if self.used.len() >= self.sweep_at.max(SWEEP_LEN_MIN) {
            self.used.retain(|_, place| !place.is_idle(now));
            self.sweep_at = self.used.len() * 2;
        }
    }
}

impl Place {
    fn is_idle(&self, now: Instant) -> bool {
        self.calls == 0 && self.next <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(calls_per_s: u32, calls_max: u32) -> UseLimits {
        UseLimits { calls_per_s: NonZeroU32::new(calls_per_s), calls_max: NonZeroU32::new(calls_max) }
    }

    fn of_merchants(merchant: UseLimits) -> Fairness {
        Fairness::new(FairnessSettings { merchant, ..FairnessSettings::default() })
    }

    #[test]
    fn text_of_a_request_is_not_logged() {
        assert_eq!(loggable(Limited::Caller, "shop"), Some("shop"));
        assert_eq!(loggable(Limited::Merchant, "22abcdefghijklmnop"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_by_one_takes_nothing_from_another() {
        let fairness = of_merchants(limits(100, 0));
        let (mut flood, mut other) = (0, 0);
        for ms in 0..10_000 {
            flood += (0..10).filter(|_| fairness.begin_merchant("flood").is_ok()).count();
            if ms % 20 == 0 {
                other += usize::from(fairness.begin_merchant("other").is_ok());
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(other, 500, "every call of the other one");
        assert!((1_090..=1_100).contains(&flood), "ten seconds at 100/s and a burst of 100, of 100,000: {flood}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_may_begin_after_the_delay_that_it_is_told() {
        let fairness = of_merchants(limits(10, 0));
        while fairness.begin_merchant("m").is_ok() {}
        let Err(Refusal::RateExceeded(Limited::Merchant, after)) = fairness.begin_merchant("m") else { panic!() };
        assert_eq!(after, Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(99)).await;
        assert!(fairness.begin_merchant("m").is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(fairness.begin_merchant("m").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_are_limited_until_one_ends() {
        let fairness = of_merchants(limits(0, 2));
        let begun: Vec<_> = (0..2).map(|_| fairness.begin_merchant("m").ok().unwrap()).collect();
        let refused = fairness.begin_merchant("m").err();
        assert_eq!(refused, Some(Refusal::ConcurrencyExceeded(Limited::Merchant, RETRY_AFTER)));
        assert!(fairness.begin_merchant("n").is_ok());
        drop(begun);
        assert!(fairness.begin_merchant("m").is_ok());
        assert!(fairness.merchants.places().used.is_empty(), "idle places are not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_and_watches_have_limits_of_their_own() {
        let (caller_streams_max, caller_watches_max) = (NonZeroU32::new(2), NonZeroU32::new(1));
        let caller = limits(0, 1);
        let settings =
            FairnessSettings { caller, caller_streams_max, caller_watches_max, ..FairnessSettings::default() };
        let fairness = Fairness::new(settings);
        let _call = fairness.begin_caller("c", CallerLimits::default()).ok().unwrap();
        for (what, most) in [(Opened::Stream, 2), (Opened::Watch, 1)] {
            let open: Vec<_> = (0..most).map(|_| fairness.open(what, "c").ok().unwrap()).collect();
            assert_eq!(fairness.open(what, "c").err(), Some(Refusal::TooManyOpen(what)));
            assert!(fairness.open(what, "d").is_ok(), "another caller has its own");
            drop(open);
            assert!(fairness.open(what, "c").is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_own_limits_replace_the_defaults() {
        let settings = FairnessSettings { caller: limits(1, 0), ..FairnessSettings::default() };
        let fairness = Fairness::new(settings);
        let own = CallerLimits { calls_per_s: Some(5), calls_max: None };
        let begun = |own| (0..10).filter(|_| fairness.begin_caller("c", own).is_ok()).count();
        assert_eq!(begun(own), 5);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(begun(CallerLimits::default()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_takes_bounded_memory() {
        let fairness = of_merchants(limits(1_000, 0));
        for round in 0..20 {
            for name in 0..10_000 {
                drop(fairness.begin_merchant(&format!("{round}-{name}")));
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let used = fairness.merchants.places().used.len();
        assert!(used <= 3 * 10_000, "{used} of 200,000 names are kept");
    }
}
