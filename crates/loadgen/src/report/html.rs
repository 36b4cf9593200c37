//! The report as one HTML page. Everything is in the page: styles, charts as SVG, and all numbers
//! as tables. It has no script and loads nothing.

mod charts;

use std::fmt::Write;

use super::{
    chart::{escape, short},
    figures::LoadSummary,
    latency_figures::LatencyFigures,
};

const STYLE: &str = include_str!("html/style.css");

/// Writes the page.
pub fn html(summary: &LoadSummary) -> String {
    let title = format!("Load test: {}", summary.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n",
        escape(&title)
    );
    verdict(&mut page, summary);
    let _ = writeln!(page, "<h1>{}</h1>\n<p>{}</p>", escape(&title), escape(&summary.description));
    conditions(&mut page, summary);
    section(&mut page, "Latency");
    page.push_str(
        "<p>Counted from the intended start of each call, so a slow answer does not hide the calls behind it. \
         Warm-up phases are left out; nothing is trimmed.</p>\n",
    );
    latency_table(
        &mut page,
        "Latency in ms",
        "what",
        &[
            ("until the answer".to_owned(), &summary.answered),
            ("until the result is final".to_owned(), &summary.finals),
            ("of it: the generator's own lateness".to_owned(), &summary.start_lag),
        ],
    );
    page.push_str(&charts::by_percentile(summary));
    page.push_str(&charts::latency_over_time(summary));
    section(&mut page, "Rate");
    page.push_str(&charts::rate(summary));
    page.push_str(&charts::in_flight(summary));
    section(&mut page, "Errors and results");
    page.push_str(&charts::errors(summary));
    errors_and_results(&mut page, summary);
    section(&mut page, "Where the time goes");
    hops(&mut page, summary);
    section(&mut page, "CPU and memory");
    page.push_str(&charts::cpu(summary));
    page.push_str(&charts::memory(summary));
    processes(&mut page, summary);
    section(&mut page, "By kind of call, by channel, and by phase");
    breakdowns(&mut page, summary);
    section(&mut page, "Reconciliation");
    reconciliation(&mut page, summary);
    section(&mut page, "Every figure");
    let rows = summary.figures.iter().map(|(name, value)| vec![(*name).to_owned(), short(*value)]).collect();
    table(&mut page, "Figures that thresholds may name", &["figure", "value"], rows);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn verdict(page: &mut String, summary: &LoadSummary) {
    let class = if summary.validity.is_valid { "valid" } else { "invalid" };
    let _ = writeln!(page, "<p class=\"verdict {class}\" role=\"status\">{}</p>", escape(&summary.validity.line));
    if summary.thresholds.is_empty() {
        return;
    }
    let row = |result: &super::ThresholdResult| {
        let verdict = if result.is_met { "met" } else { "MISSED" };
        vec![result.threshold.clone(), short(result.value), verdict.to_owned()]
    };
    let rows = summary.thresholds.iter().map(row).collect();
    table(page, "Thresholds", &["threshold", "this run", "result"], rows);
}

fn conditions(page: &mut String, summary: &LoadSummary) {
    let rows = [
        ("system", summary.system.clone()),
        ("machine", summary.machine.clone()),
        ("began", began(summary)),
        ("run, seed", format!("{}, {}", summary.run, summary.seed)),
    ];
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    for fault in &summary.faults {
        rows.push(vec!["caused failure".to_owned(), format!("at {:.1} s: {}", fault.at_s, fault.text)]);
    }
    table(page, "Conditions", &["what", "value"], rows);
}

/// When the run began, in UTC.
fn began(summary: &LoadSummary) -> String {
    let moment = jiff::Timestamp::from_second(summary.began_unix_s.cast_signed());
    moment.map_or_else(|_| String::new(), |moment| moment.to_string())
}

fn errors_and_results(page: &mut String, summary: &LoadSummary) {
    let rows = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| vec![name.clone(), short(*count as f64)]).collect::<Vec<_>>()
    };
    if summary.errors_by_reason.is_empty() {
        page.push_str("<p>No call was an error.</p>\n");
    } else {
        table(page, "Errors by reason", &["reason", "calls"], rows(&summary.errors_by_reason));
    }
    table(page, "Calls by result", &["StatusCode or refusal", "calls"], rows(&summary.results));
}

fn hops(page: &mut String, summary: &LoadSummary) {
    page.push_str(&charts::hops(summary));
    let name = |hop: &super::HopFigures| format!("{} ({})", hop.name, hop.kind);
    let rows: Vec<(String, &LatencyFigures)> = summary.hops.iter().map(|hop| (name(hop), &hop.latency)).collect();
    latency_table(page, "Parts of the time of paid payments, in ms", "part", &rows);
    page.push_str(
        "<p>From the answers of the payments that asked for their hops (<code>client.hops_share</code>); \
         proto/README.md explains each hop. If none did, the time is split at the moment of the charge in the \
         simulator's ledger, in whole ms.</p>\n",
    );
}

