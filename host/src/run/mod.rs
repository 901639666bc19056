//! A run: one network, one data set, one seed, one folder.
//!
//! ```text
//! config.toml              what was asked for; a run never mixes two configurations
//! network.toml             the network's description, if it is not one of the zoo
//! log.jsonl                everything that happened, one JSON object a line
//! run.lock                 locked by the process that has the folder
//! float.safetensors        the float network
//! *.unfinished             a training that goes on from here
//! evaluations.jsonl        every short fine-tune, one a line, as it was made
//! scan.json                which bitwidths a scan found useful, if the search was to find out
//! search.checkpoint        the search, after its last finished update
//! search.json              the assignments that were evaluated, and the one chosen
//! compare.json             the search beside other methods
//! ablate*                  searches that differ in one respect, and the fine-tunes behind that
//! pareto.*                 all evaluated assignments, as data and as a picture; probabilities.* the agent's course
//! reference.safetensors    the float network, trained on as long as the quantised one
//! tried/                   networks that a long fine-tune has tried, until it ends
//! finetuned.safetensors    the quantised network
//! model.rlq                the blob
//! result.json              what the run has shown so far; every stage adds to it
//! ```
//!
//! Files are written beside their place and renamed, so that a stop at any moment leaves the old or the new one.

mod comments;
mod config;
pub mod files;
mod folder;
mod lock;
mod log;
mod partial;
mod result;

pub use config::{QuantizerConfig, RunConfig};
pub use folder::{RunError, RunFolder, write_atomically};
pub use lock::RunLock;
pub use log::Log;
pub use partial::names_in;
pub use result::{
    Accuracies, DeviceResult, Energy, FlashSection, LayerResult, RunResult, Seconds, Tried, ValidationAccuracies,
};
