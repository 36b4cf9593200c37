//! What came of a day, by issuer.

use std::collections::BTreeMap;

use serde::Serialize;
use twqr_loadgen::{CallResult, TradeKey, issuer_of};
use twqr_wire::pos::{PayRequest, PayResponse, QueryResponse};

/// By issuer: an institution code, `wallet`, or `none` for codes that no route takes.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<String, Row>);

#[derive(Debug, Default)]
struct Row {
    sent: usize,
    paid: usize,
    repeats: usize,
    /// By StatusCode.
    declined: BTreeMap<String, usize>,
    /// By gRPC code: nothing was accepted.
    refused: BTreeMap<String, usize>,
    /// CallResult that it was in progress, and ended later.
    resolved_paid: usize,
    resolved_failed: usize,
    /// In µs, sorted.
    latencies: Vec<u64>,
}

/// A row as it stands in the report.
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
    /// Every answer in its row; `orders` says how what was in progress ended.
    pub(crate) fn new(requests: &[PayRequest], told: &[CallResult], orders: &BTreeMap<TradeKey, QueryResponse>) -> Self {
        let mut table: BTreeMap<String, Row> = BTreeMap::new();
        for (request, told) in requests.iter().zip(told) {
            let row = table.entry(issuer(&request.card_token)).or_default();
            let ended = orders.get(&told.key).and_then(|order| order.payment.as_ref());
            row.count(told, ended);
        }
        for row in table.values_mut() {
            row.latencies.sort_unstable();
        }
        Self(table)
    }

    /// A line for each issuer.
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

    /// The same for the report.
    pub(crate) fn report(&self) -> BTreeMap<&str, RowReport<'_>> {
        self.0.iter().map(|(issuer, row)| (issuer.as_str(), row.report())).collect()
    }
}

fn issuer(card_token: &str) -> String {
    issuer_of(card_token).map_or_else(|| "none".to_owned(), |issuer| issuer.label().to_owned())
}

impl Row {
    fn count(&mut self, told: &CallResult, ended: Option<&PayResponse>) {
        self.sent += 1;
        self.latencies.push(told.latency_us);
        match &told.answer {
            Err(code) => *self.refused.entry(format!("{code:?}")).or_default() += 1,
            Ok(answer) => {
                self.repeats += usize::from(answer.is_rep);
                let known = |answer: &PayResponse| (answer.status_code.clone(), answer.status_desc.clone());
                match ended.filter(|ended| known(ended) != known(answer)) {
                    Some(ended) if ended.status_code == SUCCESS => self.resolved_paid += 1,
                    Some(_) => self.resolved_failed += 1,
                    None if answer.status_code == SUCCESS => self.paid += 1,
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
            p50_ms: self.percentile_ms(500),
            p99_ms: self.percentile_ms(990),
            p999_ms: self.percentile_ms(999),
        }
    }

    fn percentile_ms(&self, per_mille: usize) -> f64 {
        let at = (self.latencies.len() * per_mille).div_ceil(1_000).saturating_sub(1);
        self.latencies.get(at).map_or(0.0, |us| *us as f64 / 1_000.0)
    }
}

const SUCCESS: &str = "000";

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn answer(status_code: &str, is_rep: bool) -> PayResponse {
        PayResponse { status_code: status_code.into(), status_desc: status_code.into(), is_rep, ..Default::default() }
    }

    #[test]
    fn each_answer_is_counted_by_what_became_of_it() {
        let key = |n: usize| ("M".to_owned(), n.to_string());
        let told = [
            Ok(answer("000", false)),
            Ok(answer("000", true)),
            Ok(answer("928", false)),
            Ok(answer("982", false)),
            Err(Code::InvalidArgument),
        ];
        let told: Vec<CallResult> =
            told.into_iter().enumerate().map(|(n, answer)| CallResult { key: key(n), latency_us: 1_000, answer }).collect();
        let requests = vec![PayRequest { card_token: "22X".into(), ..PayRequest::default() }; told.len()];
        let ended =
            |n, code| (key(n), QueryResponse { payment: Some(answer(code, false)), ..QueryResponse::default() });
        let orders = [ended(0, "000"), ended(2, "928"), ended(3, "000")].into();
        let table = Table::new(&requests, &told, &orders);
        let report = serde_json::to_value(table.report()).unwrap();
        let row = &report["wallet"];
        let numbers = ["sent", "paid", "repeats", "in_progress_then_paid", "in_progress_then_failed"];
        assert_eq!(numbers.map(|name| row[name].as_u64().unwrap()), [5, 2, 1, 1, 0]);
        assert_eq!((row["declined"]["928"].as_u64(), row["refused"]["InvalidArgument"].as_u64()), (Some(1), Some(1)));
        assert!((row["p50_ms"].as_f64().unwrap() - 1.0).abs() < f64::EPSILON);
    }
}
