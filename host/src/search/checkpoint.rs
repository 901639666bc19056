//! The whole state of a search in one file, so that one that was killed goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::ppo::Ppo;
use super::{Assignment, Evaluation, SearchConfig, SearchError};
use crate::run::{RunError, write_atomically};

/// A search after a whole number of updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchCheckpoint {
    /// The search's settings, as JSON: another search cannot go on from here.
    config: String,
    /// The seed.
    pub seed: u64,
    /// Episodes done.
    pub episodes: usize,
    /// Everything evaluated so far.
    pub memo: BTreeMap<Assignment, Evaluation>,
    parameters: Vec<Vec<f32>>,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    adam_steps: i32,
}

impl SearchCheckpoint {
    pub(super) fn of(
        config: &SearchConfig,
        seed: u64,
        episodes: usize,
        memo: &BTreeMap<Assignment, Evaluation>,
        agent: &Agent,
        ppo: &Ppo,
    ) -> Result<Self, SearchError> {
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (adam_steps, moments) = ppo.adam.state();
        Ok(Self {
            config: as_json(config)?,
            seed,
            episodes,
            memo: memo.clone(),
            parameters: agent.parameters().iter().map(|var| flat(var)).collect::<Result<_, _>>()?,
            moments: moments.iter().map(|(m, v)| Ok((flat(m)?, flat(v)?))).collect::<candle_core::Result<_>>()?,
            adam_steps,
        })
    }

    /// Whether it is of a search with these settings and this seed.
    pub(super) fn is_of(&self, config: &SearchConfig, seed: u64) -> bool {
        self.seed == seed && as_json(config).is_ok_and(|config| config == self.config)
    }

    /// Puts the agent and its optimiser into this state.
    pub(super) fn restore(&self, agent: &Agent, ppo: &mut Ppo) -> Result<(), SearchError> {
        let parameters = agent.parameters();
        let fits = parameters.len() == self.parameters.len()
            && self.moments.len() == parameters.len()
            && parameters.iter().zip(&self.parameters).all(|(var, values)| var.elem_count() == values.len())
            && parameters.iter().zip(&self.moments).all(|(var, (m, v))| [m.len(), v.len()] == [var.elem_count(); 2]);
        if !fits {
            return Err(SearchError::Checkpoint("it holds another agent".to_owned()));
        }
        let tensor = |values: &[f32], like: &Tensor| Tensor::from_slice(values, like.shape(), &Device::Cpu);
        let mut moments = Vec::new();
        for ((var, values), (first, second)) in parameters.iter().zip(&self.parameters).zip(&self.moments) {
            var.set(&tensor(values, var)?)?;
            moments.push((tensor(first, var)?, tensor(second, var)?));
        }
        Ok(ppo.adam.restore(self.adam_steps, &moments)?)
    }

    /// Writes the checkpoint; a stop in the middle leaves the old one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|error| RunError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
        write_atomically(path, &bytes)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, RunError> {
        let bytes =
            std::fs::read(path).map_err(|source| RunError::Io { action: "read", path: path.to_owned(), source })?;
        postcard::from_bytes(&bytes)
            .map_err(|error| RunError::Damaged { path: path.to_owned(), reason: error.to_string() })
    }
}

fn as_json(config: &SearchConfig) -> Result<String, SearchError> {
    serde_json::to_string(config).map_err(|error| SearchError::Checkpoint(error.to_string()))
}
