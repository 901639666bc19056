//! The search from its first episode to its choice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, LstmState};
use super::config::Timing;
use super::judge::{Judge, best_first};
use super::ppo::{Ppo, Rollout, UpdateStatistics};
use super::state::observe;
use super::{AccuracyOracle, Assignment, Evaluation, LayerFacts, SearchCheckpoint, SearchConfig, SearchError};

/// An assignment with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The bits.
    pub bits: Assignment,
    /// Validation accuracy after a short fine-tune, 0 to 1.
    pub accuracy: f64,
    /// Cost, 1 at 8 bits everywhere.
    pub cost: f64,
    /// Reward.
    pub reward: f64,
    /// Whether the accuracy is within the reward's bound.
    pub accepted: bool,
}

/// One update of a running search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchEvent {
    /// Episodes done.
    pub episodes: usize,
    /// Episodes to do.
    pub of: usize,
    /// Distinct assignments evaluated so far.
    pub evaluations: usize,
    /// Those of them whose fine-tune diverged: failures, with an accuracy of 0.
    #[serde(default)]
    pub diverged: usize,
    /// The episodes of this batch.
    pub batch: Vec<Evaluated>,
    /// The best so far.
    pub best: Evaluated,
    /// Probability of each action (each bitwidth; or less, keep, more), by step of the walk, mean over the batch.
    pub probabilities: Vec<Vec<f32>>,
    /// What the update did.
    pub update: UpdateStatistics,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchOutcome {
    /// The choice: of all evaluated assignments within the bound the cheapest, of equally cheap ones the most accurate.
    pub best: Evaluated,
    /// The best that the agent's episodes found, before the polish.
    pub by_agent: Evaluated,
    /// What the trained policy does when it takes its most probable actions.
    pub greedy: Evaluated,
    /// Everything evaluated, best first.
    pub evaluated: Vec<Evaluated>,
    /// Validation accuracy of the float network.
    pub float_accuracy: f64,
    /// Episodes done.
    pub episodes: usize,
}

pub(super) struct Search<'a> {
    pub(super) judge: Judge<'a>,
    oracle: &'a mut dyn AccuracyOracle,
    pub(super) memo: BTreeMap<Assignment, Evaluation>,
    agent: Agent,
}

/// Runs a search, or goes on with one. `events` hears of every update, with the state to go on from, and may stop it.
/// Everything random follows from `seed`.
///
/// # Errors
/// [`SearchError`]; after [`SearchError::Stopped`] the last checkpoint that `events` got goes on.
pub fn run(
    config: &SearchConfig,
    layers: &[LayerFacts],
    oracle: &mut dyn AccuracyOracle,
    seed: u64,
    resume: Option<&SearchCheckpoint>,
    events: &mut dyn FnMut(&SearchEvent, &SearchCheckpoint) -> ControlFlow<()>,
) -> Result<SearchOutcome, SearchError> {
    if layers.is_empty() || config.batch == 0 || config.episodes == 0 || config.features.is_empty() {
        let problem = "a search needs layers, at least one feature, and batches of at least one episode";
        return Err(SearchError::Config(problem.to_owned()));
    }
    let judge = Judge::new(config, layers, oracle.float_accuracy())?;
    let agent = Agent::new(config.features.len(), judge.choices(), config.lstm, seed)?;
    let mut ppo = Ppo::new(&agent, config.ppo.clone())?;
    let mut search = Search { judge, oracle, memo: BTreeMap::new(), agent };
    let mut episodes = 0;
    if let Some(checkpoint) = resume {
        if !checkpoint.is_of(config, seed) {
            return Err(SearchError::Checkpoint("it is of a search with other settings".to_owned()));
        }
        checkpoint.restore(&search.agent, &mut ppo)?;
        (episodes, search.memo) = (checkpoint.episodes, checkpoint.memo.clone());
    }
    while episodes < config.episodes {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // A stream of random numbers for each batch: a search that goes on needs no other memory of chance.
        rng.set_stream(1 + episodes as u64);
        let count = config.batch.min(config.episodes - episodes);
        let (assignments, mut rollout, probabilities) = search.walk(count, Some(&mut rng))?;
        search.evaluate(&assignments)?;
        let batch = search.describe_all(&assignments);
        // What a choice saves is its own reward at once; the last layer gets the rest, so that an episode's sum is the
        // reward of its assignment (potential-based shaping, which leaves the best policy what it was).
        for (episode, evaluated) in batch.iter().enumerate().filter(|_| config.timing == Timing::Episode) {
            let paid: f32 = rollout.rewards.iter().map(|layer| layer[episode]).sum();
            if let Some(last) = rollout.rewards.last_mut() {
                last[episode] += evaluated.reward as f32 - paid;
            }
        }
        let left = 1.0 - episodes as f64 / config.episodes as f64;
        let update = ppo.update(&search.agent, &rollout, config.ppo.entropy * left)?;
        episodes += count;
        let checkpoint = SearchCheckpoint::of(config, seed, episodes, &search.memo, &search.agent, &ppo)?;
        let best = search.ranked().into_iter().next().ok_or(SearchError::NothingEvaluated)?;
        let evaluations = search.memo.len();
        let diverged = search.memo.values().filter(|evaluation| evaluation.diverged).count();
        let of = config.episodes;
        let event = SearchEvent { episodes, of, evaluations, diverged, batch, best, probabilities, update };
        if events(&event, &checkpoint).is_break() && episodes < config.episodes {
            return Err(SearchError::Stopped);
        }
    }
    let (greedy, _, _) = search.walk(1, None)?;
    search.evaluate(&greedy)?;
    let greedy = search.describe(&greedy[0]);
    let by_agent = search.ranked().into_iter().next().ok_or(SearchError::NothingEvaluated)?;
    if config.polish {
        search.polish(config.episodes / 4)?;
    }
    let evaluated = search.ranked();
    let best = evaluated.first().cloned().ok_or(SearchError::NothingEvaluated)?;
    if search.memo.values().all(|evaluation| evaluation.diverged) {
        return Err(SearchError::NothingEvaluated);
    }
    Ok(SearchOutcome { best, by_agent, greedy, evaluated, float_accuracy: search.oracle.float_accuracy(), episodes })
}