fn processes(page: &mut String, summary: &LoadSummary) {
    let row = |process: &super::ProcessUsage| {
        let cores = || process.samples.iter().skip(1).map(|sample| sample.cores);
        let average = cores().sum::<f64>() / cores().count().max(1) as f64;
        let memory = process.samples.iter().map(|sample| sample.resident_mib).fold(0.0, f64::max);
        vec![process.name.clone(), short(average), short(cores().fold(0.0, f64::max)), short(memory)]
    };
    let rows = summary.processes.iter().map(row).collect();
    table(page, "Each process", &["process", "cores on average", "cores at most", "MiB at most"], rows);
}

fn breakdowns(page: &mut String, summary: &LoadSummary) {
    let name = |kind: &super::KindFigures| format!("{} ({} errors)", kind.kind, kind.errors);
    let rows: Vec<(String, &LatencyFigures)> = summary.kinds.iter().map(|kind| (name(kind), &kind.latency)).collect();
    latency_table(page, "By kind of call, latency in ms", "kind", &rows);
    let name = |channel: &super::ChannelFigures| format!("{} ({} errors)", channel.channel, channel.errors);
    let rows: Vec<(String, &LatencyFigures)> =
        summary.channels.iter().map(|channel| (name(channel), &channel.latency)).collect();
    latency_table(page, "By channel, latency in ms", "channel", &rows);
    let name = |segment: &super::SegmentFigures| {
        let mark = if segment.is_warm_up { ", warm-up" } else { "" };
        format!("phase {}, {}/s{mark} ({} errors)", segment.phase, short(segment.target_rate), segment.errors)
    };
    let rows: Vec<(String, &LatencyFigures)> =
        summary.segments.iter().map(|part| (name(part), &part.latency)).collect();
    latency_table(page, "By phase and level, latency in ms", "phase", &rows);
}

fn reconciliation(page: &mut String, summary: &LoadSummary) {
    let Some(found) = &summary.reconciliation else {
        page.push_str("<p>The calls could not be reconciled.</p>\n");
        return;
    };
    let against = if found.with_ledger { "an inquiry and the simulator's ledger" } else { "an inquiry; no ledger" };
    let rows = [
        ("match", found.matched),
        ("mismatch", found.mismatched),
        ("missing", found.missing),
        ("twice", found.twice),
        ("unexpected entries in the ledger", found.unexpected_entries),
    ];
    let rows = rows.into_iter().map(|(name, count)| vec![name.to_owned(), short(count as f64)]).collect();
    let caption = format!("{} payments and refunds, each compared with {against}", found.orders);
    table(page, &caption, &["result", "orders"], rows);
    if !found.faults.is_empty() {
        let rows = found.faults.iter().map(|fault| vec![fault.clone()]).collect();
        table(page, "The first faults", &["fault"], rows);
    }
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, "<h2>{}</h2>", escape(title));
}

fn latency_table(page: &mut String, caption: &str, first: &str, rows: &[(String, &LatencyFigures)]) {
    let row = |(name, latency): &(String, &LatencyFigures)| {
        let figures = [
            latency.mean_ms,
            latency.p50_ms,
            latency.p90_ms,
            latency.p99_ms,
            latency.p999_ms,
            latency.p9999_ms,
            latency.p99999_ms,
            latency.max_ms,
        ];
        let mut cells = vec![name.clone(), short(latency.count as f64)];
        cells.extend(figures.into_iter().map(short));
        cells
    };
    let heads = [first, "calls", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"];
    table(page, caption, &heads, rows.iter().map(row).collect());
}

/// A table; the first cell of each row is its head. It scrolls on its own where it is too wide.
fn table(page: &mut String, caption: &str, heads: &[&str], rows: Vec<Vec<String>>) {
    let _ = write!(
        page,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        escape(caption)
    );
    for head in heads {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escape(head));
    }
    page.push_str("</tr></thead><tbody>");
    for row in rows {
        page.push_str("<tr>");
        for (n, cell) in row.iter().enumerate() {
            let text = escape(cell);
            let _ =
                if n == 0 { write!(page, "<th scope=\"row\">{text}</th>") } else { write!(page, "<td>{text}</td>") };
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures_tests::example_summary;

    #[test]
    fn the_page_begins_with_the_verdict_and_needs_nothing_else() {
        let page = html(&example_summary());
        let body = page.split_once("<main>").unwrap().1.trim_start();
        assert!(body.starts_with("<p class=\"verdict invalid\" role=\"status\">INVALID: "), "{}", &body[..200]);
        for forbidden in ["<script", "http://", "https://", "@import", "url(", "src=", "NaN", "inf\""] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for needed in ["prefers-color-scheme: dark", "lang=\"en\"", "<caption>", "p99.999", "role=\"img\""] {
            assert!(page.contains(needed), "{needed}");
        }
        assert!(page.contains("1970-01-01T00:16:40Z"), "the beginning in UTC");
        assert!(page.contains("T1: &lt;twice&gt;") && !page.contains("<twice>"), "texts are escaped");
    }

    #[test]
    fn every_figure_of_the_page_is_in_the_summary_file() {
        let summary = example_summary();
        let json = serde_json::to_value(&summary).unwrap();
        for name in summary.figures.keys() {
            assert!(json["figures"].get(name).is_some(), "{name}");
        }
        for part in
            ["validity", "answered", "finals", "kinds", "channels", "segments", "hops", "intervals", "processes"]
        {
            assert!(json.get(part).is_some(), "{part}");
        }
    }
}
