//! When to inquire at an issuer: with growing spacing and jitter, and never during its announced
//! maintenance. The jitter is computed from the TradeNo, so that every router computes the same
//! time.

use twqr_types::{TradeNo, UnixMs};

use crate::IssuerRules;

/// The time of the next inquiry, if `inquiries` were sent before `now`. The first inquiry after the
/// window is moved to just after its end, because from then on the answer "not known" proves
/// absence.
pub(crate) fn next_check(
    now: UnixMs,
    inquiries: u32,
    number: TradeNo,
    absent_after: UnixMs,
    rules: &IssuerRules,
) -> UnixMs {
    let delay = spacing(inquiries, rules.resolution.first_delay_ms, rules.resolution.delay_max_ms);
    let jitter = jitter(number, inquiries, delay / 4);
    let next = now.plus(delay + jitter);
    let next = if now < absent_after && next > absent_after { absent_after.plus(1 + jitter % 100) } else { next };
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
            .map(|n| next_check(UnixMs(1_000_000), n, number, UnixMs(0), &rules(Vec::new())).since(UnixMs(1_000_000)))
            .collect();
        for (n, delay) in delays.iter().enumerate() {
            let base = (1_000_i64 << n.min(30)).min(60_000);
            assert!((base..=base + base / 4).contains(delay), "inquiry {n}: {delay} ms");
        }
        let other = TradeNo::new(ShardId(1), 43, UnixMs(0));
        assert_ne!(
            next_check(UnixMs(0), 3, number, UnixMs(0), &rules(Vec::new())),
            next_check(UnixMs(0), 3, other, UnixMs(0), &rules(Vec::new()))
        );
    }

    #[test]
    fn the_first_inquiry_after_the_window_is_sent_right_after_its_end() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let at = next_check(UnixMs(9_500), 4, number, UnixMs(10_000), &rules(Vec::new()));
        assert!((UnixMs(10_001)..=UnixMs(10_100)).contains(&at), "{at:?}");
    }

    #[test]
    fn no_inquiry_is_sent_during_maintenance() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let window = |from, to| Window { from: UnixMs(from), to: UnixMs(to) };
        let touching = rules(vec![window(500, 9_000), window(9_000, 20_000)]);
        let at = next_check(UnixMs(0), 0, number, UnixMs(0), &touching);
        assert!((UnixMs(20_000)..=UnixMs(20_250)).contains(&at), "{at:?}");
    }
}
