//! The ReLeQ search (arXiv 1811.01704): an LSTM agent trained with PPO chooses each layer's bitwidth.
//!
//! An episode walks the layers in order. At each one the agent sees the `state`, picks a bitwidth, and carries the
//! state of its LSTM on to the next. At the end of the episode the `oracle` fine-tunes the network shortly with these
//! bitwidths and validates it; the `reward` weighs that accuracy against the `cost`. Several episodes make a batch,
//! from which `ppo` updates the `agent`. Every assignment is evaluated once and remembered.

pub mod ablation;
mod agent;
mod assignment;
mod baselines;
mod checkpoint;
mod config;
mod cost;
pub mod imaginary;
mod judge;
mod oracle;
mod pareto;
mod polish;
mod ppo;
mod refine;
mod remembering;
mod reward;
mod run;
mod scan;
mod sensitivity;
mod state;
mod trials;

pub use agent::{Agent, LstmState};
pub use assignment::{Assignment, LayerFacts, ParseAssignmentError};
pub use baselines::{Baseline, BaselineOutcome, baseline};
pub use checkpoint::SearchCheckpoint;
pub use config::{ActionSet, ActionSpace, PpoConfig, SearchConfig, Timing};
pub use cost::Cost;
pub use judge::{EXHAUSTIVE_LIMIT, draw, everything, judged};
pub use oracle::{AccuracyOracle, Evaluation, OracleError};
pub use pareto::frontier;
pub use ppo::{Rollout, UpdateStatistics};
pub use refine::refinements;
pub use remembering::Remembering;
pub use reward::Reward;
pub use run::{Evaluated, SearchEvent, SearchOutcome, run};
pub use scan::{LoweredAlone, Scan, scan};
pub use sensitivity::smoothed;
pub use state::{FEATURES, Feature};
pub use trials::{Belief, Trials, keeps};

/// Why a search ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The configuration makes no sense.
    #[error("search settings: {0}")]
    Config(String),
    /// The oracle cannot answer.
    #[error("the evaluation failed: {0}")]
    Oracle(OracleError),
    /// A checkpoint cannot be used.
    #[error("the search's checkpoint cannot be used: {0}; delete it, or start over with --fresh")]
    Checkpoint(String),
    /// Every assignment that was tried diverged.
    #[error(
        "no assignment could be evaluated: every fine-tune diverged; lower lr in [short] of config.toml and search with --fresh"
    )]
    NothingEvaluated,
    /// Somebody asked it to stop; what was found so far is in the last checkpoint.
    #[error("the search was stopped; the same command goes on from its last update")]
    Stopped,
    /// The agent's tensors.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
