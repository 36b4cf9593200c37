//! The trace context of a record (W3C Trace Context): the trace that the record belongs to, and the
//! span that caused it. It is stored in a record together with the hops, and no decision depends on
//! it.

use std::fmt;

use twqr_types::OrderKey;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The header with which a caller passes its trace context on.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// The number of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The number of a span within its trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// A span, as the records and spans that it causes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace that has the span.
    pub trace_id: TraceId,
    /// The span's own number.
    pub span_id: SpanId,
    /// Whether each process exports its spans of the trace.
    pub is_sampled: bool,
}

impl TraceId {
    /// A number; `None` for 0.
    pub const fn new(id: u128) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The trace of an order whose caller passes none on. Every process can compute it from the
    /// order's key, so an inquiry of a later day belongs to the trace of the payment. Never change
    /// the hash: builds that run beside each other would not find their traces.
    pub fn of_order(key: &OrderKey) -> Self {
        Self(xxh3_128(&key.to_bytes()).max(1))
    }

    /// The trace of a record about an order, for log lines: the one that it carries, or else the
    /// order's own.
    pub fn of_record(carried: Option<TraceContext>, key: &OrderKey) -> Self {
        carried.map_or_else(|| Self::of_order(key), |context| context.trace_id)
    }

    /// Returns the number.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Whether the trace is among this share of all traces, 0 to 1. Every process finds the same.
    pub fn is_in_share(self, share: f64) -> bool {
        const RANDOM_BITS: u32 = 56;
        let random = (self.0 & ((1 << RANDOM_BITS) - 1)) as f64;
        random < share * (1_u64 << RANDOM_BITS) as f64
    }
}

impl SpanId {
    /// A number; `None` for 0.
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The span of the router about one record, by the record's position: a router that applies the
    /// record again has the same one, so its effects are the same.
    pub fn of_record(trace: TraceId, shard: u32, offset: u64) -> Self {
        let mut bytes = [0; 28];
        bytes[..16].copy_from_slice(&trace.0.to_be_bytes());
        bytes[16..20].copy_from_slice(&shard.to_be_bytes());
        bytes[20..].copy_from_slice(&offset.to_be_bytes());
        Self(xxh3_64(&bytes).max(1))
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceContext {
    /// Reads a header `traceparent`; `None` if it is not valid, as the standard demands.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version: u8 = hex(parts.next()?, 2)?.try_into().ok()?;
        let trace_id = TraceId::new(hex(parts.next()?, 32)?)?;
        let span_id = SpanId::new(hex(parts.next()?, 16)?.try_into().ok()?)?;
        let flags = hex(parts.next()?, 2)?;
        let is_known = version != 0xff && (version > 0 || parts.next().is_none());
        is_known.then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }
}

/// Reads so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let is_hex = text.len() == digits && text.bytes().all(is_digit);
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for TraceContext {
    /// Writes the header `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use twqr_types::{MerchantId, MerchantTradeNo};

    use super::*;

    fn key(merchant: &str, number: &str) -> OrderKey {
        OrderKey {
            merchant_id: MerchantId::parse(merchant.to_owned()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse(number.to_owned()).unwrap(),
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_demands() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for flags in ["00", "01"] {
            let header = format!("00-{trace}-{span}-{flags}");
            let context = TraceContext::parse(&header).unwrap();
            assert_eq!((context.to_string(), context.is_sampled), (header, flags == "01"));
        }
        let sampled = |header: String| TraceContext::parse(&header).map(|context| context.is_sampled);
        assert_eq!(sampled(format!("00-{trace}-{span}-ff")), Some(true), "unknown flags are ignored");
        assert_eq!(sampled(format!("01-{trace}-{span}-01-later")), Some(true), "a later version may have more");
        for wrong in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}-1"),
            format!("00-+{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(sampled(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn the_trace_of_an_order_is_the_same_for_every_build() {
        let (one, other) = (TraceId::of_order(&key("M1", "1")), TraceId::of_order(&key("M1", "2")));
        assert_eq!(one.to_string(), "d46a619925ab4659578701df52348d3b");
        assert_eq!(SpanId::of_record(one, 3, 7).to_string(), "e814de0478c93432");
        assert_ne!(one, other);
    }

    #[test]
    fn a_share_of_the_traces_is_chosen_by_their_numbers() {
        let among = |share| {
            let is_chosen = |number: &u32| TraceId::of_order(&key("M1", &number.to_string())).is_in_share(share);
            (0..10_000).filter(is_chosen).count()
        };
        assert_eq!((among(0.0), among(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&among(0.1)), "{}", among(0.1));
    }
}
