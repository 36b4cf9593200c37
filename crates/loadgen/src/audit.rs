//! The audit of payments: compares the answers to callers and the states of the orders with the
//! ledger of the wallet and the issuers.

use std::collections::BTreeMap;

use serde::Serialize;
use tonic::transport::Channel;
use twqr_types::StatusCode;
use twqr_wire::{
    backend::{LedgerEntry, ListEntriesRequest, ledger_entry::Kind, ledger_service_client::LedgerServiceClient},
    pos::{OrderStatus, PayResponse, QueryResponse},
};

use crate::{CallResult, TradeKey};

/// The faults that an audit found. Each list should be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Payments that were charged more than once.
    pub charged_twice: Vec<String>,
    /// Payments that were accepted or charged but have no order, and orders that never became
    /// final.
    pub lost: Vec<String>,
    /// Payments for which the answer, the order and the ledger differ.
    pub contradicted: Vec<String>,
}

impl Audit {
    /// Whether no fault was found.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the whole ledger.
pub async fn ledger(channel: Channel) -> Result<Vec<LedgerEntry>, tonic::Status> {
    let mut stream = LedgerServiceClient::new(channel).list_entries(ListEntriesRequest {}).await?.into_inner();
    let mut entries = Vec::new();
    while let Some(response) = stream.message().await? {
        entries.extend(response.entry);
    }
    Ok(entries)
}

/// Compares the results, the orders and the ledger's entries. `orders` holds the answer to a query
/// about each accepted order.
pub fn audit(results: &[CallResult], orders: &BTreeMap<TradeKey, QueryResponse>, entries: &[LedgerEntry]) -> Audit {
    let mut found = Audit::default();
    let mut charges: BTreeMap<TradeKey, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind() == Kind::Charged) {
        charges.entry((entry.merchant_id.clone(), entry.merchant_trade_no.clone())).or_default().push(entry);
    }
    let name = |key: &TradeKey| format!("{}/{}", key.0, key.1);
    for (key, charged) in &charges {
        if charged.len() > 1 {
            found.charged_twice.push(name(key));
        }
        if !orders.contains_key(key) {
            found.lost.push(format!("{}: charged without an order", name(key)));
        }
    }
    for (key, order) in orders {
        let charge = charges.get(key).and_then(|entries| entries.first());
        let status = order.order_status.and_then(|status| OrderStatus::try_from(status).ok());
        match (status, charge) {
            (Some(OrderStatus::Paid), Some(charge)) => {
                let payment = order.payment.clone().unwrap_or_default();
                if (payment.trade_amount, payment.debit_amount) != (charge.trade_amount, charge.debit_amount) {
                    found.contradicted.push(format!("{}: amounts differ from the ledger", name(key)));
                }
            }
            (Some(OrderStatus::Failed), None) => {}
            (Some(OrderStatus::Paid), None) => found.contradicted.push(format!("{}: paid, not charged", name(key))),
            (Some(OrderStatus::Failed), Some(_)) => found.contradicted.push(format!("{}: failed, charged", name(key))),
            (Some(OrderStatus::InProgress), _) => found.lost.push(format!("{}: never ended", name(key))),
            (
                Some(OrderStatus::FullyRefunded | OrderStatus::RefundSucceeded | OrderStatus::PartlyRefunded) | None,
                _,
            ) => {
                found.lost.push(format!("{}: accepted, but the query answered {}", name(key), order.status_code));
            }
        }
    }
    for CallResult { key, answer, .. } in results {
        let Ok(answer) = answer else { continue };
        match orders.get(key) {
            None => found.lost.push(format!("{}: accepted, cannot be queried", name(key))),
            Some(order) => {
                found.contradicted.extend(contradiction(answer, order).map(|what| format!("{}: {what}", name(key))));
            }
        }
    }
    found
}

/// The beginning of StatusDesc in an answer that is not final.
const IN_PROGRESS: &str = "the payment is in progress";

