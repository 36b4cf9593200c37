//! The day: payments of every issuer, declines, repeats (equal and in conflict), malformed
//! requests. The same seed gives the same day.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_wire::pos::PayRequest;

/// An issuer of the day: how its codes begin, how long they are, and its institution code (empty
/// for the wallet).
#[derive(Clone, Copy, Debug)]
pub struct Issuer {
    /// The prefix of its codes.
    pub prefix: &'static str,
    /// The length of its codes.
    pub code_length: usize,
    /// The institution code.
    pub institution: &'static str,
}

const fn issuer(prefix: &'static str, code_length: usize, institution: &'static str) -> Issuer {
    Issuer { prefix, code_length, institution }
}

/// Every issuer of the day; the wallet has half of the payments.
pub const ISSUERS: [Issuer; 13] = [
    issuer("22", 18, ""),
    issuer("IC", 20, "392"),
    issuer("P2", 20, "388"),
    issuer("EW", 20, "390"),
    issuer("IP", 20, "391"),
    issuer("PX", 20, "389"),
    issuer("LP", 22, "387"),
    issuer("GA", 20, "395"),
    issuer("OP", 20, "397"),
    issuer("EZ", 20, "398"),
    issuer("B004", 22, "004"),
    issuer("B812", 22, "812"),
    issuer("B822", 22, "822"),
];

/// Codes that no route takes.
const UNROUTED_PREFIX: &str = "ZZ";
/// More than any customer of the sample script has.
const ABOVE_EVERY_BALANCE_TWD: i64 = 2_000_000;

/// `count` requests; numbers begin with `run`, so that days can follow one another.
pub fn day(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut requests: Vec<PayRequest> = Vec::with_capacity(count);
    for n in 0..count {
        let earlier = requests.choose(&mut random).cloned();
        let request = match (random.random_range(0..100), earlier) {
            (0..5, Some(again)) => again,
            (5..6, Some(other)) => PayRequest { trade_amount: other.trade_amount + 1, ..other },
            (6..7, Some(other)) => PayRequest { store_id: format!("{}0", other.store_id), ..other },
            (7..8, Some(other)) => PayRequest { card_token: payment(&mut random, run, n).card_token, ..other },
            (11..12, _) => ambiguous(payment(&mut random, run, n)),
            (8..11, _) => {
                PayRequest { trade_amount: 0, pos_trade_time: "yesterday".to_owned(), ..payment(&mut random, run, n) }
            }
            _ => payment(&mut random, run, n),
        };
        requests.push(request);
    }
    requests
}

/// The wallet will answer that it does not know whether this happened.
fn ambiguous(request: PayRequest) -> PayRequest {
    let card_token = format!("22D909{:a<12}", request.merchant_trade_no.replace(|c: char| !c.is_ascii_digit(), "b"));
    PayRequest { card_token: card_token.chars().take(ISSUERS[0].code_length).collect(), ..request }
}

/// `count` payments without repeats, conflicts or malformed requests; the shares of issuers and
/// declines are the day's.
pub fn payments(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|n| payment(&mut random, run, n)).collect()
}

/// Issuers at which the sample's fault script lets nothing go wrong.
const STEADY_PREFIXES: [&str; 8] = ["22", "P2", "EW", "IP", "PX", "LP", "B004", "B812"];

/// `count` payments that nothing but the router itself could fail: steady issuers, no declines,
/// affordable.
pub fn steady_payments(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let steady = |request: &PayRequest| {
        STEADY_PREFIXES.iter().any(|prefix| request.card_token.starts_with(prefix))
            && !request.card_token.contains('D')
            && request.trade_amount < ABOVE_EVERY_BALANCE_TWD
    };
    (0..).map(|n| payment(&mut random, run, n)).filter(steady).take(count).collect()
}

fn payment(random: &mut ChaCha8Rng, run: &str, n: usize) -> PayRequest {
    let other = ISSUERS[random.random_range(1..ISSUERS.len())];
    let issuer = if random.random_bool(0.5) { ISSUERS[0] } else { other };
    let decline = match random.random_range(0..100) {
        0..3 => "D928",
        3..5 => "D911",
        5..6 => "D931",
        6..7 => "D906",
        7..8 => "NOCARD",
        _ => "",
    };
    let prefix = if random.random_range(0..100) == 0 { UNROUTED_PREFIX } else { issuer.prefix };
    let rich = random.random_range(0..100) == 0;
    let mut card_token = format!("{prefix}{decline}");
    while card_token.len() < issuer.code_length {
        card_token.push(char::from(*b"abcefghijklmnopqrstuvwxyz0123456789".choose(random).unwrap_or(&b'0')));
    }
    PayRequest {
        merchant_id: format!("M{:03}", random.random_range(0..20)),
        store_id: format!("S{}", random.random_range(0..5)),
        store_name: "示範店".to_owned(),
        gateway_trade_no: format!("G{n}"),
        merchant_trade_no: format!("{run}-{n}"),
        pos_id: "P1".to_owned(),
        pos_trade_time: "2026/11/24 12:00:00".to_owned(),
        card_token,
        trade_amount: if rich { ABOVE_EVERY_BALANCE_TWD } else { random.random_range(1..5_000) },
        un_redeem: 0,
        send_time: "20261124120000".to_owned(),
        ..PayRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day() {
        assert_eq!(day(7, "r", 500), day(7, "r", 500));
        assert_ne!(day(7, "r", 500), day(8, "r", 500));
    }

    #[test]
    fn every_issuer_takes_part() {
        let requests = day(7, "r", 1_000);
        for issuer in ISSUERS {
            assert!(requests.iter().any(|request| request.card_token.starts_with(issuer.prefix)), "{}", issuer.prefix);
        }
    }
}
