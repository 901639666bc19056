//! Every setting of the search, each with its default and where that comes from.

use std::collections::BTreeMap;

use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

use super::{Cost, FEATURES, Feature, Reward, SearchError};

/// Settings of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Episodes. The paper's searches converge within some hundred.
    pub episodes: usize,
    /// Episodes of one batch, all collected with one policy; their evaluations may run side by side.
    pub batch: usize,
    /// The bitwidths to choose from: a list, or "auto" for those of 1 to 8 that a sensitivity scan finds useful. Paper:
    /// {1,2,3,4,5} on small networks.
    pub actions: ActionSet,
    /// What one step may do to a layer's bits. Paper: flexible, studied both.
    pub space: ActionSpace,
    /// When an episode is evaluated. Paper: at every step on small networks, at the end on deep ones.
    pub timing: Timing,
    /// Bits of every layer when an episode with flexible actions starts. Paper: 8.
    pub initial_bits: u8,
    /// Layers that keep given bits, by name. The agent walks past them without a choice, but sees them.
    pub pinned: BTreeMap<String, u8>,
    /// What an assignment is worth.
    pub reward: Reward,
    /// What an assignment costs.
    pub cost: Cost,
    /// What the agent sees of a layer; for ablations.
    pub features: Vec<Feature>,
    /// Whether the agent has its LSTM; without it a dense layer of the same width takes its place.
    pub lstm: bool,
    /// Whether the best assignment is polished at the end, with at most a quarter as many evaluations as episodes: a
    /// bitwidth less in each layer in turn, then exchanges between layers that what was seen so far speaks for. And whether
    /// neighbours of what long fine-tunes can be trusted with are looked for before each, with at most a tenth as many
    /// evaluations as episodes. Not in the paper; it only ever improves the choice.
    pub polish: bool,
    /// The agent's training.
    pub ppo: PpoConfig,
}

/// The bitwidths to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "actions are a list of bitwidths from 1 to 8, or \"auto\"")]
pub enum ActionSet {
    /// These.
    List(Vec<u8>),
    /// Those that a scan finds useful; see [`super::scan`].
    Auto(Auto),
}

/// The word "auto".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// It.
    Auto,
}

impl ActionSet {
    /// Left to a scan.
    pub const AUTO: Self = Self::Auto(Auto::Auto);
}

impl std::str::FromStr for ActionSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::AUTO);
        }
        let parse = |bits: &str| bits.trim().parse().ok().filter(|bits| (1..=8).contains(bits));
        let list: Option<Vec<u8>> = text.split(',').map(parse).collect();
        list.map(Self::List).ok_or_else(|| format!("{text:?} is no list of bitwidths from 1 to 8 (1,2,3), nor auto"))
    }
}

/// What one step may do to a layer's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ActionSpace {
    /// Give it any bitwidth of the action set.
    #[default]
    Flexible,
    /// Take the next lower one, keep it, or take the next higher one. An episode starts at the highest and walks the layers
    /// as often as it takes to reach the lowest.
    Restricted,
}

/// When an episode is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// At its end. Each choice is paid what it saves of the cost, the last one the rest of the reward.
    #[default]
    Episode,
    /// After every step, which is paid what it changed of the reward: more fine-tunes, and an agent that sees the accuracy
    /// so far.
    Step,
}

/// Settings of the agent's training (PPO, arXiv 1707.06347).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Adam's learning rate. Paper: 1e-4, which needs thousands of episodes; this default needs about a hundred.
    pub lr: f64,
    /// How far the ratio of new to old probability may move. Paper: 0.1, studied from 0.1 to 0.3.
    pub clip: f64,
    /// Passes over a batch. Paper: 3.
    pub epochs: usize,
    /// Discount from layer to layer. 1: an episode is short, and its reward belongs to all its choices.
    pub discount: f64,
    /// Lambda of generalised advantage estimation (arXiv 1506.02438). Paper: 0.99.
    pub gae_lambda: f64,
    /// Weight of the entropy bonus, which falls linearly to zero over the episodes. Advantages have deviation 1, so this
    /// keeps the policy open through the first half; with a tenth of it searches settle before they have seen enough.
    pub entropy: f64,
    /// Weight of the value loss.
    pub value: f64,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            lr: 2e-3,
            clip: 0.2,
            epochs: 4,
            discount: 1.0,
            gae_lambda: 0.99,
            entropy: 0.5,
            value: 0.5,
            max_grad_norm: 0.5,
        }
    }
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            episodes: 160,
            batch: 4,
            actions: ActionSet::List(vec![1, 2, 3, 4, 5]),
            space: ActionSpace::default(),
            timing: Timing::default(),
            initial_bits: 8,
            pinned: BTreeMap::new(),
            reward: Reward::default(),
            cost: Cost::default(),
            features: FEATURES.to_vec(),
            lstm: true,
            polish: true,
            ppo: PpoConfig::default(),
        }
    }
}

