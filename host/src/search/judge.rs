//! What an assignment with its evaluation is worth, and which of two is better.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_shared::Bitwidth;

use super::config::ActionSpace;
use super::cost::CostModel;
use super::{Assignment, Evaluated, Evaluation, LayerFacts, SearchConfig, SearchError};

/// The largest space of which everything is tried.
pub const EXHAUSTIVE_LIMIT: usize = 1024;

/// The settings by which assignments of one network are judged.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) config: &'a SearchConfig,
    pub(super) layers: &'a [LayerFacts],
    /// The bitwidths to choose from, lowest first.
    pub(super) actions: Vec<Bitwidth>,
    /// The bits of layers that keep theirs.
    pub(super) pins: Vec<Option<Bitwidth>>,
    /// What assignments cost.
    pub(super) costs: CostModel,
    /// The lowest cost that actions and pins allow.
    pub(super) cheapest: f64,
    pub(super) float_accuracy: f64,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        config: &'a SearchConfig,
        layers: &'a [LayerFacts],
        float_accuracy: f64,
    ) -> Result<Self, SearchError> {
        if layers.is_empty() {
            return Err(SearchError::Config("a search needs layers".to_owned()));
        }
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let (actions, pins) = (config.action_set()?, config.pins(&names)?);
        let costs = config.cost.model(layers)?;
        let mut judge = Self { config, layers, actions, pins, costs, cheapest: 0.0, float_accuracy };
        // By the layers one by one: a lower bitwidth need not be a cheaper one.
        let lowest = |layer: usize| {
            let at = |&bits: &Bitwidth| judge.costs.at(layer, bits);
            match judge.pins[layer] {
                Some(bits) => at(&bits),
                None => judge.actions.iter().map(at).fold(f64::INFINITY, f64::min),
            }
        };
        judge.cheapest = (0..layers.len()).map(lowest).sum();
        Ok(judge)
    }

    /// The same bits in every layer that is not pinned.
    pub(super) fn uniform(&self, bits: Bitwidth) -> Assignment {
        Assignment(self.pins.iter().map(|pin| pin.unwrap_or(bits)).collect())
    }

    /// What an episode starts from.
    pub(super) fn start(&self) -> Result<Assignment, SearchError> {
        let highest = self.actions[self.actions.len() - 1];
        let initial = match self.config.space {
            ActionSpace::Flexible => self.config.initial()?,
            ActionSpace::Restricted => highest,
        };
        Ok(self.uniform(initial))
    }

    /// Actions that the agent chooses from.
    pub(super) fn choices(&self) -> usize {
        match self.config.space {
            ActionSpace::Flexible => self.actions.len(),
            ActionSpace::Restricted => 3,
        }
    }

    /// Steps of an episode: one a layer or, where a step moves by one bitwidth, enough for any way down.
    pub(super) fn steps(&self) -> usize {
        match self.config.space {
            ActionSpace::Flexible => self.layers.len(),
            ActionSpace::Restricted => self.layers.len() * (self.actions.len() - 1).max(1),
        }
    }

    /// The bits that an action makes of a layer's.
    pub(super) fn choose(&self, bits: Bitwidth, action: usize) -> Bitwidth {
        if self.config.space == ActionSpace::Flexible {
            return self.actions[action];
        }
        let place = self.actions.iter().position(|&action| action == bits).unwrap_or(self.actions.len() - 1);
        self.actions[(place + action).saturating_sub(1).min(self.actions.len() - 1)]
    }

    /// How many assignments there are.
    pub(super) fn space(&self) -> usize {
        let free = self.pins.iter().filter(|pin| pin.is_none()).count();
        u32::try_from(free).ok().and_then(|free| self.actions.len().checked_pow(free)).unwrap_or(usize::MAX)
    }

    /// All assignments.
    pub(super) fn everything(&self) -> Result<Vec<Assignment>, SearchError> {
        let (space, limit) = (self.space(), EXHAUSTIVE_LIMIT);
        if space > limit {
            return Err(SearchError::Config(format!(
                "{space} assignments are too many to try them all (at most {limit})"
            )));
        }
        let mut all = vec![Vec::new()];
        for pin in &self.pins {
            let choices = pin.map_or_else(|| self.actions.clone(), |pin| vec![pin]);
            let longer = |bits: &Vec<_>, choice| [&bits[..], &[choice]].concat();
            all = all.iter().flat_map(|bits| choices.iter().map(move |&choice| longer(bits, choice))).collect();
        }
        Ok(all.into_iter().map(Assignment).collect())
    }

    /// Distinct assignments drawn at random, each bitwidth of each layer equally likely; fewer if there are not so many.
    pub(super) fn draw(&self, seed: u64, count: usize) -> Vec<Assignment> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn = BTreeSet::new();
        while drawn.len() < count.min(self.space()) {
            let mut any = || self.actions[rng.random_range(0..self.actions.len())];
            drawn.insert(Assignment(self.pins.iter().map(|pin| pin.unwrap_or_else(&mut any)).collect()));
        }
        drawn.into_iter().collect()
    }

    /// What is known of an assignment; one that was never evaluated counts as having failed.
    pub(super) fn describe(&self, bits: &Assignment, evaluation: Option<&Evaluation>) -> Evaluated {
        let (accuracy, float) = (evaluation.map_or(0.0, |evaluation| evaluation.accuracy), self.float_accuracy);
        let cost = self.costs.of(bits);
        let reward = self.config.reward.of(accuracy, float, cost, self.cheapest);
        Evaluated { bits: bits.clone(), accuracy, cost, reward, accepted: self.config.reward.accepts(accuracy, float) }
    }

    /// What an assignment would be worth with this accuracy.
    pub(super) fn expect(&self, bits: &Assignment, accuracy: f64) -> Evaluated {
        let evaluation = Evaluation { accuracy: accuracy.clamp(0.0, 1.0), diverged: false, seconds: 0.0 };
        self.describe(bits, Some(&evaluation))
    }

    /// The assignments that have one bitwidth less in one layer.
    pub(super) fn lower_neighbours(&self, bits: &Assignment) -> Vec<Assignment> {
        let lower = |layer: usize| {
            let place = self.actions.iter().position(|&action| action == bits.0[layer])?;
            let mut lowered = bits.clone();
            lowered.0[layer] = *self.actions.get(place.checked_sub(1)?)?;
            self.pins[layer].is_none().then_some(lowered)
        };
        (0..self.layers.len()).filter_map(lower).collect()
    }
}

