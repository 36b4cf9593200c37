//! The audit of a load too large to ask about every order: every answer against the ledger, and the
//! order of each answer that was no success, with a sample of the successes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tonic::transport::Channel;
use twqr_types::StatusCode;
use twqr_wire::{
    backend::{LedgerEntry, ledger_entry::Kind},
    pos::QueryResponse,
};

use crate::{Audit, Told, TradeKey, audit as audit_orders, resolve};

fn succeeded(told: &Told) -> bool {
    told.answer.as_ref().is_ok_and(|answer| answer.status_code == StatusCode::SUCCESS)
}

/// Asks about every accepted order whose answer was no success until it is final, and about
/// `sample` successes.
pub async fn orders(
    channel: &Channel,
    told: &[Told],
    sample: usize,
    patience: Duration,
) -> BTreeMap<TradeKey, QueryResponse> {
    let successes: Vec<&Told> = told.iter().filter(|told| succeeded(told)).collect();
    let every = (successes.len() / sample.max(1)).max(1);
    let sampled = successes.into_iter().step_by(every);
    let asked: Vec<Told> = told.iter().filter(|told| !succeeded(told)).chain(sampled).cloned().collect();
    resolve(channel, &asked, patience).await
}

/// Compares; `orders` are those that [`orders`] asked about.
pub fn audit(told: &[Told], orders: &BTreeMap<TradeKey, QueryResponse>, entries: &[LedgerEntry]) -> Audit {
    let key = |entry: &LedgerEntry| (entry.merchant_id.clone(), entry.merchant_trade_no.clone());
    let asked_told: Vec<Told> = told.iter().filter(|told| orders.contains_key(&told.key)).cloned().collect();
    let asked_entries: Vec<LedgerEntry> =
        entries.iter().filter(|entry| orders.contains_key(&key(entry))).cloned().collect();
    let mut found = audit_orders(&asked_told, orders, &asked_entries);
    let known: BTreeSet<&TradeKey> = told.iter().filter(|told| told.answer.is_ok()).map(|told| &told.key).collect();
    let mut charges: BTreeMap<TradeKey, Vec<i64>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind() == Kind::Charged && !orders.contains_key(&key(entry))) {
        charges.entry(key(entry)).or_default().push(entry.debit_amount);
    }
    for (key, debits) in &charges {
        if debits.len() > 1 {
            found.charged_twice.push(format!("{}/{}", key.0, key.1));
        }
        if !known.contains(key) {
            found.lost.push(format!("{}/{}: charged, and nobody was told that it was accepted", key.0, key.1));
        }
    }
    for Told { key, answer, .. } in told.iter().filter(|told| !orders.contains_key(&told.key)) {
        let Ok(answer) = answer else { continue };
        let debit = charges.get(key).and_then(|debits| debits.first());
        if answer.status_code == StatusCode::SUCCESS && debit != Some(&answer.debit_amount) {
            found.contradicted.push(format!("{}/{}: told paid, the ledger says {debit:?}", key.0, key.1));
        }
        if answer.status_code != StatusCode::SUCCESS {
            found.lost.push(format!("{}/{}: accepted, cannot be queried", key.0, key.1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use twqr_wire::pos::PayResponse;

    fn told(number: &str, code: &str) -> Told {
        let answer = PayResponse { status_code: code.into(), debit_amount: 9, ..PayResponse::default() };
        Told { key: ("M".into(), number.into()), latency_us: 0, answer: Ok(answer) }
    }

    fn charge(number: &str, debit_amount: i64) -> LedgerEntry {
        LedgerEntry {
            kind: Kind::Charged.into(),
            merchant_id: "M".into(),
            merchant_trade_no: number.into(),
            debit_amount,
            ..LedgerEntry::default()
        }
    }

    #[test]
    fn answers_are_held_against_the_ledger_without_their_orders() {
        let none = BTreeMap::new();
        for (name, told, entries, expected) in [
            ("all well", vec![told("1", "000")], vec![charge("1", 9)], (0, 0, 0)),
            ("charged twice", vec![told("1", "000")], vec![charge("1", 9), charge("1", 9)], (1, 0, 0)),
            ("charged, not asked for", vec![], vec![charge("1", 9)], (0, 1, 0)),
            ("told paid, not charged", vec![told("1", "000")], vec![], (0, 0, 1)),
            ("told paid, other amount", vec![told("1", "000")], vec![charge("1", 8)], (0, 0, 1)),
            ("accepted, order gone", vec![told("1", "982")], vec![], (0, 1, 0)),
        ] {
            let found = audit(&told, &none, &entries);
            let counts = (found.charged_twice.len(), found.lost.len(), found.contradicted.len());
            assert_eq!(counts, expected, "{name}: {found:?}");
        }
    }
}
