//! The audit: what callers were told, and what the orders say, against the ledger of wallet and
//! issuers.

use std::collections::BTreeMap;

use serde::Serialize;
use tonic::transport::Channel;
use twqr_types::StatusCode;
use twqr_wire::{
    backend::{LedgerEntry, ListEntriesRequest, ledger_entry::Kind, ledger_service_client::LedgerServiceClient},
    pos::{OrderStatus, PayResponse, QueryResponse},
};

use crate::{Told, TradeKey};

/// What the audit found; each list should be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Charged more than once.
    pub charged_twice: Vec<String>,
    /// Accepted, or charged, and there is no order; or an order that never ended.
    pub lost: Vec<String>,
    /// The caller, the order and the ledger do not say the same.
    pub contradicted: Vec<String>,
}

impl Audit {
    /// Nothing was found.
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

/// Compares. `orders` holds the answer of a query for every accepted order.
pub fn audit(told: &[Told], orders: &BTreeMap<TradeKey, QueryResponse>, entries: &[LedgerEntry]) -> Audit {
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
                found.lost.push(format!("{}: accepted, answers {}", name(key), order.status_code));
            }
        }
    }
    for Told { key, answer, .. } in told {
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

/// How StatusDesc begins where the answer is not final.
const IN_PROGRESS: &str = "the payment is in progress";
/// What was told and is not so: a final answer stays what the order is, with its number and
/// amounts.
fn contradiction(answer: &PayResponse, order: &QueryResponse) -> Option<String> {
    let payment = order.payment.clone().unwrap_or_default();
    if answer.status_code != StatusCode::SUCCESS && answer.status_desc.starts_with(IN_PROGRESS) {
        return None;
    }
    if answer.status_code != payment.status_code {
        return Some(format!("told {}, the order says {}", answer.status_code, payment.status_code));
    }
    let essence = |response: &PayResponse| (response.trade_no.clone(), response.trade_amount, response.debit_amount);
    let (told, is) = (essence(answer), essence(&payment));
    (told != is).then(|| format!("told {told:?}, the order says {is:?}"))
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

    fn told(code: &str) -> Told {
        Told {
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
    fn each_fault_is_found_under_its_name() {
        let none = BTreeMap::new;
        let with = |code: &str, change: &dyn Fn(&mut PayResponse)| {
            let mut told = told(code);
            told.answer.iter_mut().for_each(change);
            told
        };
        let less = with("000", &|answer| answer.debit_amount = 8);
        let waits = with("982", &|answer| answer.status_desc = format!("{IN_PROGRESS}; query it"));
        let counts = |audit: &Audit| (audit.charged_twice.len(), audit.lost.len(), audit.contradicted.len());
        let cases = [
            ("all well", vec![told("000")], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 0)),
            ("failed and not charged", vec![told("982")], order(OrderStatus::Failed), vec![], (0, 0, 0)),
            ("charged twice", vec![told("000")], order(OrderStatus::Paid), vec![charge(9), charge(9)], (1, 0, 0)),
            ("charged without an order", vec![], none(), vec![charge(9)], (0, 1, 0)),
            ("accepted without an order", vec![told("000")], none(), vec![], (0, 1, 0)),
            ("never ended", vec![], order(OrderStatus::InProgress), vec![], (0, 1, 0)),
            ("paid, not charged", vec![], order(OrderStatus::Paid), vec![], (0, 0, 1)),
            ("failed, charged", vec![], order(OrderStatus::Failed), vec![charge(9)], (0, 0, 1)),
            ("another amount", vec![], order(OrderStatus::Paid), vec![charge(8)], (0, 0, 1)),
            ("told failed, paid", vec![told("928")], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 1)),
            ("told another amount", vec![less], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 1)),
            ("told in progress, paid", vec![waits], order(OrderStatus::Paid), vec![charge(9)], (0, 0, 0)),
            ("told paid, failed", vec![told("000")], order(OrderStatus::Failed), vec![], (0, 0, 1)),
        ];
        for (name, told, orders, entries, expected) in cases {
            assert_eq!(counts(&audit(&told, &orders, &entries)), expected, "{name}");
        }
    }
}
