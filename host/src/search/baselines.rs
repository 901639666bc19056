//! What a search must be compared with, at the same number of evaluations: the same bits everywhere, chance, and greed; and,
//! where the space is small, everything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judge::{Judge, best_first};
use super::{AccuracyOracle, Assignment, Evaluated, LayerFacts, SearchConfig, SearchError};

/// A way to choose assignments without an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Each bitwidth everywhere.
    Uniform,
    /// Assignments drawn at random, each bitwidth of each layer equally likely.
    Random,
    /// From the highest bitwidth everywhere, step by step the layer whose lowering is worth most, as long as the bound
    /// allows.
    Greedy,
    /// Every assignment, whatever the budget: only where there are at most [`super::EXHAUSTIVE_LIMIT`].
    Exhaustive,
}

/// What a baseline found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineOutcome {
    /// Its best assignment.
    pub best: Evaluated,
    /// Distinct assignments it evaluated.
    pub evaluations: usize,
}

/// Runs a baseline with at most `budget` distinct evaluations. Everything random follows from `seed`.
///
/// # Errors
/// [`SearchError::Config`] for settings without sense and spaces too large to be walked through.
pub fn baseline(
    baseline: Baseline,
    config: &SearchConfig,
    layers: &[LayerFacts],
    oracle: &mut dyn AccuracyOracle,
    seed: u64,
    budget: usize,
) -> Result<BaselineOutcome, SearchError> {
    let judge = Judge::new(config, layers, oracle.float_accuracy())?;
    let mut walk = Walk { judge, oracle, budget, known: BTreeMap::new() };
    match baseline {
        Baseline::Uniform => {
            let all: Vec<Assignment> = walk.judge.actions.iter().map(|&bits| walk.judge.uniform(bits)).collect();
            walk.evaluate(&all)?;
        }
        Baseline::Random => walk.random(seed)?,
        Baseline::Greedy => walk.greedy()?,
        Baseline::Exhaustive => {
            let all = walk.judge.everything()?;
            walk.budget = all.len();
            walk.evaluate(&all)?;
        }
    }
    let mut found: Vec<Evaluated> = walk.known.into_values().collect();
    found.sort_by(best_first);
    let evaluations = found.len();
    let best = found.into_iter().next().ok_or(SearchError::NothingEvaluated)?;
    Ok(BaselineOutcome { best, evaluations })
}

struct Walk<'a> {
    judge: Judge<'a>,
    oracle: &'a mut dyn AccuracyOracle,
    budget: usize,
    known: BTreeMap<Assignment, Evaluated>,
}

impl Walk<'_> {
    /// Evaluates what is not known, as far as the budget goes, and returns what is known of these now.
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluated>, SearchError> {
        let mut unknown: Vec<Assignment> =
            assignments.iter().filter(|a| !self.known.contains_key(a)).cloned().collect();
        unknown.dedup();
        unknown.truncate(self.budget - self.known.len().min(self.budget));
        let answers = self.oracle.evaluate(&unknown).map_err(SearchError::Oracle)?;
        for (bits, answer) in unknown.into_iter().zip(&answers) {
            let described = self.judge.describe(&bits, Some(answer).filter(|answer| answer.accuracy.is_finite()));
            self.known.insert(bits, described);
        }
        Ok(assignments.iter().filter_map(|bits| self.known.get(bits).cloned()).collect())
    }

    fn random(&mut self, seed: u64) -> Result<(), SearchError> {
        let drawn = self.judge.draw(seed, self.budget);
        self.evaluate(&drawn).map(drop)
    }

    fn greedy(&mut self) -> Result<(), SearchError> {
        let highest = self.judge.actions[self.judge.actions.len() - 1];
        let mut at = self.judge.uniform(highest);
        self.evaluate(std::slice::from_ref(&at))?;
        while self.known.len() < self.budget {
            let mut neighbours = self.evaluate(&self.judge.lower_neighbours(&at))?;
            neighbours.retain(|found| found.accepted);
            neighbours.sort_by(best_first);
            let Some(next) = neighbours.into_iter().next() else { break };
            at = next.bits;
        }
        Ok(())
    }
}
