//! When to ask about an order again: growing spacing with jitter. The jitter comes from the order's number, so that every
//! owner computes the same time.

use twqr_types::{TradeNo, UnixMs};

use crate::Resolution;

/// The time of the inquiry after `inquiries` ones, counted from `now`. The last one before the window's end is put off to just
/// after it, because only then "not known" proves anything.
pub(crate) fn next_check(
    now: UnixMs,
    inquiries: u32,
    number: TradeNo,
    absent_after: UnixMs,
    rules: Resolution,
) -> UnixMs {
    let doubled = rules.first_delay_ms.saturating_mul(1_i64 << inquiries.min(30));
    let delay = doubled.min(rules.delay_max_ms);
    let jitter = jitter(number, inquiries, delay / 4);
    let next = now.plus(delay + jitter);
    if now < absent_after && next > absent_after { absent_after.plus(1 + jitter % 100) } else { next }
}

/// 0 up to `bound` ms, by number and round (splitmix64).
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
    use twqr_types::ShardId;

    const RULES: Resolution = Resolution { window_ms: 5_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };

    #[test]
    fn spacing_grows_to_its_maximum_and_is_spread() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let delays: Vec<i64> = (0..40)
            .map(|n| next_check(UnixMs(1_000_000), n, number, UnixMs(0), RULES).since(UnixMs(1_000_000)))
            .collect();
        for (n, delay) in delays.iter().enumerate() {
            let base = (1_000_i64 << n.min(30)).min(60_000);
            assert!((base..=base + base / 4).contains(delay), "inquiry {n}: {delay} ms");
        }
        let other = TradeNo::new(ShardId(1), 43, UnixMs(0));
        assert_ne!(
            next_check(UnixMs(0), 3, number, UnixMs(0), RULES),
            next_check(UnixMs(0), 3, other, UnixMs(0), RULES)
        );
    }

    #[test]
    fn the_inquiry_that_would_leap_over_the_end_of_the_window_comes_right_after_it() {
        let number = TradeNo::new(ShardId(1), 42, UnixMs(0));
        let at = next_check(UnixMs(9_500), 4, number, UnixMs(10_000), RULES);
        assert!((UnixMs(10_001)..=UnixMs(10_100)).contains(&at), "{at:?}");
    }
}
