//! `config.toml`: what was asked for.

use serde::{Deserialize, Serialize};

use crate::train::FitConfig;

/// What was asked for. Every field has a default; a config.toml names them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The network's name.
    pub network: String,
    /// The data set's name.
    pub dataset: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// Float training.
    pub train: FitConfig,
    /// The long fine-tune.
    pub finetune: FitConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            network: "lenet".to_owned(),
            dataset: "mnist".to_owned(),
            seed: 1,
            train: FitConfig::default(),
            finetune: FitConfig { epochs: 6.0, lr: 1e-3, weight_decay: 0.0, ..FitConfig::default() },
        }
    }
}

impl RunConfig {
    /// As TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Plain structs of numbers, strings and options always have a TOML form.
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// From TOML.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
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
