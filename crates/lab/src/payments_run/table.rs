//! The results of a day of payments by issuer, as a table and as figures of the report.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use twqr_loadgen::{CallResult, TradeKey, issuer_of, latency_histogram};
use twqr_types::StatusCode;
use twqr_wire::pos::{PayRequest, PayResponse, QueryResponse};

use crate::quantile::quantile_ms;

/// The rows by issuer: an institution code, `wallet`, or `unrouted` for codes that no route takes.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<String, Row>);

/// The results of one issuer's payments.
#[derive(Debug)]
struct Row {
    sent: usize,
    paid: usize,
    repeats: usize,
    /// Final refusals by StatusCode.
    declined: BTreeMap<String, usize>,
    /// Calls that were not accepted, by gRPC code.
    refused: BTreeMap<String, usize>,
    /// Payments that were answered as in progress and became final later.
    resolved_paid: usize,
    resolved_failed: usize,
    /// Latencies in µs.
    latencies: Histogram<u64>,
}

/// A row in the form of the report.
#[derive(Debug, Serialize)]
pub(crate) struct RowReport<'a> {
    sent: usize,
    paid: usize,
    repeats: usize,
    declined: &'a BTreeMap<String, usize>,
    refused: &'a BTreeMap<String, usize>,
    in_progress_then_paid: usize,
    in_progress_then_failed: usize,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

/// The names of the columns of [`Table::lines`].
pub(crate) fn header() -> String {
    format!(
        "{:<8}{:>6}{:>6}{:>8}{:>20}{:>10}{:>10}{:>10}  declined by StatusCode; refused",
        "issuer", "sent", "paid", "repeats", "in progress, then", "p50 ms", "p99 ms", "p99.9 ms"
    )
}

impl Table {
    /// Counts each result in the row of its issuer. `orders` are the final orders of the results.
    pub(crate) fn new(
        requests: &[PayRequest],
        results: &[CallResult],
        orders: &BTreeMap<TradeKey, QueryResponse>,
    ) -> Self {
        let mut table: BTreeMap<String, Row> = BTreeMap::new();
        for (request, result) in requests.iter().zip(results) {
            let row = table.entry(issuer(&request.card_token)).or_insert_with(Row::empty);
            let ended = orders.get(&result.key).and_then(|order| order.payment.as_ref());
            row.count(result, ended);
        }
        Self(table)
    }

    /// The table's lines, one for each issuer.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(issuer, row)| {
            let report = row.report();
            let counts = |by: &BTreeMap<String, usize>| {
                by.iter().map(|(code, n)| format!("{code}×{n}")).collect::<Vec<_>>().join(" ")
            };
            let resolved = format!("{} paid {} not", row.resolved_paid, row.resolved_failed);
            format!(
                "{issuer:<8}{:>6}{:>6}{:>8}{resolved:>20}{:>10.1}{:>10.1}{:>10.1}  {}; {}",
                row.sent,
                row.paid,
                row.repeats,
                report.p50_ms,
                report.p99_ms,
                report.p999_ms,
                counts(&row.declined),
                counts(&row.refused),
            )
        })
    }

    /// The figures for the report, by issuer.
    pub(crate) fn report(&self) -> BTreeMap<&str, RowReport<'_>> {
        self.0.iter().map(|(issuer, row)| (issuer.as_str(), row.report())).collect()
    }
}

fn issuer(card_token: &str) -> String {
    issuer_of(card_token).map_or_else(|| "unrouted".to_owned(), |issuer| issuer.label().to_owned())
}

impl Row {
    fn empty() -> Self {
        Self {
            sent: 0,
            paid: 0,
            repeats: 0,
            declined: BTreeMap::new(),
            refused: BTreeMap::new(),
            resolved_paid: 0,
            resolved_failed: 0,
            latencies: latency_histogram(),
        }
    }

    fn count(&mut self, result: &CallResult, ended: Option<&PayResponse>) {
        self.sent += 1;
        self.latencies.saturating_record(result.latency_us);
        match &result.answer {
            Err(code) => *self.refused.entry(format!("{code:?}")).or_default() += 1,
            Ok(answer) => {
                self.repeats += usize::from(answer.is_rep);
                let essence = |answer: &PayResponse| (answer.status_code.clone(), answer.status_desc.clone());
                match ended.filter(|ended| essence(ended) != essence(answer)) {
                    Some(ended) if ended.status_code == StatusCode::SUCCESS => self.resolved_paid += 1,
                    Some(_) => self.resolved_failed += 1,
                    None if answer.status_code == StatusCode::SUCCESS => self.paid += 1,
                    None => *self.declined.entry(answer.status_code.clone()).or_default() += 1,
                }
            }
        }
    }

    fn report(&self) -> RowReport<'_> {
        RowReport {
            sent: self.sent,
            paid: self.paid,
            repeats: self.repeats,
            declined: &self.declined,
            refused: &self.refused,
            in_progress_then_paid: self.resolved_paid,
            in_progress_then_failed: self.resolved_failed,
            p50_ms: quantile_ms(&self.latencies, 0.5),
            p99_ms: quantile_ms(&self.latencies, 0.99),
            p999_ms: quantile_ms(&self.latencies, 0.999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn answer(status_code: &str, is_rep: bool) -> PayResponse {
        PayResponse { status_code: status_code.into(), status_desc: status_code.into(), is_rep, ..Default::default() }
    }

    #[test]
    fn each_result_is_counted_by_its_final_state() {
        let key = |n: usize| ("M".to_owned(), n.to_string());
        let answers = [
            Ok(answer("000", false)),
            Ok(answer("000", true)),
            Ok(answer("928", false)),
            Ok(answer("982", false)),
            Err(Code::InvalidArgument),
        ];
        let result = |(n, answer)| CallResult { key: key(n), latency_us: 1_000, answer };
        let results: Vec<CallResult> = answers.into_iter().enumerate().map(result).collect();
        let requests = vec![PayRequest { card_token: "22X".into(), ..PayRequest::default() }; results.len()];
        let ended =
            |n, code| (key(n), QueryResponse { payment: Some(answer(code, false)), ..QueryResponse::default() });
        let orders = [ended(0, "000"), ended(2, "928"), ended(3, "000")].into();
        let table = Table::new(&requests, &results, &orders);
        let report = serde_json::to_value(table.report()).unwrap();
        let row = &report["wallet"];
        let numbers = ["sent", "paid", "repeats", "in_progress_then_paid", "in_progress_then_failed"];
        assert_eq!(numbers.map(|name| row[name].as_u64().unwrap()), [5, 2, 1, 1, 0]);
        assert_eq!((row["declined"]["928"].as_u64(), row["refused"]["InvalidArgument"].as_u64()), (Some(1), Some(1)));
        assert!((row["p50_ms"].as_f64().unwrap() - 1.0).abs() < f64::EPSILON);
    }
}
