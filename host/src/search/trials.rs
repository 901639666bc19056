//! Which assignments get a long fine-tune, and which of them is the result: the cheapest that can be expected to keep a bound.
//!
//! What an assignment loses in a long fine-tune is unknown until it is tried, and even then known only as well as some thousand
//! validation images tell two networks apart, which on photographs is worse than the bound. So no single measurement decides.
//! A Gaussian process joins them: the loss after a long fine-tune is expected to be a share of the loss after a short one,
//! plus an offset of the run, plus something of each assignment's own; every trial teaches about all assignments.

use super::pareto::{by_cost, frontier};
use super::{Assignment, Evaluated};

/// The share of a short fine-tune's loss that is left after a long one: mean and deviation of what is believed before any trial.
const SHARE: (f64, f64) = (0.25, 0.15);
/// Deviation of the run's offset, in points.
const OFFSET_DEVIATION: f64 = 0.2;
/// Deviation of what an assignment has of its own, in points.
const OWN_DEVIATION: f64 = 0.2;
/// A cheaper assignment is tried if the bound lies at most so many deviations below its expected loss: odds of five to one
/// against it. How many trials there may be is for the user to say; those allowed are made where they can still lower the cost.
const DARING: f64 = 1.0;

/// Long fine-tunes to come and those made.
#[derive(Clone, Debug)]
pub struct Trials {
    /// By rising cost.
    candidates: Vec<Candidate>,
    bound_points: f64,
    /// Deviation of one network's validation accuracy, in points.
    noise_points: f64,
}

#[derive(Clone, Debug)]
struct Candidate {
    bits: Assignment,
    cost: f64,
    /// Loss after the short fine-tune, in points.
    short_loss: f64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Untried,
    /// It lost so many points.
    Tried(f64),
    Diverged,
}

/// What an assignment is believed to lose in a long fine-tune, in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belief {
    /// Expected loss.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
}

impl Trials {
    /// Of assignments evaluated by short fine-tunes (see [`super::smoothed`]), where `float_accuracy` is the float network's on
    /// `images` validation images and a loss of `bound_points` is allowed.
    ///
    /// The candidates are the frontier, and above its end dearer assignments, each the most accurate of those that cost more
    /// than the one before: that a cheaper one did better in a short test may have been luck.
    #[must_use]
    pub fn new(evaluated: &[Evaluated], float_accuracy: f64, images: usize, bound_points: f64) -> Self {
        // Two networks of one origin are right on much the same images: half the deviation of independent answers.
        let noise_points = 50.0 * (float_accuracy * (1.0 - float_accuracy) / images.max(1) as f64).sqrt();
        Self { candidates: Self::candidates_of(evaluated, float_accuracy), bound_points, noise_points }
    }

    fn candidates_of(evaluated: &[Evaluated], float_accuracy: f64) -> Vec<Candidate> {
        let mut rungs = frontier(evaluated);
        let better = |a: &&Evaluated, b: &&Evaluated| a.accuracy.total_cmp(&b.accuracy).then(by_cost(b, a));
        while let Some(last) = rungs.last() {
            let dearer = evaluated.iter().filter(|found| by_cost(found, last).is_gt());
            let Some(next) = dearer.max_by(better).cloned() else { break };
            rungs.push(next);
        }
        let candidate = |found: Evaluated| Candidate {
            short_loss: (float_accuracy - found.accuracy) * 100.0,
            bits: found.bits,
            cost: found.cost,
            state: State::Untried,
        };
        rungs.into_iter().map(candidate).collect()
    }

    /// Takes other assignments, evaluated in the meantime, into account, and keeps what trials have shown.
    pub fn renew(&mut self, evaluated: &[Evaluated], float_accuracy: f64) {
        let mut renewed = Self::candidates_of(evaluated, float_accuracy);
        for tried in self.candidates.drain(..).filter(|candidate| candidate.state != State::Untried) {
            match renewed.iter_mut().find(|candidate| candidate.bits == tried.bits) {
                Some(candidate) => candidate.state = tried.state,
                None => renewed.push(tried),
            }
        }
        renewed.sort_by(|a, b| (a.cost * 1e9).round().total_cmp(&(b.cost * 1e9).round()));
        self.candidates = renewed;
    }

