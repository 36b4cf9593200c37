//! Tests of the money over random histories: no money appears or disappears, no charge is returned
//! twice, and a bank that restarts from its ledger answers like a bank that keeps running.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::movements;

const OPENING: i64 = 600;
const CALLS: usize = 60;

/// A random call. There are only a few numbers and accounts, so that the calls affect each other.
fn random_call(random: &mut ChaCha8Rng) -> ExchangeRequest {
    let issuer = if random.random_bool(0.5) { WALLET } else { other() };
    let trade_no = format!("T{}", random.random_range(0..6));
    let number = format!("R{}", random.random_range(0..12));
    let amount = [1, 7, 30, 60, 93, 100][random.random_range(0..6)];
    match random.random_range(0..10) {
        0..3 => {
            let token = ["22aa", "22bb", "22cc", "22D909dd", "22D911"][random.random_range(0..5)];
            charge_of(issuer, &trade_no, token, [60, 93, 100][random.random_range(0..3)])
        }
        3..7 => {
            let remark = ["", "", "", "R951", "R301"][random.random_range(0..5)];
            refund_with(issuer, &number, &trade_no, amount, remark)
        }
        7..9 => reversal_by(issuer, &trade_no, [amount, 0][random.random_range(0..2)], random.random_range(0..99)),
        _ => {
            let subject = [Subject::Charge, Subject::Refund, Subject::Reversal][random.random_range(0..3)];
            inquiry_about(subject, issuer, if subject == Subject::Refund { &number } else { &trade_no })
        }
    }
}

/// Sets the amount of most reversals to what remains of the charge, so that some of them succeed.
fn fit_reversal(call: ExchangeRequest, recorded: &[LedgerEntry], random: &mut ChaCha8Rng) -> ExchangeRequest {
    let Some(Call::Reversal(reversal)) = &call.call else { return call };
    if random.random_bool(0.3) {
        return call;
    }
    let of_trade = |kind: Kind| {
        let same = |e: &&LedgerEntry| e.institution == call.institution && e.trade_no == reversal.trade_no;
        recorded.iter().filter(same).filter(move |e| e.kind() == kind).map(|e| e.trade_amount)
    };
    let remaining = of_trade(Kind::Charged).next().unwrap_or(0) - of_trade(Kind::Refunded).sum::<i64>();
    reversal_by(Issuer::from_wire(&call.institution).unwrap(), &reversal.trade_no, remaining, reversal.send_by_ms)
}

/// Checks sequence numbers, balances, and that no more is returned than was paid.
fn check(script: &Script, recorded: &[LedgerEntry], seed: u64) {
    let mut balances: BTreeMap<(&str, u32), i64> = BTreeMap::new();
    let mut paid: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    let mut returned: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for (n, entry) in recorded.iter().enumerate() {
        assert_eq!(entry.sequence, n as u64 + 1, "seed {seed}");
        assert!(entry.debit_amount >= 0, "seed {seed}: {entry:?}");
    }
    for entry in movements(recorded) {
        let balance = balances.entry((&entry.institution, entry.account)).or_insert(OPENING);
        let trade = (entry.institution.as_str(), entry.trade_no.as_str());
        let (sign, sums) = if entry.kind() == Kind::Charged { (-1, &mut paid) } else { (1, &mut returned) };
        *balance += sign * entry.debit_amount;
        assert_eq!(entry.balance, *balance, "seed {seed}: {entry:?}");
        assert!(*balance >= 0, "seed {seed}: {entry:?}");
        // Other issuers charge again; only the first charge is ever refunded or reversed.
        let sum = sums.entry(trade).or_default();
        if sign > 0 || *sum == (0, 0) {
            *sum = (sum.0 + entry.trade_amount, sum.1 + entry.debit_amount);
        }
    }
    for (trade, sums) in returned {
        let charged = paid[&trade];
        assert!(sums.0 <= charged.0 && sums.1 <= charged.1, "seed {seed}: {trade:?} {sums:?} of {charged:?}");
        let all = recorded.iter().any(|e| e.kind() == Kind::Reversed && (&*e.institution, &*e.trade_no) == trade);
        assert!(!all || sums == charged, "seed {seed}: {trade:?} was reversed, {sums:?} of {charged:?} was returned");
    }
    let remembers = |e: &&LedgerEntry| script.kind(Issuer::from_wire(&e.institution).unwrap()).remembers_refunds();
    let refunds = recorded.iter().filter(|e| e.kind() == Kind::Refunded).filter(remembers);
    let mut numbers: Vec<_> = refunds.map(|entry| (&entry.institution, &entry.refund_trade_no)).collect();
    numbers.sort();
    assert!(numbers.windows(2).all(|two| two[0] != two[1]), "seed {seed}: refunded twice");
}

#[test]
fn money_is_conserved_and_a_restart_changes_no_answer() {
    let faults = Faults {
        balance: OPENING,
        accounts: 3,
        refuse_reversals_once: 0.3,
        refuse_reversals: 0.2,
        refuse_refunds: 0.2,
        ..Faults::default()
    };
    let mut kinds: BTreeMap<i32, usize> = BTreeMap::new();
    for seed in 0..400 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Every kind of issuer in turn, and each issuer's own default.
        let kind = IssuerKind::ALL.get(seed as usize % (IssuerKind::ALL.len() + 1)).map(|(_, kind)| *kind);
        let script = Script { kind, ..script(faults.clone()) };
        let mut bank = Bank::new(script.clone(), []);
        let mut recorded: Vec<LedgerEntry> = Vec::new();
        for _ in 0..CALLS {
            let call = fit_reversal(random_call(&mut random), &recorded, &mut random);
            let now = random.random_range(0..50);
            let mut restarted = Bank::new(script.clone(), recorded.iter().cloned());
            let expected = restarted.handle(call.clone(), now);
            let reactions = bank.handle(call.clone(), now);
            assert_eq!(format!("{reactions:?}"), format!("{expected:?}"), "seed {seed}: {call:?}");
            recorded.extend(entries(reactions));
            if random.random_bool(0.1) {
                bank = restarted;
            }
        }
        check(&script, &recorded, seed);
        for entry in &recorded {
            *kinds.entry(entry.kind).or_default() += 1;
        }
    }
    assert_eq!(kinds.len(), 7, "every kind of entry occurs: {kinds:?}");
}
