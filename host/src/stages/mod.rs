//! The steps of a run, each on its folder: train, search, fine-tune, pack, measure.
//!
//! A step that is done leaves its file in the folder and is not done again; one that was stopped goes on or starts over.
//! Every step adds what it has shown to result.json.

mod compare;
mod finetune;
mod measure;
mod oracle;
mod pack;
mod search;
mod train;

use std::sync::Arc;

use crate::compute::Devices;
use crate::data::{self, DataError, Dataset, ImageSource};
use crate::device::DeviceError;
use crate::network::{Graph, zoo};
use crate::pack::PackError;
use crate::progress::Progress;
use crate::run::{RunError, RunFolder};
use crate::search::{OracleError, SearchError};
use crate::train::TrainError;
use crate::train::checkpoint::CheckpointError;

pub use compare::{Comparison, MethodFigures, Spread, compare, methods};
pub use finetune::finetune;
pub use measure::{MeasureOptions, boot, boot_with, measure, measure_on};
pub use pack::pack;
pub use search::search;
pub use train::train;

/// Files of a run's folder.
pub mod files {
    /// The float network.
    pub const FLOAT: &str = "float.safetensors";
    /// Every short fine-tune that was made from the float network, one a line.
    pub const EVALUATIONS: &str = "evaluations.jsonl";
    /// What a scan for useful bitwidths found.
    pub const SCAN: &str = "scan.json";
    /// The search, after its last update.
    pub const SEARCH_CHECKPOINT: &str = "search.checkpoint";
    /// What the search found.
    pub const SEARCH: &str = "search.json";
    /// The search beside other methods.
    pub const COMPARISON: &str = "compare.json";
    /// The quantised network.
    pub const FINETUNED: &str = "finetuned.safetensors";
    /// The blob.
    pub const MODEL: &str = "model.rlq";
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network.
    #[error(transparent)]
    Network(#[from] zoo::ZooError),
    /// The network takes other images than the data set has.
    #[error(
        "{network} takes images of {wanted:?}, {dataset} has {found:?}; choose a data set that fits, such as {usual}"
    )]
    OtherImages {
        /// The network.
        network: String,
        /// Its input.
        wanted: crate::network::Shape,
        /// The data set.
        dataset: String,
        /// Its images.
        found: crate::network::Shape,
        /// The usual data set of the network.
        usual: &'static str,
    },
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The search.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The oracle of the search.
    #[error("cannot start the search: {0}")]
    Oracle(OracleError),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The packed model.
    #[error("the packed model is not sound: {0}")]
    Blob(#[from] releq_shared::blob::BlobError),
    /// The board.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The compute device.
    #[error("cannot use the device: {0}")]
    Compute(#[from] candle_core::Error),
    /// A list of bits of another length.
    #[error("{network} has {wanted} layers with weights ({layers}), {given} bitwidths were given")]
    BitsCount {
        /// The network.
        network: String,
        /// Its layers with weights.
        wanted: usize,
        /// Their names.
        layers: String,
        /// Bitwidths given.
        given: usize,
    },
}

/// What every step works with.
#[derive(Debug)]
pub struct Workshop {
    /// The data set.
    pub data: Dataset,
    /// Its training part, for training loops.
    pub training: ImageSource,
    /// Its validation part.
    pub validation: ImageSource,
    /// Its test part, for final figures.
    pub test: ImageSource,
    /// The network.
    pub graph: Arc<Graph>,
    /// Where tensors live. The first one trains and fine-tunes; a search evaluates candidates on all of them.
    pub devices: Devices,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Workshop {
    /// Loads what a run needs.
    ///
    /// # Errors
    /// [`StageError`] says what does not fit.
    pub fn open(run: &RunFolder, devices: Devices, progress: Progress) -> Result<Self, StageError> {
        let config = run.config();
        let graph = zoo::by_name(&config.network)?;
        let data = match config.embedded_data {
            true => data::load_from(&config.dataset, &data::Location::Embedded, config.seed)?,
            false => data::load(&config.dataset, config.seed)?,
        };
        if graph.input() != data.train.shape || graph.classes() != data.classes.len() {
            return Err(StageError::OtherImages {
                network: config.network.clone(),
                wanted: graph.input(),
                dataset: config.dataset.clone(),
                found: data.train.shape,
                usual: zoo::usual_dataset(&config.network),
            });
        }
        let [train, validation, test] = [data.train.len(), data.validation.len(), data.test.len()];
        progress.say(format_args!(
            "{:>12} {} from {}: {train} for training, {validation} for validation, {test} for testing",
            "data", config.dataset, data.source
        ));
        let source = |images: &data::Images| ImageSource::new(images.clone(), data.grid);
        let (training, validation, test) = (source(&data.train), source(&data.validation), source(&data.test));
        Ok(Self { data, training, validation, test, graph: Arc::new(graph), devices, progress })
    }
}

/// Accuracy as people write it.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
