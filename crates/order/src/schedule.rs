//! When to inquire at an issuer: with growing spacing and jitter, and never during its announced
//! maintenance. The jitter is computed from the TradeNo, so that every router computes the same
//! time.

use twqr_types::{TradeNo, UnixMs};

use crate::IssuerRules;

/// The spacing of inquiries grows with the age of what is inquired about, up to this, in ms; the
/// policy's own maximum may be larger.
const AGED_SPACING_MS_MAX: i64 = 6 * 3_600_000;
/// The delays before a reversal that the issuer refused is sent again, in ms; they double from the
/// minimum to the maximum.
const REFUSED_RETRY_MS_MIN: i64 = 60_000;
const REFUSED_RETRY_MS_MAX: i64 = 6 * 3_600_000;

/// The time of the next inquiry, if `inquiries` were sent before `now`. The first inquiry after the
/// window is moved to just after its end, because from then on the answer "not known" proves
/// absence. With `aged_from`, the spacing is at least [`aged_spacing`].
pub(crate) fn next_check(
    now: UnixMs,
    inquiries: u32,
    number: TradeNo,
    absent_after: UnixMs,
    rules: &IssuerRules,
    aged_from: Option<UnixMs>,
) -> UnixMs {
    let delay = spacing(inquiries, rules.resolution.first_delay_ms, rules.resolution.delay_max_ms);
    let delay = aged_from.map_or(delay, |from| delay.max(aged_spacing(now, from)));
    let jitter = jitter(number, inquiries, delay / 4);
    let next = now.plus(delay + jitter);
    let next = if now < absent_after && next > absent_after { absent_after.plus(1 + jitter % 100) } else { next };
    rules.maintenance_until(next).map_or(next, |end| end.plus(jitter))
}

/// An eighth of the age in ms, at most [`AGED_SPACING_MS_MAX`]. So an issuer that recovers is asked
/// soon after a short outage, and about a few dozen times in all after days.
pub(crate) fn aged_spacing(now: UnixMs, from: UnixMs) -> i64 {
    (now.since(from) / 8).clamp(0, AGED_SPACING_MS_MAX)
}

/// The time at which a reversal is sent again after the issuer refused it, if `attempts` were sent
/// before `now`.
pub(crate) fn retry_after_refusal(now: UnixMs, attempts: u32, number: TradeNo, rules: &IssuerRules) -> UnixMs {
    let delay = spacing(attempts.saturating_sub(1), REFUSED_RETRY_MS_MIN, REFUSED_RETRY_MS_MAX);
    let jitter = jitter(number, attempts, delay / 4);
    let next = now.plus(delay + jitter);
    rules.maintenance_until(next).map_or(next, |end| end.plus(jitter))
}

/// The spacing in ms: the first delay, doubled `round` times, up to the maximum.
pub(crate) fn spacing(round: u32, first_ms: i64, max_ms: i64) -> i64 {
    first_ms.saturating_mul(1_i64 << round.min(30)).min(max_ms)
}

/// A jitter of 0 to `bound` ms that depends only on number and round (splitmix64).
fn jitter(number: TradeNo, round: u32, bound: i64) -> i64 {
    let mixed = number.offset() ^ u64::from(number.shard().0) << 48 ^ u64::from(round) << 32;
    let mut z = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % (bound.max(0).cast_unsigned() + 1)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Resolution, Window};
    use twqr_types::{Issuer, ShardId};

    fn rules(maintenance: Vec<Window>) -> IssuerRules {
        let resolution = Resolution { window_ms: 5_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };
        IssuerRules { resolution, maintenance, ..IssuerRules::default_of(Issuer::Wallet) }
    }

    #[test]
    fn spacing_grows_to_its_maximum_and_has_jitter() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let delays: Vec<i64> = (0..40)
            .map(|n| {
                next_check(UnixMs(1_000_000), n, number, UnixMs(0), &rules(Vec::new()), None).since(UnixMs(1_000_000))
            })
            .collect();
        for (n, delay) in delays.iter().enumerate() {
            let base = (1_000_i64 << n.min(30)).min(60_000);
            assert!((base..=base + base / 4).contains(delay), "inquiry {n}: {delay} ms");
        }
        let other = TradeNo::new(ShardId(1), 43, UnixMs(0));
        assert_ne!(
            next_check(UnixMs(0), 3, number, UnixMs(0), &rules(Vec::new()), None),
            next_check(UnixMs(0), 3, other, UnixMs(0), &rules(Vec::new()), None)
        );
    }

    #[test]
    fn the_first_inquiry_after_the_window_is_sent_right_after_its_end() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let at = next_check(UnixMs(9_500), 4, number, UnixMs(10_000), &rules(Vec::new()), None);
        assert!((UnixMs(10_001)..=UnixMs(10_100)).contains(&at), "{at:?}");
    }

    #[test]
    fn spacing_follows_the_age_once_that_is_more_than_the_policy_says() {
        const MINUTE: i64 = 60_000;
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        for (age, spacing) in [
            (0, MINUTE),
            (8 * MINUTE, MINUTE),
            (16 * MINUTE, 2 * MINUTE),
            (8 * 60 * MINUTE, 60 * MINUTE),
            (48 * 60 * MINUTE, 360 * MINUTE),
            (480 * 60 * MINUTE, 360 * MINUTE),
        ] {
            let at = next_check(UnixMs(age), 20, number, UnixMs(0), &rules(Vec::new()), Some(UnixMs(0)));
            assert!((spacing..=spacing + spacing / 4).contains(&(at.0 - age)), "after {age} ms: {}", at.0 - age);
        }
    }

    #[test]
    fn a_refused_reversal_is_sent_again_after_a_minute_and_then_more_and_more_rarely() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        for (attempts, minutes) in [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 360), (1_000, 360)] {
            let (at, delay) = (retry_after_refusal(UnixMs(0), attempts, number, &rules(Vec::new())), minutes * 60_000);
            assert!((delay..=delay + delay / 4).contains(&at.0), "after {attempts} attempts: {at:?}");
        }
        let closed = rules(vec![Window { from: UnixMs(0), to: UnixMs(90_000_000) }]);
        assert!(retry_after_refusal(UnixMs(0), 1, number, &closed) >= UnixMs(90_000_000));
    }

    #[test]
    fn no_inquiry_is_sent_during_maintenance() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let window = |from, to| Window { from: UnixMs(from), to: UnixMs(to) };
        let touching = rules(vec![window(500, 9_000), window(9_000, 20_000)]);
        let at = next_check(UnixMs(0), 0, number, UnixMs(0), &touching, None);
        assert!((UnixMs(20_000)..=UnixMs(20_250)).contains(&at), "{at:?}");
    }
}