    /// The cheapest that can be trusted to keep the bound, tried or not: what a cheaper one would have to replace.
    #[must_use]
    pub fn trusted(&self) -> Option<&Assignment> {
        self.trusted_of(&self.beliefs()).map(|at| &self.candidates[at].bits)
    }

    fn trusted_of(&self, beliefs: &[Belief]) -> Option<usize> {
        self.alive().find(|&at| self.trusts(beliefs[at]))
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..self.candidates.len()).filter(|&at| self.candidates[at].state != State::Diverged)
    }

    /// What to try next: the assignment that would be the result if it had been tried; if it has been, a cheaper one that may
    /// well keep the bound; if none is expected to, the most accurate. `None` when a trial could change nothing.
    #[must_use]
    pub fn next(&self) -> Option<&Assignment> {
        let beliefs = self.beliefs();
        let open = |at: &usize| self.candidates[*at].state == State::Untried;
        let next = match self.trusted_of(&beliefs) {
            Some(at) if open(&at) => Some(at),
            Some(at) => {
                let hope = |at: &usize| (self.bound_points - beliefs[*at].mean) / beliefs[*at].deviation.max(1e-6);
                let hopeful = (0..at).filter(open).filter(|at| hope(at) >= -DARING);
                hopeful.max_by(|a, b| hope(a).total_cmp(&hope(b)))
            }
            None => self.alive().filter(open).min_by(|&a, &b| beliefs[a].mean.total_cmp(&beliefs[b].mean)),
        };
        next.map(|at| &self.candidates[at].bits)
    }

    /// Takes note of a trial: the points lost, or `None` if it diverged.
    pub fn note(&mut self, bits: &Assignment, loss_points: Option<f64>) {
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.bits == *bits) {
            candidate.state = loss_points.map_or(State::Diverged, State::Tried);
        }
    }

    /// The result so far: of those tried the cheapest that can be trusted to keep the bound, or else the one that is
    /// expected to lose least; and whether it is trusted.
    #[must_use]
    pub fn chosen(&self) -> Option<(&Assignment, Belief, bool)> {
        let beliefs = self.beliefs();
        let mut tried = (0..beliefs.len()).filter(|&at| matches!(self.candidates[at].state, State::Tried(_)));
        let least = tried.clone().min_by(|&a, &b| beliefs[a].mean.total_cmp(&beliefs[b].mean))?;
        let trusted = tried.find(|&at| self.trusts(beliefs[at]));
        let at = trusted.unwrap_or(least);
        Some((&self.candidates[at].bits, beliefs[at], trusted.is_some()))
    }

    /// What is believed of one of the candidates.
    #[must_use]
    pub fn belief(&self, bits: &Assignment) -> Option<Belief> {
        let at = self.candidates.iter().position(|candidate| candidate.bits == *bits)?;
        Some(self.beliefs()[at])
    }

    fn trusts(&self, belief: Belief) -> bool {
        keeps(belief.mean, self.bound_points)
    }

    /// The posterior of each candidate's loss (Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1).
    fn beliefs(&self) -> Vec<Belief> {
        let losses: Vec<f64> = self.candidates.iter().map(|candidate| candidate.short_loss).collect();
        let prior = |a: usize, b: usize| {
            let own = if a == b { OWN_DEVIATION.powi(2) } else { 0.0 };
            OFFSET_DEVIATION.powi(2) + SHARE.1.powi(2) * losses[a] * losses[b] + own
        };
        let expected = |at: usize| SHARE.0 * losses[at];
        let observed: Vec<(usize, f64)> = (self.candidates.iter().enumerate())
            .filter_map(|(at, candidate)| match candidate.state {
                State::Tried(loss) => Some((at, loss)),
                State::Untried | State::Diverged => None,
            })
            .collect();
        // All losses are counted from one float network, whose luck they share.
        let noise = self.noise_points.powi(2).max(1e-6);
        let covariance = |a: usize, b: usize| {
            let luck = if a == b { 2.0 * noise } else { noise };
            prior(observed[a].0, observed[b].0) + luck
        };
        let factor = cholesky(observed.len(), covariance);
        let surprises = solve(&factor, observed.iter().map(|&(at, loss)| loss - expected(at)).collect());
        (0..losses.len())
            .map(|at| {
                let to_observed = solve(&factor, observed.iter().map(|&(other, _)| prior(at, other)).collect());
                let learned: f64 = to_observed.iter().zip(&surprises).map(|(a, b)| a * b).sum();
                let explained: f64 = to_observed.iter().map(|a| a * a).sum();
                Belief { mean: expected(at) + learned, deviation: (prior(at, at) - explained).max(0.0).sqrt() }
            })
            .collect()
    }
}

