//! The table of all metrics, as `deploy/metrics.md` has it.

use twqr_files::print_line;
use twqr_metric::{Metric, MetricKind};

use super::all;

const HEAD: &str = "\
# Metrics

Made by `twqr metrics > deploy/metrics.md`; a test compares it with the code and with what running
processes show. Every process serves its metrics on `admin` at `/metrics`. Counters whose labels are
known exist with 0 from the start, and those of an issuer from the first policy on that names it.
Workers do not read the policy in force, so theirs exist if `[policy]` in the configuration names
the issuer, and otherwise from its first task on. Of more than 48 named issuers, the others begin
with their first payment, too.

Labels are bounded: at most 64 issuers have series of their own, the others share the issuer
`other`. A merchant, a store, an order or a caller's address is never a label.

| metric | type, unit | labels | meaning | what to do |
|---|---|---|---|---|";

/// Prints the table.
pub(crate) fn print() -> std::io::Result<()> {
    print_line(HEAD)?;
    let mut metrics: Vec<_> = all().collect();
    metrics.sort_by_key(|metric| metric.name);
    for metric in metrics {
        print_line(row(metric))?;
    }
    Ok(())
}

fn row(metric: &Metric) -> String {
    let Metric { name, kind, unit, labels, meaning, action } = metric;
    let labels = labels.join(", ");
    let buckets = match kind {
        MetricKind::Counter | MetricKind::Gauge => String::new(),
        MetricKind::Histogram(buckets) => {
            let (first, last) =
                (buckets.first().copied().unwrap_or_default(), buckets.last().copied().unwrap_or_default());
            format!(" ({} buckets, {first} to {last})", buckets.len())
        }
    };
    format!("| `{name}` | {}, {unit}{buckets} | {labels} | {meaning} | {action} |", kind.name())
}
