//! The steps of a run, each on its folder: train, search, fine-tune, pack, measure.
//!
//! A step that is done leaves its file in the folder and is not done again; one that was stopped goes on or starts over.
//! Every step adds what it has shown to result.json.

mod ablate;
mod ablate_fits;
mod compare;
mod finetune;
mod finetune_plan;
mod import;
mod measure;
mod normalise;
mod oracle;
mod pack;
mod pareto;
mod reference;
mod report;
mod search;
mod start;
mod study;
mod train;

use std::sync::Arc;

use crate::compute::Devices;
use crate::data::{self, DataError, Dataset, ImageSource};
use crate::device::DeviceError;
use crate::network::{self, Graph, GraphError, NetworkError, Shape, zoo};
use crate::pack::PackError;
use crate::progress::Progress;
use crate::quantize::UndefinedAtOneBit;
use crate::run::{RunError, RunFolder};
use crate::search::{OracleError, SearchError};
use crate::train::TrainError;
use crate::train::checkpoint::CheckpointError;

pub use crate::run::files;
pub use ablate::{Ablations, VariantFigures, ablate};
pub use ablate_fits::{FitEffect, FitRespect, FitVariant, Kind as FitKind, ShortLength, ablate_fits, ablate_short};
pub use compare::{Comparison, MethodFigures, Spread, compare, methods};
pub use finetune::finetune;
pub use import::{Import, import, model_of};
pub use measure::{MeasureOptions, Supply, measure, measure_on};
pub use normalise::Normalisation;
pub use pack::pack;
pub use pareto::{Pareto, Point, pareto};
pub use reference::reference;
pub use report::report;
pub use search::search;
pub use start::start;
pub use study::{SeedFigures, Study};
pub use train::train;

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
    Network(#[from] NetworkError),
    /// The network's layers do not fit the images asked for.
    #[error("{network} cannot take images of {images}: {error}")]
    Adapt {
        /// The network.
        network: String,
        /// Channels, rows and columns.
        images: String,
        /// What does not fit.
        error: GraphError,
    },
    /// The network has another number of logits than the data set has classes.
    #[error("{network} has {wanted} logits, {dataset} has {found} classes; give its last layer {found} outputs")]
    OtherClasses {
        /// The network.
        network: String,
        /// Its logits.
        wanted: usize,
        /// The data set.
        dataset: String,
        /// Its classes.
        found: usize,
    },
    /// Layers that the integer engine has no operation for.
    #[error("{network} cannot run on the integer engine:\n{}", layers.join("\n"))]
    Unpackable {
        /// The network.
        network: String,
        /// Each layer with the reason.
        layers: Vec<String>,
    },
    /// The weights to import.
    #[error(transparent)]
    Weights(Box<network::WeightsError>),
    /// The normalisation of an import.
    #[error("cannot fold the normalisation into the network: {reason}")]
    Normalisation {
        /// Why not.
        reason: String,
    },
    /// An import into a run that has a float network.
    #[error("{} has a float network already; choose another --out", path.display())]
    AlreadyThere {
        /// The run's folder.
        path: std::path::PathBuf,
    },
    /// The network takes other images than the data set has.
    #[error(
        "{network} takes images of {wanted:?}, {dataset} has {found:?}; choose a data set that fits, such as {usual}, or \
         adapt the network with --input {},{},{}",
        found.channels, found.height, found.width
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
    /// Bits that the quantiser is not defined for.
    #[error(transparent)]
    Quantizer(#[from] UndefinedAtOneBit),
    /// No long fine-tune came to its end.
    #[error(
        "the long fine-tune of {} diverged: the loss is no number; lower lr or sinusoidal.strength in [finetune] of the run's \
         config.toml (lr is {lr} now) and run releq finetune again",
        tried.join(" and of ")
    )]
    AllDiverged {
        /// The assignments.
        tried: Vec<String>,
        /// The learning rate.
        lr: f64,
    },
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
        let mut graph = network::load(&config.network, run.path())?;
        if let Some([channels, height, width]) = config.input {
            let classes = graph.classes();
            graph = adapted(&graph, Shape { channels, height, width }, classes)?;
        }
        let location = match config.embedded_data {
            true => data::Location::Embedded,
            false => data::locate(&config.dataset)?,
        };
        let mut data = data::load_for(&config.dataset, &location, config.seed, graph.input(), progress)?;
        data.grid = config.pixels.unwrap_or(data.grid);
        if graph.input() != data.train.shape {
            return Err(StageError::OtherImages {
                network: graph.name,
                wanted: graph.nodes[0].shape,
                dataset: config.dataset.clone(),
                found: data.train.shape,
                usual: zoo::usual_dataset(&config.network),
            });
        }
        let (wanted, found) = (graph.classes(), data.classes.len());
        if wanted != found {
            if network::is_description(&config.network) {
                let dataset = config.dataset.clone();
                return Err(StageError::OtherClasses { network: graph.name, wanted, dataset, found });
            }
            // The zoo's networks are of any number of classes.
            graph = adapted(&graph, graph.input(), found)?;
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

fn adapted(graph: &Graph, input: Shape, classes: usize) -> Result<Graph, StageError> {
    graph.adapted(input, classes).map_err(|error| {
        let images = format!("{} x {} x {}", input.channels, input.height, input.width);
        StageError::Adapt { network: graph.name.clone(), images, error }
    })
}

impl From<zoo::ZooError> for StageError {
    fn from(error: zoo::ZooError) -> Self {
        Self::Network(error.into())
    }
}

/// Says at a training's first step if it is not its first of all.
fn tell_resumed(progress: &Progress, stage: &str, step: usize, begun: &mut bool) {
    if !std::mem::replace(begun, true) && step > 1 {
        progress.say(format_args!("{stage:>12} goes on after {} steps", step - 1));
    }
}

/// Accuracy as people write it.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
