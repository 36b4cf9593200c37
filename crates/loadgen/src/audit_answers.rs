//! The audit of a load with too many orders to query all of them. It compares every answer with the
//! ledger. It queries the orders of all answers other than a success, and of a sample of the
//! successes.

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

use crate::{Audit, CallResult, TradeKey, audit as audit_orders, resolve};

fn is_success(result: &CallResult) -> bool {
    result.answer.as_ref().is_ok_and(|answer| answer.status_code == StatusCode::SUCCESS)
}

/// Queries orders until they are final, for at most `patience`: every accepted one whose answer is
/// not a success, and about `sample` of the successes.
pub async fn orders(
    channel: &Channel,
    results: &[CallResult],
    sample: usize,
    patience: Duration,
) -> BTreeMap<TradeKey, QueryResponse> {
    let successes: Vec<&CallResult> = results.iter().filter(|result| is_success(result)).collect();
    let every = (successes.len() / sample.max(1)).max(1);
    let sampled = successes.into_iter().step_by(every);
    let queried: Vec<CallResult> =
        results.iter().filter(|result| !is_success(result)).chain(sampled).cloned().collect();
    resolve(channel, &queried, patience).await
}

/// Compares the results with the ledger's entries and, where they were queried, with the orders.
/// `orders` is the result of [`orders`] for the same calls.
pub fn audit(results: &[CallResult], orders: &BTreeMap<TradeKey, QueryResponse>, entries: &[LedgerEntry]) -> Audit {
    let key = |entry: &LedgerEntry| (entry.merchant_id.clone(), entry.merchant_trade_no.clone());
    let queried: Vec<CallResult> = results.iter().filter(|result| orders.contains_key(&result.key)).cloned().collect();
    let queried_entries: Vec<LedgerEntry> =
        entries.iter().filter(|entry| orders.contains_key(&key(entry))).cloned().collect();
    let mut found = audit_orders(&queried, orders, &queried_entries);
    let accepted: BTreeSet<&TradeKey> =
        results.iter().filter(|result| result.answer.is_ok()).map(|result| &result.key).collect();
    let mut charges: BTreeMap<TradeKey, Vec<i64>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind() == Kind::Charged && !orders.contains_key(&key(entry))) {
        charges.entry(key(entry)).or_default().push(entry.debit_amount);
    }
    for (key, debits) in &charges {
        if debits.len() > 1 {
            found.charged_twice.push(format!("{}/{}", key.0, key.1));
        }
        if !accepted.contains(key) {
            found.lost.push(format!("{}/{}: charged, but no caller was answered that it was accepted", key.0, key.1));
        }
    }
    for CallResult { key, answer, .. } in results.iter().filter(|result| !orders.contains_key(&result.key)) {
        let Ok(answer) = answer else { continue };
        let debit = charges.get(key).and_then(|debits| debits.first());
        if answer.status_code == StatusCode::SUCCESS && debit != Some(&answer.debit_amount) {
            found.contradicted.push(format!("{}/{}: answered paid, the ledger says {debit:?}", key.0, key.1));
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

    fn answered(number: &str, code: &str) -> CallResult {
        let answer = PayResponse { status_code: code.into(), debit_amount: 9, ..PayResponse::default() };
        CallResult { key: ("M".into(), number.into()), latency_us: 0, answer: Ok(answer) }
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
    fn answers_are_compared_with_the_ledger_without_their_orders() {
        let no_orders = BTreeMap::new();
        for (name, results, entries, expected) in [
            ("no fault", vec![answered("1", "000")], vec![charge("1", 9)], (0, 0, 0)),
            ("charged twice", vec![answered("1", "000")], vec![charge("1", 9), charge("1", 9)], (1, 0, 0)),
            ("charged without a call", vec![], vec![charge("1", 9)], (0, 1, 0)),
            ("answered paid, not charged", vec![answered("1", "000")], vec![], (0, 0, 1)),
            ("answered paid, other amount", vec![answered("1", "000")], vec![charge("1", 8)], (0, 0, 1)),
            ("accepted, order gone", vec![answered("1", "982")], vec![], (0, 1, 0)),
        ] {
            let found = audit(&results, &no_orders, &entries);
            let counts = (found.charged_twice.len(), found.lost.len(), found.contradicted.len());
            assert_eq!(counts, expected, "{name}: {found:?}");
        }
    }
}