impl Search<'_> {
    /// Walks the layers for `count` episodes side by side: drawn at random, or by the most probable actions. Rewards are
    /// what each choice saves of the cost or, where every step is evaluated, what it changes of the reward. Also returns
    /// the mean probability of each action, by step.
    #[expect(clippy::type_complexity, reason = "what a walk leaves behind")]
    fn walk(
        &mut self,
        count: usize,
        mut rng: Option<&mut ChaCha8Rng>,
    ) -> Result<(Vec<Assignment>, Rollout, Vec<Vec<f32>>), SearchError> {
        let config = self.judge.config;
        let mut assignments = vec![self.judge.start()?; count];
        let mut rollout = Rollout::default();
        let mut mean_probabilities = Vec::new();
        let mut carried = LstmState::zero(count)?;
        // What each assignment so far is worth, and its relative accuracy: known where every step is evaluated.
        let (mut worth, mut accuracy) = (vec![0.0; count], vec![1.0; count]);
        if config.timing == Timing::Step {
            (worth, accuracy) = self.appraise(&assignments)?;
        }
        for step in 0..self.judge.steps() {
            let layer = step % self.judge.layers.len();
            let see = |(bits, &accuracy): (&Assignment, &f64)| {
                let cost = self.judge.costs.of(bits);
                observe(&config.features, self.judge.layers, layer, bits, cost, accuracy)
            };
            let states: Vec<Vec<f32>> = assignments.iter().zip(&accuracy).map(see).collect();
            let draw = rng.as_mut().map(|rng| &mut **rng as &mut dyn rand::Rng);
            let (actions, log_probabilities, values, probabilities, next) = self.agent.act(&states, &carried, draw)?;
            let mut saved = vec![0.0; count];
            if self.judge.pins[layer].is_none() {
                let judge = &self.judge;
                for ((assignment, &action), saved) in assignments.iter_mut().zip(&actions).zip(&mut saved) {
                    let before = judge.costs.of(assignment);
                    assignment.0[layer] = judge.choose(assignment.0[layer], action as usize);
                    let after = judge.costs.of(assignment);
                    *saved = ((before - after) / (1.0 - judge.cheapest).max(f64::MIN_POSITIVE)) as f32;
                }
            }
            if config.timing == Timing::Step {
                let now = self.appraise(&assignments)?;
                saved = now.0.iter().zip(&worth).map(|(now, before)| (now - before) as f32).collect();
                (worth, accuracy) = now;
            }
            let mean = |action: usize| probabilities.iter().map(|row| row[action]).sum::<f32>() / count as f32;
            mean_probabilities.push((0..self.judge.choices()).map(mean).collect());
            rollout.states.push(states);
            rollout.actions.push(actions);
            rollout.free.push(self.judge.pins[layer].is_none());
            rollout.log_probabilities.push(log_probabilities);
            rollout.values.push(values);
            rollout.rewards.push(saved);
            carried = next;
        }
        Ok((assignments, rollout, mean_probabilities))
    }

    /// Evaluates assignments; returns their rewards and relative accuracies.
    fn appraise(&mut self, assignments: &[Assignment]) -> Result<(Vec<f64>, Vec<f64>), SearchError> {
        self.evaluate(assignments)?;
        let float = self.oracle.float_accuracy().max(f64::MIN_POSITIVE);
        Ok(self.describe_all(assignments).iter().map(|found| (found.reward, found.accuracy / float)).unzip())
    }

    /// Evaluates what is not known yet, all at once.
    pub(super) fn evaluate(&mut self, assignments: &[Assignment]) -> Result<(), SearchError> {
        let unknown: BTreeSet<&Assignment> = assignments.iter().filter(|a| !self.memo.contains_key(a)).collect();
        let unknown: Vec<Assignment> = unknown.into_iter().cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let answers = self.oracle.evaluate(&unknown).map_err(SearchError::Oracle)?;
        if answers.len() != unknown.len() {
            let problem = format!("{} answers to {} assignments", answers.len(), unknown.len());
            return Err(SearchError::Oracle(problem.into()));
        }
        for (assignment, mut answer) in unknown.into_iter().zip(answers) {
            if !answer.accuracy.is_finite() {
                answer = Evaluation { accuracy: 0.0, diverged: true, ..answer };
            }
            self.memo.insert(assignment, answer);
        }
        Ok(())
    }

    fn describe(&self, bits: &Assignment) -> Evaluated {
        self.judge.describe(bits, self.memo.get(bits))
    }

    fn describe_all(&self, assignments: &[Assignment]) -> Vec<Evaluated> {
        assignments.iter().map(|bits| self.describe(bits)).collect()
    }

    /// Everything evaluated: what the bound accepts first, by reward, of equals the most accurate.
    pub(super) fn ranked(&self) -> Vec<Evaluated> {
        let mut all: Vec<Evaluated> = self.memo.keys().map(|bits| self.describe(bits)).collect();
        all.sort_by(best_first);
        all
    }
}
