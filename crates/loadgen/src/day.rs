//! The sample day of payments: payments of every issuer, refusals, repeats (equal ones and
//! conflicting ones), and malformed requests. The same seed gives the same day.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_types::Issuer;
use twqr_wire::pos::PayRequest;

use crate::issuers::{WALLET, institution, issuer_of, random_institution};

/// A prefix that no route takes.
const UNROUTED_PREFIX: &str = "ZZ";
/// More than the opening balance of any account in the sample's fault script.
const ABOVE_EVERY_BALANCE_TWD: i64 = 2_000_000;

/// A day of `count` requests. Their MerchantTradeNos begin with `run`, so that one system can take
/// several days.
pub fn day(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut requests: Vec<PayRequest> = Vec::with_capacity(count);
    for n in 0..count {
        let earlier = requests.choose(&mut random).cloned();
        let request = match (random.random_range(0..100), earlier) {
            (0..5, Some(repeat)) => repeat,
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

/// Changes the request to one that the wallet answers with 909, which leaves open whether it was
/// charged.
fn ambiguous(request: PayRequest) -> PayRequest {
    let card_token = format!("22D909{:a<12}", request.merchant_trade_no.replace(|c: char| !c.is_ascii_digit(), "b"));
    PayRequest { card_token: card_token.chars().take(WALLET.length).collect(), ..request }
}

/// `count` payments without repeats, conflicts or malformed requests, with the day's shares of
/// issuers and refusals.
pub fn payments(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|n| payment(&mut random, run, n)).collect()
}

/// Issuers whose charges always succeed under the sample's fault script.
const STEADY: [Issuer; 3] = [Issuer::Wallet, institution("389"), institution("004")];

/// `count` payments that fail only if the router has a fault: their issuers charge every
/// payment, no refusal is provoked, and the amounts are small.
pub fn steady_payments(seed: u64, run: &str, count: usize) -> Vec<PayRequest> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let is_steady = |request: &PayRequest| {
        issuer_of(&request.card_token).is_some_and(|issuer| STEADY.contains(&issuer))
            && !request.card_token.contains('D')
            && request.trade_amount < ABOVE_EVERY_BALANCE_TWD
    };
    (0..).map(|n| payment(&mut random, run, n)).filter(is_steady).take(count).collect()
}

/// One payment: half of them are the wallet's.
fn payment(random: &mut ChaCha8Rng, run: &str, n: usize) -> PayRequest {
    let other = random_institution(random);
    let codes = if random.random_bool(0.5) { WALLET } else { other };
    let mark = match random.random_range(0..100) {
        0..3 => "D928",
        3..5 => "D911",
        5..6 => "D931",
        6..7 => "D906",
        7..8 => "NOCARD",
        _ => "",
    };
    let is_unrouted = random.random_range(0..100) == 0;
    let is_above_balance = random.random_range(0..100) == 0;
    let card_token =
        if is_unrouted { codes.code_with_prefix(random, UNROUTED_PREFIX) } else { codes.code(random, mark) };
    PayRequest {
        merchant_id: format!("M{:03}", random.random_range(0..20)),
        store_id: format!("S{}", random.random_range(0..5)),
        store_name: "示範店".to_owned(),
        gateway_trade_no: format!("G{n}"),
        merchant_trade_no: format!("{run}-{n}"),
        pos_id: "P1".to_owned(),
        pos_trade_time: "2026/11/24 12:00:00".to_owned(),
        card_token,
        trade_amount: if is_above_balance { ABOVE_EVERY_BALANCE_TWD } else { random.random_range(1..5_000) },
        un_redeem: 0,
        send_time: "20261124120000".to_owned(),
        ..PayRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::ISSUERS;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day() {
        assert_eq!(day(7, "r", 500), day(7, "r", 500));
        assert_ne!(day(7, "r", 500), day(8, "r", 500));
    }

    #[test]
    fn every_issuer_has_payments() {
        let requests = day(7, "r", 1_000);
        for codes in ISSUERS {
            let is_of = |request: &PayRequest| issuer_of(&request.card_token) == Some(codes.issuer);
            assert!(requests.iter().any(is_of), "{}", codes.prefix);
        }
    }

    #[test]
    fn steady_payments_avoid_faulty_issuers() {
        for request in steady_payments(7, "r", 200) {
            assert!(["22", "P2", "96"].iter().any(|prefix| request.card_token.starts_with(prefix)));
        }
    }
}
