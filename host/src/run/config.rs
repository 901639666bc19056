//! `config.toml`: what was asked for.

use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

use crate::data::{Augmentation, PixelGrid};
use crate::network::zoo;
use crate::quantize::{Quantizer, UndefinedAtOneBit};
use crate::search::{ActionSet, Reward, SearchConfig};
use crate::train::{Distillation, FitConfig};

/// What was asked for. Every field has a default; a config.toml names them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The network: one of the zoo, or `network.toml`, its description in the run's folder.
    pub network: String,
    /// Channels, rows and columns of the images that the network is adapted to; without it, its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<[usize; 3]>,
    /// The data set's name.
    pub dataset: String,
    /// Whether to use the embedded subset of the data set even where the full one is at hand.
    pub embedded_data: bool,
    /// Everything random follows from it.
    pub seed: u64,
    /// How pixels become numbers, in place of the data set's usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelGrid>,
    /// How weights are rounded.
    pub quantizer: QuantizerConfig,
    /// Float training.
    pub train: FitConfig,
    /// The short fine-tune by which the search judges an assignment.
    pub short: FitConfig,
    /// The long fine-tune.
    pub finetune: FitConfig,
    /// Allowed loss of validation accuracy after the long fine-tune, in points, against the float network or, where the run
    /// has it, that of the same training, whichever is better. The cheapest assignment found that keeps it is the result.
    pub max_loss_points: f64,
    /// The most assignments that get a long fine-tune, until the cheapest is known that can be expected to keep the loss.
    pub candidates: usize,
    /// The search.
    pub search: SearchConfig,
}

/// The quantiser of a run's fine-tunes; float training knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizerConfig {
    /// "scaled", "dorefa" or "wrpn".
    pub kind: Quantizer,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            network: "lenet".to_owned(),
            input: None,
            dataset: "mnist".to_owned(),
            embedded_data: false,
            seed: 1,
            pixels: None,
            quantizer: QuantizerConfig::default(),
            train: FitConfig { epochs: 5.0, ..FitConfig::default() },
            short: FitConfig { steps: Some(60), lr: 1e-3, weight_decay: 0.0, ..FitConfig::default() },
            finetune: FitConfig { epochs: 5.0, step_lr: 3.0, weight_decay: 0.0, ..FitConfig::default() },
            max_loss_points: 0.3,
            candidates: 4,
            // A short fine-tune regains less than a long one: its bound is wider.
            search: SearchConfig { reward: Reward::Constraint { max_loss_points: 2.0 }, ..SearchConfig::default() },
        }
    }
}

impl RunConfig {
    /// The defaults for a network of the zoo, on its usual data set.
    #[must_use]
    pub fn of_network(network: &str) -> Self {
        Self::of(network, zoo::usual_dataset(network))
    }

    /// The defaults for a network and a data set. Those for photographs train longer and see each image shifted and, where
    /// a mirrored one is still of its class, mirrored: there are few images for their variety. Their long fine-tune learns
    /// half from the float reference, which measured best (docs/results.md).
    #[must_use]
    pub fn of(network: &str, dataset: &str) -> Self {
        let config = Self { network: network.to_owned(), dataset: dataset.to_owned(), ..Self::default() };
        if dataset == "mnist" {
            return config;
        }
        let augmentation = Augmentation { shift: 4, mirror: dataset != "svhn" };
        let fit = |fit: FitConfig| FitConfig { augmentation, ..fit };
        let distillation = Distillation { weight: 0.5, ..Distillation::default() };
        Self {
            train: FitConfig { epochs: 30.0, ..fit(config.train) },
            short: FitConfig { steps: Some(100), ..fit(config.short) },
            finetune: FitConfig { epochs: 15.0, distillation, ..fit(config.finetune) },
            ..config
        }
    }

    /// The default job made small: seconds instead of minutes, on the embedded digits.
    #[must_use]
    pub fn quick() -> Self {
        let fit = |steps, lr| FitConfig { steps: Some(steps), lr, weight_decay: 0.0, ..FitConfig::default() };
        let search = SearchConfig {
            episodes: 24,
            reward: Reward::Constraint { max_loss_points: 5.0 },
            ..SearchConfig::default()
        };
        Self {
            embedded_data: true,
            train: fit(150, 2e-3),
            short: fit(12, 1e-3),
            finetune: fit(120, 1e-3),
            max_loss_points: 3.0,
            candidates: 1,
            search,
            ..Self::default()
        }
    }

    /// As TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Plain structs of numbers, strings and options always have a TOML form.
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// As TOML with a comment above each setting: what config.toml holds.
    #[must_use]
    pub fn to_commented_toml(&self) -> String {
        super::comments::with_comments(&self.to_toml())
    }

    /// From TOML.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The same with one setting changed, named by its place, as in `search.ppo.clip`.
    ///
    /// # Errors
    /// That there is no such setting, with the nearest one, or what values it takes.
    pub fn with(&self, key: &str, value: &toml::Value) -> Result<Self, String> {
        let mut whole = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        let (sections, name) = key.rsplit_once('.').map_or((None, key), |(sections, name)| (Some(sections), name));
        let mut table = &mut whole;
        for section in sections.into_iter().flat_map(|sections| sections.split('.')) {
            let known: Vec<String> =
                table.iter().filter(|(_, value)| value.is_table()).map(|(key, _)| key.clone()).collect();
            table = match table.get_mut(section) {
                Some(toml::Value::Table(inner)) => inner,
                _ => {
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    let hint = crate::suggest::hint(section, &known);
                    return Err(format!("there is no section {section:?}{hint}; there are {}", known.join(", ")));
                }
            };
        }
        // Numbers with and without a point are one to people.
        let value = match (table.get(name), value) {
            (Some(toml::Value::Float(_)), toml::Value::Integer(whole)) => toml::Value::Float(*whole as f64),
            _ => value.clone(),
        };
        table.insert(name.to_owned(), value);
        toml::Value::Table(whole).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// Refuses bits to choose from, or pinned, that the quantiser is not defined for. A scan begins with one bit.
    ///
    /// # Errors
    /// [`UndefinedAtOneBit`].
    pub fn check_quantizer(&self) -> Result<(), UndefinedAtOneBit> {
        let offered = match &self.search.actions {
            ActionSet::List(list) => list.clone(),
            ActionSet::Auto(_) => vec![1],
        };
        let bits = offered.iter().chain(self.search.pinned.values()).filter_map(|&bits| Bitwidth::new(bits).ok());
        self.quantizer.kind.check(bits)
    }

    /// The first line in which two configurations differ, if they do.
    #[must_use]
    pub fn difference(&self, asked: &Self) -> Option<String> {
        let (ours, theirs) = (self.to_toml(), asked.to_toml());
        let mut lines = ours.lines().zip(theirs.lines());
        let (have, want) = lines.find(|(have, want)| have != want)?;
        Some(format!("it has {have:?}, this asks for {want:?}"))
    }

    /// The first eight bytes of the configuration's SHA-256: a blob's provenance.
    #[must_use]
    pub fn hash(&self) -> u64 {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.to_toml().as_bytes());
        digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
    }
}