/// Whether a loss is within a bound, both in points: one image more or less is not to be decided by rounding.
#[must_use]
pub fn keeps(loss_points: f64, bound_points: f64) -> bool {
    loss_points <= bound_points + 1e-9
}

/// The lower triangle of a symmetric positive definite matrix's factor, row by row.
fn cholesky(size: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(size);
    for row in 0..size {
        let mut line: Vec<f64> = Vec::with_capacity(row + 1);
        for column in 0..=row {
            let above = factor.get(column).unwrap_or(&line);
            let known: f64 = line.iter().zip(above).map(|(a, b)| a * b).take(column).sum();
            let rest = entry(row, column) - known;
            line.push(if row == column { rest.max(1e-12).sqrt() } else { rest / factor[column][column] });
        }
        factor.push(line);
    }
    factor
}

/// Forward substitution: `x` of `factor x = right`.
fn solve(factor: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    for row in 0..right.len() {
        let known: f64 = factor[row].iter().zip(&right).take(row).map(|(a, b)| a * b).sum();
        right[row] = (right[row] - known) / factor[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn found(bits: &str, cost: f64, accuracy: f64) -> Evaluated {
        Evaluated { bits: bits.parse().unwrap(), accuracy, cost, reward: 0.0, accepted: true }
    }

    /// Eight rungs, whose short losses fall from 4 points to half a point.
    fn rungs() -> Vec<Evaluated> {
        (1..=8).map(|i| found(&i.to_string(), f64::from(i) / 8.0, 0.65 - 0.01 * (4.5 - 0.5 * f64::from(i)))).collect()
    }

    fn walk(trials: &mut Trials, most: usize, mut loss: impl FnMut(u8) -> Option<f64>) -> Vec<u8> {
        let mut tried = Vec::new();
        while let Some(bits) = trials.next().filter(|_| tried.len() < most).cloned() {
            tried.push(bits.0[0].get());
            trials.note(&bits, loss(bits.0[0].get()));
        }
        tried
    }

    #[test]
    fn exact_measurements_lead_to_the_cheapest_that_keeps_the_bound() {
        for cheapest in 2..=7u8 {
            let mut trials = Trials::new(&rungs(), 0.65, 100_000_000, 0.3);
            let tried = walk(&mut trials, 8, |bits| Some(0.3 + 0.12 * (f64::from(cheapest) - f64::from(bits)) - 0.06));
            let (bits, belief, trusted) = trials.chosen().unwrap();
            assert!(trusted, "{tried:?}");
            assert_eq!(bits.0[0].get(), cheapest, "{tried:?} {belief:?}");
            assert!(belief.mean <= 0.3 && belief.deviation < 0.02);
        }
    }

    #[test]
    fn noise_is_averaged_over_trials() {
        // What is lost on average over many runs keeps the bound, though one measurement errs by half a point.
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut lost, mut bits, mut ideal) = (0.0, 0.0, 0.0);
        const RUNS: usize = 400;
        let mut gauss = |deviation: f64| deviation * ((0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0);
        for _ in 0..RUNS {
            let mut trials = Trials::new(&rungs(), 0.65, 3_750, 0.3);
            let (share, offset, luck) = (SHARE.0 + gauss(SHARE.1), gauss(OFFSET_DEVIATION), gauss(0.39));
            let own: Vec<f64> = (0..9).map(|_| gauss(OWN_DEVIATION)).collect();
            let truth = |bits: u8| offset + share * (4.5 - 0.5 * f64::from(bits)) + own[usize::from(bits)];
            let tried = walk(&mut trials, 4, |bits| Some(truth(bits) + luck + gauss(0.39)));
            assert!(!tried.is_empty());
            let chosen = trials.chosen().unwrap().0.0[0].get();
            lost += truth(chosen) / RUNS as f64;
            bits += f64::from(chosen) / RUNS as f64;
            ideal += f64::from((1..8).find(|&bits| truth(bits) <= 0.3).unwrap_or(8)) / RUNS as f64;
        }
        assert!(lost < 0.3, "{lost:.2} points at {bits:.2}");
        assert!(bits < ideal + 1.5, "{lost:.2} points at {bits:.2}: who knew the truth would take {ideal:.2}");
    }

    #[test]
    fn a_diverged_trial_is_no_result() {
        let mut trials = Trials::new(&rungs(), 0.65, 3_750, 0.3);
        let tried = walk(&mut trials, 8, |_| None);
        assert_eq!(tried.len(), 8, "{tried:?}");
        assert!(trials.chosen().is_none());
    }

    #[test]
    fn where_none_keeps_the_bound_the_most_accurate_is_taken() {
        let mut trials = Trials::new(&rungs(), 0.65, 3_750, -5.0);
        assert_eq!(walk(&mut trials, 2, |_| Some(0.0)), [8, 7]);
        let (bits, _, trusted) = trials.chosen().unwrap();
        assert!(!trusted && bits.0[0].get() == 8);
    }

    #[test]
    fn above_the_frontier_the_candidates_go_on() {
        let all = [found("5,5", 0.6, 0.7), found("2,2", 0.2, 0.9), found("3,3", 0.4, 0.6), found("8,8", 1.0, 0.7)];
        let trials = Trials::new(&all, 0.9, 1_000, 0.3);
        let rungs: Vec<String> = trials.candidates.iter().map(|candidate| candidate.bits.to_string()).collect();
        assert_eq!(rungs, ["2,2", "5,5", "8,8"]);
    }

    #[test]
    fn assignments_that_are_evaluated_between_trials_join_the_others() {
        let all = [found("2,2", 0.2, 0.80), found("4,4", 0.6, 0.89)];
        let mut trials = Trials::new(&all, 0.9, 1_000_000, 0.3);
        assert_eq!(trials.trusted().unwrap().to_string(), "4,4");
        trials.note(&"4,4".parse().unwrap(), Some(0.2));
        trials.note(&"2,2".parse().unwrap(), Some(3.0));
        assert_eq!(trials.next(), None);
        let better =
            [found("4,2", 0.4, 0.895), found("3,3", 0.3, 0.8), found("4,4", 0.6, 0.89), found("2,2", 0.2, 0.80)];
        trials.renew(&better, 0.9);
        assert_eq!(trials.next().unwrap().to_string(), "4,2", "it costs less and lost no more");
        let tried = trials.candidates.iter().filter(|candidate| matches!(candidate.state, State::Tried(_))).count();
        assert_eq!(tried, 2, "what was tried stays, on the frontier or not");
        trials.note(&"4,2".parse().unwrap(), Some(0.1));
        assert_eq!(trials.chosen().unwrap().0.to_string(), "4,2");
    }

    #[test]
    fn a_factor_solves_what_it_is_of() {
        let matrix = [[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]];
        let factor = cholesky(3, |row, column| matrix[row][column]);
        for row in 0..3 {
            for column in 0..=row {
                let product: f64 = factor[row].iter().zip(&factor[column]).map(|(a, b)| a * b).sum();
                assert!((product - matrix[row][column]).abs() < 1e-12);
            }
        }
        let solved = solve(&factor, vec![1.0, 2.0, 3.0]);
        let back: f64 = factor[2].iter().zip(&solved).map(|(a, b)| a * b).sum();
        assert!((back - 3.0).abs() < 1e-12);
    }
}
