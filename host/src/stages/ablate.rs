//! What each part of the search is worth: searches that differ in one respect, over seeds, by one oracle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Spread, StageError, Workshop, oracle};
use crate::interrupt;
use crate::run::{RunFolder, write_atomically};
use crate::search::ablation::{self, Respect, Variant};
use crate::search::{
    self, AccuracyOracle, Assignment, Evaluation, LayerFacts, OracleError, SearchConfig, SearchError, SearchOutcome,
};

/// Updates whose mean reward tells whether a search has converged.
const WINDOW: usize = 5;

/// Searches that differ in one respect each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablations {
    /// The network.
    pub network: String,
    /// The data set.
    pub dataset: String,
    /// Seeds of each search.
    pub seeds: usize,
    /// Episodes of each search.
    pub episodes: usize,
    /// Validation accuracy of the float network.
    pub float_accuracy: f64,
    /// The run's own search first, then those that differ.
    pub variants: Vec<VariantFigures>,
}

/// What searches with the same settings and different seeds showed, without polish: means and deviations over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantFigures {
    /// What is different.
    pub name: String,
    /// Mean bits of the choice.
    pub mean_bits: Spread,
    /// Points that the choice lost after its short fine-tune.
    pub loss_points: Spread,
    /// Reward of the choice, by the run's own reward.
    pub reward: Spread,
    /// Reward, by the run's own, of what the trained policy does when it takes its most probable actions.
    pub policy_reward: Spread,
    /// Episodes until the search had converged; see [`ablation::converged`].
    pub episodes_to_converge: Spread,
    /// Seconds until then: the agent's, and those that the fine-tunes took when they were made.
    pub seconds_to_converge: Spread,
    /// Distinct assignments evaluated.
    pub evaluations: Spread,
    /// The choice of each seed.
    pub found: Vec<Assignment>,
}

/// An oracle that notes how long its asker waited for it, and how long its answers took when they were first made.
struct Metered<'a> {
    oracle: &'a mut dyn AccuracyOracle,
    waited: Duration,
    seconds: BTreeMap<Assignment, f64>,
}

impl AccuracyOracle for Metered<'_> {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        let started = Instant::now();
        let answers = self.oracle.evaluate(assignments)?;
        self.waited += started.elapsed();
        self.seconds.extend(assignments.iter().cloned().zip(answers.iter().map(|answer| answer.seconds)));
        Ok(answers)
    }

    fn float_accuracy(&self) -> f64 {
        self.oracle.float_accuracy()
    }
}

/// One search with its course.
struct Course {
    outcome: SearchOutcome,
    /// Of each update: the episodes done, the seconds so far, the batch's mean reward.
    updates: Vec<(usize, f64, f64)>,
}

fn course(
    config: &SearchConfig,
    layers: &[LayerFacts],
    oracle: &mut dyn AccuracyOracle,
    seed: u64,
) -> Result<Course, SearchError> {
    let mut metered = Metered { oracle, waited: Duration::ZERO, seconds: BTreeMap::new() };
    let mut updates = Vec::new();
    let started = Instant::now();
    // The search holds the oracle, so that times are put together afterwards: by the assignments known at each update.
    let mut known: Vec<(usize, f64, f64, usize)> = Vec::new();
    let mut order: Vec<Assignment> = Vec::new();
    let outcome = search::run(config, layers, &mut metered, seed, None, &mut |event, _| {
        for found in &event.batch {
            if !order.contains(&found.bits) {
                order.push(found.bits.clone());
            }
        }
        let reward = event.batch.iter().map(|found| found.reward).sum::<f64>() / event.batch.len().max(1) as f64;
        known.push((event.episodes, started.elapsed().as_secs_f64(), reward, order.len()));
        interrupt::check()
    })?;
    // Waiting for answers is spread evenly over the updates: what remains is the agent's.
    let waited = metered.waited.as_secs_f64() / known.len().max(1) as f64;
    for (index, (episodes, elapsed, reward, asked)) in known.into_iter().enumerate() {
        let agent = (elapsed - waited * (index + 1) as f64).max(0.0);
        let tuning: f64 = order[..asked].iter().filter_map(|bits| metered.seconds.get(bits)).sum();
        updates.push((episodes, agent + tuning, reward));
    }
    Ok(Course { outcome, updates })
}

