//! `twqr-lab sample-day`: the sample days, generated from a seed.

use std::io::{BufWriter, Write};

/// The arguments of `twqr-lab sample-day`.
#[derive(clap::Args)]
pub struct SampleDayOptions {
    /// The seed of the day; the same seed gives the same day
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// The number of lines
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    lines: u32,
    /// The day that uses the full API instead, with this many chains of calls
    #[arg(long, value_name = "CHAINS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    whole_api: Option<u32>,
}

/// Prints the day to standard output.
pub fn run(options: &SampleDayOptions) -> anyhow::Result<()> {
    let lines = match options.whole_api {
        Some(chains) => twqr_loadgen::full_api::full_api_sample_day(options.seed, chains),
        None => twqr_loadgen::sample_day(options.seed, options.lines as usize),
    };
    let mut out = BufWriter::new(twqr_files::stdout());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
