//! The search beside what needs no agent, with as many fine-tunes each.

use serde::{Deserialize, Serialize};

use super::{StageError, Workshop, files, oracle};
use crate::interrupt;
use crate::run::{RunFolder, write_atomically};
use crate::search::{self, AccuracyOracle, Baseline, Evaluated, LayerFacts, SearchConfig, SearchError, baseline};

/// What every method found, over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The network.
    pub network: String,
    /// The data set.
    pub dataset: String,
    /// Validation accuracy of the float network.
    pub float_accuracy: f64,
    /// Loss that a short fine-tune may have, in points, if the reward has a bound.
    pub max_loss_points: Option<f64>,
    /// Fine-tunes that each method had, by seed: as many as the search made.
    pub budgets: Vec<usize>,
    /// Method by method.
    pub methods: Vec<MethodFigures>,
}

/// What one method found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodFigures {
    /// The method.
    pub method: String,
    /// Its best assignment of each seed.
    pub found: Vec<Evaluated>,
    /// Fine-tunes it made, by seed.
    pub evaluations: Vec<usize>,
    /// Mean over the seeds of the assignments' mean bits, and their standard deviation.
    pub mean_bits: Spread,
    /// The same of the mean bits of a weight.
    pub weighted_bits: Spread,
    /// The same of the loss against the float network in points, after the short fine-tune.
    pub loss_points: Spread,
    /// The same of the reward.
    pub reward: Spread,
}

/// A mean and the standard deviation of what it is a mean of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of a sample; 0 for one value).
    pub deviation: f64,
}

impl Spread {
    /// Of some values.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, deviation: (squares / (count - 1.0).max(1.0)).sqrt() }
    }
}

impl Spread {
    /// In whole numbers.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{:.0} ± {:.0}", self.mean, self.deviation)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ± {:.2}", self.mean, self.deviation)
    }
}

impl Comparison {
    /// The method with the highest mean reward; of equal ones the first.
    #[must_use]
    pub fn winner(&self) -> Option<&MethodFigures> {
        let better = |a: &&MethodFigures, b: &&MethodFigures| b.reward.mean.total_cmp(&a.reward.mean);
        self.methods.iter().min_by(better)
    }
}

/// Runs the search and the baselines `seeds` times each from the run's float network, by the same oracle, and writes
/// [`files::COMPARISON`]. An assignment's fine-tune is the same for all of them; it is done once.
///
/// # Errors
/// [`StageError`].
pub fn compare(
    run: &mut RunFolder,
    workshop: &Workshop,
    seeds: usize,
    exhaustive: bool,
) -> Result<Comparison, StageError> {
    let progress = &workshop.progress;
    let mut site = oracle::open(run, workshop)?;
    let config = run.config().clone();
    let mut task = progress.task("compare", seeds as u64);
    let mut comparison =
        methods(&site.search, &site.layers, &mut site.oracle, config.seed, seeds, exhaustive, &mut |done, method| {
            task.set(done as u64, || method.to_owned());
        })
        .map_err(|error| if interrupt::requested() { SearchError::Stopped } else { error })?;
    (comparison.network, comparison.dataset) = (config.network, config.dataset);
    let text = serde_json::to_string_pretty(&comparison).unwrap_or_default();
    write_atomically(&run.file(files::COMPARISON), text.as_bytes())?;
    Ok(comparison)
}

/// The comparison itself, by whatever oracle.
///
/// # Errors
/// [`SearchError`].
pub fn methods(
    config: &SearchConfig,
    layers: &[LayerFacts],
    oracle: &mut dyn AccuracyOracle,
    first_seed: u64,
    seeds: usize,
    exhaustive: bool,
    progress: &mut dyn FnMut(usize, &str),
) -> Result<Comparison, SearchError> {
    let mut found: Vec<(String, Vec<Evaluated>, Vec<usize>)> = Vec::new();
    let mut note = |place: usize, method: &str, best: Evaluated, evaluations: usize| {
        if found.len() == place {
            found.push((method.to_owned(), Vec::new(), Vec::new()));
        }
        found[place].1.push(best);
        found[place].2.push(evaluations);
    };
    let mut budgets = Vec::new();
    for index in 0..seeds {
        let seed = first_seed + index as u64;
        progress(index, "releq");
        let outcome = search::run(config, layers, oracle, seed, None, &mut |_, _| interrupt::check())?;
        let budget = outcome.evaluated.len();
        budgets.push(budget);
        note(0, "releq", outcome.best, budget);
        let baselines = [("uniform", Baseline::Uniform), ("random", Baseline::Random), ("greedy", Baseline::Greedy)];
        for (place, (name, kind)) in baselines.into_iter().enumerate() {
            progress(index, name);
            let outcome = baseline(kind, config, layers, oracle, seed, budget)?;
            note(place + 1, name, outcome.best, outcome.evaluations);
        }
        if exhaustive {
            progress(index, "exhaustive");
            let outcome = baseline(Baseline::Exhaustive, config, layers, oracle, seed, budget)?;
            note(4, "exhaustive", outcome.best, outcome.evaluations);
        }
        progress(index + 1, "done");
    }
    let float_accuracy = oracle.float_accuracy();
    let figures = found.into_iter().map(|(method, found, evaluations)| {
        let spread = |of: &dyn Fn(&Evaluated) -> f64| Spread::of(&found.iter().map(of).collect::<Vec<_>>());
        MethodFigures {
            method,
            mean_bits: spread(&|found| found.bits.mean_bits()),
            weighted_bits: spread(&|found| found.bits.weighted_bits(layers)),
            loss_points: spread(&|found| (float_accuracy - found.accuracy) * 100.0),
            reward: spread(&|found| found.reward),
            found,
            evaluations,
        }
    });
    let max_loss_points = match config.reward {
        search::Reward::Constraint { max_loss_points } => Some(max_loss_points),
        _ => None,
    };
    Ok(Comparison {
        network: String::new(),
        dataset: String::new(),
        float_accuracy,
        max_loss_points,
        budgets,
        methods: figures.collect(),
    })
}
