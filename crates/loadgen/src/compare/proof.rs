//! Whether the comparison of builds can be trusted: how often it raises a false alarm between equal
//! builds, and how often it finds a planted slowdown. The rounds come from virtual runs, or from
//! real runs of one build that were measured before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{ComparedRound, compare};

/// The probability that one of the intervals of a comparison misses its true ratio.
pub const ALPHA: f64 = 0.05;
/// The largest share of false alarms: 3 of 50.
const FALSE_ALARMS_MAX: f64 = 0.06;
/// The smallest share of planted slowdowns that must be found: 45 of 50.
const FOUND_MIN: f64 = 0.9;

/// Gives the rounds of one comparison.
pub trait RoundSource {
    /// The next round of each figure, with B slower than A by this factor.
    fn round(&mut self, slowdown: f64) -> Vec<ComparedRound>;
}

/// The results of the trials of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ComparisonProof {
    /// Comparisons of a build with itself, and as many with the slowdown.
    pub comparisons: u64,
    /// The planted slowdown, as a factor.
    pub slowdown: f64,
    /// Comparisons of a build with itself that found B worse.
    pub false_alarms: u64,
    /// Comparisons with the slowdown that found B worse.
    pub found: u64,
}

impl ComparisonProof {
    /// Whether at most 3 of 50 raised a false alarm, and at least 45 of 50 found the slowdown.
    pub fn holds(&self) -> bool {
        let share = |count: u64| count as f64 / self.comparisons.max(1) as f64;
        share(self.false_alarms) <= FALSE_ALARMS_MAX && share(self.found) >= FOUND_MIN
    }
}

/// Makes `comparisons` comparisons of `rounds` rounds without and with the slowdown. `source` gives
/// the rounds of a comparison by its seed. `None` if a comparison is impossible, because of too few
/// rounds or a figure that is 0.
pub fn prove<S: RoundSource>(
    comparisons: u64,
    rounds: usize,
    slowdown: f64,
    mut source: impl FnMut(u64) -> S,
) -> Option<ComparisonProof> {
    let mut count = |slowdown: f64, first_seed: u64| -> Option<u64> {
        let mut worse = 0;
        for seed in first_seed..first_seed + comparisons {
            worse += u64::from(finds_worse(&mut source(seed), rounds, slowdown)?);
        }
        Some(worse)
    };
    let false_alarms = count(1.0, 0)?;
    let found = count(slowdown, comparisons)?;
    Some(ComparisonProof { comparisons, slowdown, false_alarms, found })
}

/// Makes one comparison, as `twqr-lab load compare` does.
fn finds_worse(source: &mut impl RoundSource, rounds: usize, slowdown: f64) -> Option<bool> {
    let mut figures: Vec<Vec<ComparedRound>> = Vec::new();
    for _ in 0..rounds {
        let round = source.round(slowdown);
        figures.resize(round.len(), Vec::new());
        for (figure, round) in figures.iter_mut().zip(round) {
            figure.push(round);
        }
    }
    let alpha = ALPHA / figures.len() as f64;
    let compared: Option<Vec<_>> = figures.iter().map(|rounds| compare(rounds, alpha)).collect();
    Some(compared?.iter().any(|comparison| comparison.is_regression))
}

/// Draws rounds from those that were measured with one build on both sides. Which side is A is
/// drawn too, so that no difference is left but the slowdown.
#[derive(Debug)]
pub struct MeasuredRounds<'a> {
    /// The measured rounds, each with every figure.
    measured: &'a [Vec<ComparedRound>],
    random: ChaCha8Rng,
}

impl<'a> MeasuredRounds<'a> {
    /// The rounds of one comparison; `measured` must not be empty.
    pub fn new(measured: &'a [Vec<ComparedRound>], seed: u64) -> Self {
        Self { measured, random: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl RoundSource for MeasuredRounds<'_> {
    fn round(&mut self, slowdown: f64) -> Vec<ComparedRound> {
        let chosen = self.random.random_range(0..self.measured.len());
        let swaps = self.random.random_bool(0.5);
        let planted = |round: &ComparedRound| {
            let (a, b) = if swaps { (round.b, round.a) } else { (round.a, round.b) };
            ComparedRound { a, b: b.map(|figure| figure * slowdown) }
        };
        self.measured[chosen].iter().map(planted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds whose noise is this large.
    fn measured(noise: f64) -> Vec<Vec<ComparedRound>> {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut run = || 7.3 * (1.0 + noise * (random.random::<f64>() - 0.5));
        (0..24).map(|_| vec![ComparedRound { a: [run(), run()], b: [run(), run()] }]).collect()
    }

    #[test]
    fn a_slowdown_is_found_on_a_calm_machine_and_lost_in_the_noise_of_another() {
        let prove = |noise: f64| {
            let rounds = measured(noise);
            prove(50, 16, 1.05, |seed| MeasuredRounds::new(&rounds, seed)).unwrap()
        };
        let calm = prove(0.05);
        assert!(calm.holds() && calm.found == 50, "{calm:?}");
        let noisy = prove(1.5);
        assert!(!noisy.holds() && noisy.found < 45, "{noisy:?}");
    }

    #[test]
    fn a_difference_between_the_sides_of_the_measured_runs_raises_no_alarm() {
        let mut rounds = measured(0.05);
        for round in &mut rounds {
            round[0].b = round[0].b.map(|figure| figure * 1.2);
        }
        let proof = prove(50, 16, 1.05, |seed| MeasuredRounds::new(&rounds, seed)).unwrap();
        assert!(proof.false_alarms <= 3, "{proof:?}");
    }

    #[test]
    fn the_limits_are_3_and_45_of_50() {
        let proof =
            |false_alarms, found| ComparisonProof { comparisons: 50, slowdown: 1.05, false_alarms, found }.holds();
        for (false_alarms, found, holds) in [(3, 45, true), (4, 50, false), (0, 44, false)] {
            assert_eq!(proof(false_alarms, found), holds, "{false_alarms} {found}");
        }
    }
}