/// Runs the run's search and those that differ from it in `respects`, `seeds` times each and without polish, from the run's
/// float network and by the same oracle, and writes ablate.json. Fine-tunes are shared and kept; a second call makes none again.
///
/// # Errors
/// [`StageError`].
pub fn ablate(
    run: &mut RunFolder,
    workshop: &Workshop,
    respects: &[Respect],
    seeds: usize,
    episodes: Option<usize>,
) -> Result<Ablations, StageError> {
    let mut site = oracle::open(run, workshop)?;
    let mut base = SearchConfig { polish: false, ..site.search.clone() };
    base.episodes = episodes.unwrap_or(base.episodes);
    let mut variants = vec![Variant { name: "the run's search".to_owned(), config: base.clone() }];
    variants.extend(respects.iter().flat_map(|respect| respect.variants(&base)));
    let float_accuracy = site.oracle.float_accuracy();
    let mut task = workshop.progress.task("ablate", (variants.len() * seeds) as u64);
    let mut figures = Vec::new();
    for (place, variant) in variants.iter().enumerate() {
        let mut courses = Vec::new();
        for index in 0..seeds {
            task.set((place * seeds + index) as u64, || variant.name.clone());
            let seed = run.config().seed + index as u64;
            let course = course(&variant.config, &site.layers, &mut site.oracle, seed)
                .map_err(|error| if interrupt::requested() { SearchError::Stopped } else { error })?;
            courses.push(course);
        }
        figures.push(summarise(&variant.name, &courses, &base, &site.layers, float_accuracy)?);
    }
    let ablations = Ablations {
        network: run.result.network.clone(),
        dataset: run.config().dataset.clone(),
        seeds,
        episodes: base.episodes,
        float_accuracy,
        variants: figures,
    };
    task.finish(format_args!("{} searches", variants.len() * seeds));
    let json = serde_json::to_vec_pretty(&ablations).unwrap_or_default();
    write_atomically(&run.file("ablate.json"), &json)?;
    Ok(ablations)
}

fn summarise(
    name: &str,
    courses: &[Course],
    base: &SearchConfig,
    layers: &[LayerFacts],
    float: f64,
) -> Result<VariantFigures, SearchError> {
    let spread = |of: &dyn Fn(&Course) -> f64| Spread::of(&courses.iter().map(of).collect::<Vec<_>>());
    let convergence = |course: &Course| {
        let rewards: Vec<f64> = course.updates.iter().map(|update| update.2).collect();
        let at = ablation::converged(&rewards, WINDOW).unwrap_or(rewards.len().saturating_sub(1));
        course.updates.get(at).map_or((0.0, 0.0), |update| (update.0 as f64, update.1))
    };
    // Other rewards than the run's are measured by the run's.
    let (mut rewards, mut policies) = (Vec::new(), Vec::new());
    for Course { outcome, .. } in courses {
        for (found, into) in [(&outcome.best, &mut rewards), (&outcome.greedy, &mut policies)] {
            let answer = Evaluation { accuracy: found.accuracy, diverged: false, seconds: 0.0 };
            let answers = BTreeMap::from([(found.bits.clone(), answer)]);
            into.extend(search::judged(base, layers, float, &answers)?.iter().map(|found| found.reward));
        }
    }
    Ok(VariantFigures {
        name: name.to_owned(),
        mean_bits: spread(&|course| course.outcome.best.bits.mean_bits()),
        loss_points: spread(&|course| (float - course.outcome.best.accuracy) * 100.0),
        reward: Spread::of(&rewards),
        policy_reward: Spread::of(&policies),
        episodes_to_converge: spread(&|course| convergence(course).0),
        seconds_to_converge: spread(&|course| convergence(course).1),
        evaluations: spread(&|course| course.outcome.evaluated.len() as f64),
        found: courses.iter().map(|course| course.outcome.best.bits.clone()).collect(),
    })
}