/// Whether the answer leaves the payment's result open.
pub fn is_in_progress(answer: &PayResponse) -> bool {
    answer.status_code != StatusCode::SUCCESS && answer.status_desc.starts_with(IN_PROGRESS)
}

/// Describes how a final answer differs from the order: in StatusCode, number or amounts.
fn contradiction(answer: &PayResponse, order: &QueryResponse) -> Option<String> {
    let payment = order.payment.clone().unwrap_or_default();
    if is_in_progress(answer) {
        return None;
    }
    if answer.status_code != payment.status_code {
        return Some(format!("answered {}, the order says {}", answer.status_code, payment.status_code));
    }
    let essence = |response: &PayResponse| (response.trade_no.clone(), response.trade_amount, response.debit_amount);
    let (answered, stored) = (essence(answer), essence(&payment));
    (answered != stored).then(|| format!("answered {answered:?}, the order says {stored:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TradeKey {
        ("M".into(), "T".into())
    }

    fn order(status: OrderStatus) -> BTreeMap<TradeKey, QueryResponse> {
        let status_code = if status == OrderStatus::Paid { "000" } else { "982" };
        let payment =
            PayResponse { status_code: status_code.into(), trade_amount: 9, debit_amount: 9, ..PayResponse::default() };
        let order =
            QueryResponse { order_status: Some(status.into()), payment: Some(payment), ..QueryResponse::default() };
        [(key(), order)].into()
    }

    fn charge(amount: i64) -> LedgerEntry {
        LedgerEntry {
            kind: Kind::Charged.into(),
            merchant_id: "M".into(),
            merchant_trade_no: "T".into(),
            trade_amount: amount,
            debit_amount: amount,
            ..LedgerEntry::default()
        }
    }

    fn answered(code: &str) -> CallResult {
        CallResult {
            key: key(),
            latency_us: 0,
            answer: Ok(PayResponse {
                status_code: code.into(),
                trade_amount: 9,
                debit_amount: 9,
                ..PayResponse::default()
            }),
        }
    }

    #[test]
    fn each_fault_is_reported_in_the_list_for_its_kind() {
        let no_orders = BTreeMap::new;
        let with = |code: &str, change: &dyn Fn(&mut PayResponse)| {
            let mut result = answered(code);
            result.answer.iter_mut().for_each(change);
            result
        };
        let less = with("000", &|answer| answer.debit_amount = 8);
        let unfinished = with("982", &|answer| answer.status_desc = format!("{IN_PROGRESS}; query it"));
        let counts = |audit: &Audit| (audit.charged_twice.len(), audit.lost.len(), audit.contradicted.len());
        let cases = [
            ("no fault", vec![answered("000")], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 0)),
            ("failed and not charged", vec![answered("982")], order(OrderStatus::Failed), vec![], (0, 0, 0)),
            ("charged twice", vec![answered("000")], order(OrderStatus::Paid), vec![charge(9), charge(9)], (1, 0, 0)),
            ("charged without an order", vec![], no_orders(), vec![charge(9)], (0, 1, 0)),
            ("accepted without an order", vec![answered("000")], no_orders(), vec![], (0, 1, 0)),
            ("never ended", vec![], order(OrderStatus::InProgress), vec![], (0, 1, 0)),
            ("paid, not charged", vec![], order(OrderStatus::Paid), vec![], (0, 0, 1)),
            ("failed, charged", vec![], order(OrderStatus::Failed), vec![charge(9)], (0, 0, 1)),
            ("another amount", vec![], order(OrderStatus::Paid), vec![charge(8)], (0, 0, 1)),
            ("answered failed, paid", vec![answered("928")], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 1)),
            ("answered another amount", vec![less], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 1)),
            ("answered in progress, paid", vec![unfinished], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 0)),
            ("answered paid, failed", vec![answered("000")], order(OrderStatus::Failed), vec![], (0, 0, 1)),
        ];
        for (name, results, orders, entries, expected) in cases {
            assert_eq!(counts(&audit(&results, &orders, &entries)), expected, "{name}");
        }
    }
}
