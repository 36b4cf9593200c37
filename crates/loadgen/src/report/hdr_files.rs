//! The files of HdrHistogram's own tools: an interval log (`.hlog`) and percentile files (`.hgrm`).

use std::{fmt::Write as _, io, time::Duration};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use crate::{generator::RecordedRun, latency_histogram};

/// The recorded unit is µs; the log shows maxima in ms.
const US_IN_MS: f64 = 1_000.0;
/// Percentile lines for each halving of the distance to 100 %, as HdrHistogram's tools print them.
const TICKS: u32 = 5;

/// The interval log: for each second one histogram of the answers, and one of the final results
/// (tag `final`), in µs. A call belongs to the second of its intended start; seconds of warm-up
/// alone are absent.
pub fn interval_log(recorded: &RecordedRun) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let failed = |error: &dyn std::fmt::Debug| io::Error::other(format!("interval log: {error:?}"));
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("twqr-lab load; latencies in us from the intended start, without the warm-up, nothing trimmed");
    builder.with_start_time(recorded.began).with_base_time(recorded.began).with_max_value_divisor(US_IN_MS);
    let mut log = builder.begin_log_with(&mut file, &mut serializer).map_err(|error| failed(&error))?;
    let tag = Tag::new("final");
    let measured: Vec<_> = recorded.measured().collect();
    for second in measured.chunk_by(|a, b| a.intended_us / 1_000_000 == b.intended_us / 1_000_000) {
        let Some(first) = second.first() else { continue };
        let start = Duration::from_secs(first.intended_us / 1_000_000);
        let (mut answered, mut finals) = (latency_histogram(), latency_histogram());
        for record in second {
            answered.saturating_record(record.latency_us());
            if record.final_us > 0 {
                finals.saturating_record(record.final_us.saturating_sub(record.intended_us));
            }
        }
        let length = Duration::from_secs(1);
        log.write_histogram(&answered, start, length, None).map_err(|error| failed(&error))?;
        log.write_histogram(&finals, start, length, tag).map_err(|error| failed(&error))?;
    }
    Ok(file)
}

/// The percentile file of a histogram in µs, with values in ms.
pub fn percentile_file(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / US_IN_MS, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / US_IN_MS, histogram.stdev() / US_IN_MS);
    let max = if histogram.is_empty() { 0.0 } else { histogram.max() as f64 / US_IN_MS };
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let sub_buckets = 2_048;
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets());
    text
}

#[cfg(test)]
mod tests {
    use base64_free::decode_log;

    use std::time::SystemTime;

    use super::*;
    use crate::{
        generator::{CallRecord, record_tests::paid},
        scenario::Scenario,
        schedule::segments,
    };

    /// Reads a log with the library's own reader.
    mod base64_free {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

        /// Start in s and tag of each interval.
        pub(super) fn decode_log(log: &[u8]) -> Vec<(u64, bool)> {
            let entries = IntervalLogIterator::new(log).map(|entry| entry.unwrap());
            let intervals = entries.filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some((interval.start_timestamp().as_secs(), interval.tag().is_some())),
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
            });
            intervals.collect()
        }
    }

    #[test]
    fn the_interval_log_has_two_histograms_for_each_second_behind_the_warm_up() {
        let hold = "[[phase]]\nkind = \"hold\"\nseconds = 2\nrate = 1\n";
        let scenario = Scenario::parse(&format!("{hold}warm_up = true\n{hold}")).unwrap();
        let measured = |order, at_us| CallRecord { segment: 1, ..paid(order, at_us) };
        let recorded = RecordedRun {
            hops: Vec::new(),
            records: vec![paid(1, 200_000), measured(2, 2_000_000), measured(3, 2_900_000), measured(4, 4_100_000)],
            segments: segments(&scenario),
            dropped: 0,
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
            run: "run".into(),
        };
        let log = interval_log(&recorded).unwrap();
        assert_eq!(decode_log(&log), [(2, false), (2, true), (4, false), (4, true)]);
    }

    #[test]
    fn the_percentile_file_ends_with_the_count_and_the_maximum() {
        let mut histogram = latency_histogram();
        (1..=1_000).for_each(|n| histogram.saturating_record(n * 1_000));
        let text = percentile_file(&histogram);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert!(lines.iter().any(|line| line.split_whitespace().nth(1) == Some("0.500000000000")), "{text}");
        assert!(text.contains("Total count    =         1000]") && text.contains("#[Max     =     1000."), "{text}");
    }
}
