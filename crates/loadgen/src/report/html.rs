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
    slow_calls(&mut page, summary);
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

fn slow_calls(page: &mut String, summary: &LoadSummary) {
    let slow = &summary.slow_calls;
    let limit = short(slow.limit_ms);
    if slow.count == 0 {
        let _ = writeln!(page, "<p>No call took longer than {limit} ms.</p>");
        return;
    }
    let row = |hop: &super::SlowHop| vec![hop.hop.to_owned(), short(hop.calls as f64), short(hop.longest_ms)];
    let mut rows: Vec<Vec<String>> = slow.by_hop.iter().map(row).collect();
    rows.push(vec!["not known: the answer has no hops".to_owned(), short(slow.unattributed as f64), String::new()]);
    let caption =
        format!("{} calls took longer than {limit} ms, by the hop that was longest beyond its median", slow.count);
    table(page, &caption, &["hop", "calls", "longest call in ms"], rows);
    if slow.calls.is_empty() {
        return;
    }
    let row = |call: &super::SlowCall| {
        let figures = [call.latency_ms, call.hop_ms, call.usual_ms].map(short);
        let [latency, hop, usual] = figures;
        vec![format!("{:.3}", call.at_s), call.merchant_trade_no.clone(), latency, call.hop.to_owned(), hop, usual]
    };
    let rows = slow.calls.iter().map(row).collect();
    let heads = ["at s", "order", "latency in ms", "hop", "hop in ms", "its median in ms"];
    table(page, "The slowest of them, in the order of time", &heads, rows);
}

fn processes(page: &mut String, summary: &LoadSummary) {
    let row = |process: &super::ProcessFigures| {
        let figures = [process.cores_mean, process.cores_max, process.resident_mib_max].map(short);
        [process.name.clone()].into_iter().chain(figures).collect()
    };
    let rows = summary.process_figures.iter().map(row).collect();
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

    /// Every number of a JSON value, as the page writes it.
    fn numbers(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Number(number) => drop(found.insert(short(number.as_f64().unwrap()))),
            serde_json::Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
            serde_json::Value::Object(values) => values.values().for_each(|value| numbers(value, found)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
        }
    }

    #[test]
    fn every_number_of_the_page_is_in_the_summary_file() {
        let summary = example_summary();
        let mut known = std::collections::BTreeSet::new();
        numbers(&serde_json::to_value(&summary).unwrap(), &mut known);
        let page = html(&summary);
        let cells = page.split("<td>").skip(1).filter_map(|cell| cell.split("</td>").next());
        let is_number = |cell: &&str| cell.replace(',', "").parse::<f64>().is_ok();
        let numbers: Vec<&str> = cells.filter(is_number).collect();
        assert!(numbers.len() > 100, "{}", numbers.len());
        for number in numbers {
            let exact = number.parse().map_or_else(|_| number.to_owned(), short);
            assert!(known.contains(number) || known.contains(&exact), "{number} is only on the page");
        }
    }

    #[test]
    fn the_page_has_every_plot() {
        let page = html(&example_summary());
        for title in [
            "Latency by percentile",
            "Latency over time",
            "Target and achieved rate",
            "Calls in flight, and answered as in progress",
            "Errors by reason",
            "Average time of each part",
            "CPU by process",
            "Resident memory by process",
        ] {
            assert!(page.contains(&format!("<figcaption>{title}</figcaption>")), "{title}");
        }
        let errors = page.split("id=\"errors-d\"").nth(1).unwrap();
        assert!(errors.split("</desc>").next().unwrap().contains("Unavailable up to"), "a line for each reason");
    }
    #[test]
    fn every_part_of_the_page_is_in_the_summary_file() {
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
