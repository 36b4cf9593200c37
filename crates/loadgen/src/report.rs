//! The report of a run: one summary with every figure, an interval log and percentile files of
//! HdrHistogram, and one HTML page that needs nothing else. All of them are made from the summary
//! and the records, so they agree.

mod chart;
mod figures;
mod hdr_files;
mod hops;
mod html;
mod latency_figures;
mod over_time;
mod overload;
mod slow_calls;
mod validity;

pub use figures::{
    ChannelFigures, FaultNote, GENERATOR, KindFigures, LoadSummary, ProcessFigures, ProcessUsage, RunFacts,
    SegmentFigures, ThresholdResult, UsageSample, summarize,
};
pub use hdr_files::{interval_log, percentile_file};
pub use hops::HopFigures;
pub use html::html;
pub use latency_figures::{LatencyFigures, PercentilePoint};
pub use over_time::Interval;
pub use slow_calls::{SlowCall, SlowCalls, SlowHop};
pub use validity::{Validity, ValidityFacts};

#[cfg(test)]
pub(crate) use figures::tests as figures_tests;