impl SearchConfig {
    /// The paper's settings for layers of these names: flexible actions, its shaped reward and its PPO, without polish. Up to
    /// eight layers choose from {2,3,4,5} and are judged after every step; deeper networks choose from 2 to 8 bits, which its
    /// results for them have, and are judged at an episode's end, with the first and the last layer kept at 8 bits. Its
    /// quantiser, WRPN, has no levels at 1 bit. The number of episodes is not published.
    #[must_use]
    pub fn paper(layers: &[&str]) -> Self {
        let deep = layers.len() > 8;
        let ends = [layers.first(), layers.last()];
        let pinned = ends.into_iter().flatten().filter(|_| deep).map(|&name| (name.to_owned(), 8)).collect();
        let ppo = PpoConfig { lr: 1e-4, clip: 0.1, epochs: 3, entropy: 0.01, ..PpoConfig::default() };
        let timing = if deep { Timing::Episode } else { Timing::Step };
        let actions = ActionSet::List(if deep { (2..=8).collect() } else { (2..=5).collect() });
        Self { episodes: 400, actions, timing, pinned, reward: Reward::PAPER, polish: false, ppo, ..Self::default() }
    }

    /// The bitwidths to choose from; all eight where that is left to a scan.
    ///
    /// # Errors
    /// [`SearchError::Config`] if there is none, or one is no bitwidth.
    pub fn action_set(&self) -> Result<Vec<Bitwidth>, SearchError> {
        let mut actions = match &self.actions {
            ActionSet::List(actions) => actions.clone(),
            ActionSet::Auto(_) => (1..=8).collect(),
        };
        actions.sort_unstable();
        actions.dedup();
        if actions.is_empty() {
            return Err(SearchError::Config("there is no bitwidth to choose from".to_owned()));
        }
        actions.into_iter().map(bitwidth).collect()
    }

    /// Checks all that can be wrong before a search of layers of these names begins.
    ///
    /// # Errors
    /// [`SearchError::Config`], which says what would do.
    pub fn check(&self, layers: &[&str]) -> Result<(), SearchError> {
        self.action_set()?;
        self.pins(layers)?;
        self.initial()?;
        self.cost.model(&[])?;
        Ok(())
    }

    /// The bits of each pinned layer, of layers of these names.
    ///
    /// # Errors
    /// [`SearchError::Config`] if a name is no layer's, or a number no bitwidth.
    pub fn pins(&self, names: &[&str]) -> Result<Vec<Option<Bitwidth>>, SearchError> {
        if let Some(wrong) = self.pinned.keys().find(|name| !names.contains(&name.as_str())) {
            let hint = crate::suggest::hint(wrong, names);
            let known = names.join(", ");
            return Err(SearchError::Config(format!(
                "there is no layer {wrong:?} to pin{hint}; the layers are {known}"
            )));
        }
        names.iter().map(|name| self.pinned.get(*name).map(|&bits| bitwidth(bits)).transpose()).collect()
    }

    /// The bits that every layer starts an episode with.
    ///
    /// # Errors
    /// [`SearchError::Config`] if that is no bitwidth.
    pub fn initial(&self) -> Result<Bitwidth, SearchError> {
        bitwidth(self.initial_bits)
    }
}

fn bitwidth(bits: u8) -> Result<Bitwidth, SearchError> {
    Bitwidth::new(bits).map_err(|error| SearchError::Config(error.to_string()))
}