/// Every assignment that a search has to choose from.
///
/// # Errors
/// [`SearchError::Config`] if these are more than [`EXHAUSTIVE_LIMIT`].
pub fn everything(config: &SearchConfig, layers: &[LayerFacts]) -> Result<Vec<Assignment>, SearchError> {
    Judge::new(config, layers, 1.0)?.everything()
}

/// Distinct assignments drawn at random from those that a search has to choose from.
///
/// # Errors
/// [`SearchError::Config`] for settings without sense.
pub fn draw(
    config: &SearchConfig,
    layers: &[LayerFacts],
    seed: u64,
    count: usize,
) -> Result<Vec<Assignment>, SearchError> {
    Ok(Judge::new(config, layers, 1.0)?.draw(seed, count))
}

/// All that an oracle has answered, judged by the settings of a search; best first.
///
/// # Errors
/// [`SearchError::Config`] for settings without sense.
pub fn judged(
    config: &SearchConfig,
    layers: &[LayerFacts],
    float_accuracy: f64,
    answers: &BTreeMap<Assignment, Evaluation>,
) -> Result<Vec<Evaluated>, SearchError> {
    let judge = Judge::new(config, layers, float_accuracy)?;
    let mut all: Vec<Evaluated> = answers.iter().map(|(bits, answer)| judge.describe(bits, Some(answer))).collect();
    all.sort_by(best_first);
    Ok(all)
}

/// What the bound accepts first, then by reward, of equals the most accurate.
pub(super) fn best_first(a: &Evaluated, b: &Evaluated) -> Ordering {
    let by_reward = b.reward.total_cmp(&a.reward).then(b.accuracy.total_cmp(&a.accuracy));
    b.accepted.cmp(&a.accepted).then(by_reward)
}
