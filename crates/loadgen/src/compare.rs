//! Compares two builds by paired runs in the order A B B A, so that a slow drift of the machine
//! cancels out. Each round gives one ratio of B to A. Their Hodges-Lehmann estimate has an exact
//! confidence interval from Wilcoxon's signed ranks, which needs no normal distribution and is
//! robust against outliers. This module only calculates; `twqr-lab load compare` makes the runs.

pub mod proof;
mod virtual_runs;

use serde::Serialize;

pub use virtual_runs::VirtualRuns;

/// The fewest rounds with which 95 % confidence is possible at all.
pub const ROUNDS_MIN: usize = 6;
/// The most rounds.
pub const ROUNDS_MAX: usize = 200;

/// A figure of the four runs of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparedRound {
    /// The first and the last run: of A.
    pub a: [f64; 2],
    /// The two runs between them: of B.
    pub b: [f64; 2],
}

/// The comparison of one figure, of which more is worse.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureComparison {
    /// The median of A's runs.
    pub median_a: f64,
    /// The median of B's runs.
    pub median_b: f64,
    /// B as a multiple of A.
    pub ratio: f64,
    /// The confidence interval of the ratio.
    pub ratio_from: f64,
    /// Its upper end.
    pub ratio_to: f64,
    /// Whether B is worse: the whole interval is above 1.
    pub is_regression: bool,
}

/// The fewest rounds that can show anything with this `alpha`: with fewer, even the highest of all
/// differences lies within the interval.
pub fn rounds_needed(alpha: f64) -> usize {
    (ROUNDS_MIN..=ROUNDS_MAX).find(|rounds| tail(*rounds, alpha / 2.0) > 0).unwrap_or(ROUNDS_MAX)
}

/// Compares a figure over at least [`ROUNDS_MIN`] rounds. `alpha` is the probability that the
/// interval misses the true ratio, such as 0.05. `None` if there are too few rounds for it, or
/// figures that are not above 0.
pub fn compare(rounds: &[ComparedRound], alpha: f64) -> Option<FigureComparison> {
    let figures = || rounds.iter().flat_map(|round| round.a.into_iter().chain(round.b));
    if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds.len())
        || figures().any(|figure| !figure.is_finite() || figure <= 0.0)
    {
        return None;
    }
    let difference =
        |round: &ComparedRound| (round.b[0].ln() + round.b[1].ln() - round.a[0].ln() - round.a[1].ln()) / 2.0;
    let differences: Vec<f64> = rounds.iter().map(difference).collect();
    let averages = walsh_averages(&differences);
    let outside = tail(differences.len(), alpha / 2.0).checked_sub(1)?;
    let (from, to) = (averages[outside].exp(), averages[averages.len() - 1 - outside].exp());
    Some(FigureComparison {
        median_a: median(rounds.iter().flat_map(|round| round.a).collect()),
        median_b: median(rounds.iter().flat_map(|round| round.b).collect()),
        ratio: median(averages).exp(),
        ratio_from: from,
        ratio_to: to,
        is_regression: from > 1.0,
    })
}

/// The averages of each pair, each value paired with itself too, sorted.
fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let pairs = values.iter().enumerate().flat_map(|(n, a)| values[n..].iter().map(move |b| f64::midpoint(*a, *b)));
    let mut averages: Vec<f64> = pairs.collect();
    averages.sort_by(f64::total_cmp);
    averages
}

/// The number of the lowest sums of signed ranks of `n` values whose probability together is at
/// most `probability`. One average less than that lies outside the interval at each end.
fn tail(n: usize, probability: f64) -> usize {
    let mut ways = vec![0.0_f64; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    let fits = |way: &&f64| {
        below += **way / all;
        below <= probability
    };
    ways.iter().take_while(fits).count()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The rounds that a comparison makes by default.
    const ROUNDS: usize = 24;
    const COMPARISONS: u64 = 50;

    /// The noise of a shared machine: a few per cent from run to run, a drift over the whole
    /// comparison, and now and then a run that something else disturbed without making it invalid.
    struct NoisyMachine {
        random: ChaCha8Rng,
        level: f64,
    }

    impl NoisyMachine {
        fn run(&mut self, figure: f64) -> f64 {
            let mut normal = || (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
            self.level += 0.005 * normal();
            let noise = 0.025 * normal();
            let disturbed = if self.random.random_bool(0.02) { self.random.random_range(0.1..0.5) } else { 0.0 };
            figure * (self.level + noise + disturbed).exp()
        }
    }

    fn comparison(seed: u64, slowdown: f64) -> FigureComparison {
        let mut machine = NoisyMachine { random: ChaCha8Rng::seed_from_u64(seed), level: 0.0 };
        let (a, b) = (7.3, 7.3 * slowdown);
        let rounds: Vec<ComparedRound> = (0..ROUNDS)
            .map(|_| {
                let runs = [machine.run(a), machine.run(b), machine.run(b), machine.run(a)];
                ComparedRound { a: [runs[0], runs[3]], b: [runs[1], runs[2]] }
            })
            .collect();
        compare(&rounds, 0.05).unwrap()
    }

    #[test]
    fn the_same_build_seldom_raises_an_alarm_and_a_slowdown_of_5_per_cent_is_found() {
        let alarms = |slowdown: f64| (0..COMPARISONS).filter(|seed| comparison(*seed, slowdown).is_regression).count();
        let (false_alarms, found) = (alarms(1.0), alarms(1.05));
        println!("seeds 0 to {}: {false_alarms} false alarms, {found} slowdowns found", COMPARISONS - 1);
        assert!(false_alarms <= 3, "{false_alarms} false alarms");
        assert!(found >= 45, "{found} of {COMPARISONS} slowdowns found");
    }

    #[test]
    fn the_interval_holds_the_true_ratio_about_as_often_as_it_says() {
        let holds = |seed: &u64| {
            let compared = comparison(1_000 + *seed, 1.05);
            (compared.ratio_from..=compared.ratio_to).contains(&1.05)
        };
        let share = (0..400).filter(holds).count() as f64 / 400.0;
        assert!((0.92..=0.99).contains(&share), "{share}");
    }

    #[test]
    fn the_tails_are_those_of_the_tables_of_signed_ranks() {
        // The critical values of Wilcoxon's signed-rank test, 5 % on both sides, are one less.
        for (n, critical) in [(6, 0), (8, 3), (10, 8), (15, 25), (20, 52)] {
            assert_eq!(tail(n, 0.025), critical + 1, "{n}");
        }
        assert_eq!(tail(5, 0.025), 0, "too few for 95 %");
        for (figures, rounds) in [(1.0, 6), (2.0, 7), (4.0, 8)] {
            assert_eq!(rounds_needed(0.05 / figures), rounds, "{figures}");
        }
    }

    #[test]
    fn too_few_rounds_and_impossible_figures_are_refused() {
        let round = ComparedRound { a: [1.0, 1.0], b: [2.0, 2.0] };
        assert!(compare(&[round; 5], 0.05).is_none());
        assert!(compare(&[ComparedRound { a: [0.0, 1.0], ..round }; 8], 0.05).is_none());
        let compared = compare(&[round; 8], 0.05).unwrap();
        assert!((compared.ratio - 2.0).abs() < 1e-9 && compared.is_regression, "{compared:?}");
    }
}
