//! Import: a network and its weights from elsewhere become a run whose float training is done.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::normalise::{self, Normalisation};
use super::{StageError, Workshop, files, percent, start};
use crate::compute::Devices;
use crate::network::{Graph, Weights, WeightsError, describe, unpackable};
use crate::progress::Progress;
use crate::run::{RunConfig, RunFolder};
use crate::train::{Model, checkpoint, evaluate};

/// A network with its weights, from elsewhere.
#[derive(Clone, Debug)]
pub struct Import {
    /// The network.
    pub graph: Graph,
    /// Its parameters.
    pub weights: Weights,
    /// What it takes its pixels as; without one, the data set's own grid.
    pub normalisation: Option<Normalisation>,
}

#[derive(Serialize)]
struct Imported {
    validation_accuracy: f64,
}

/// A model of `graph` with these weights.
///
/// # Errors
/// [`WeightsError::Mismatch`] lists what is missing or has another shape, and all that is expected.
pub fn model_of(graph: &Arc<Graph>, weights: &Weights, device: &Device) -> Result<Model, StageError> {
    let model = Model::new(graph.clone(), 0, device)?;
    let vars: Vec<_> = model.parameters().iter().chain(model.statistics()).collect();
    let expected: Vec<(String, Vec<usize>)> =
        vars.iter().map(|(name, var)| ((*name).clone(), var.dims().to_vec())).collect();
    for ((_, var), values) in vars.iter().zip(weights.fitting(&graph.name, &expected)?) {
        var.set(&Tensor::from_slice(values, var.shape(), device)?)?;
    }
    Ok(model)
}

/// Makes a run in `out` whose float network is `import`, ready for the search, and evaluates it on the validation images.
/// Nothing is written unless all fits.
///
/// # Errors
/// [`StageError`]: layers that the integer engine has no operation for, weights that do not fit, a run that is there already.
pub fn import(
    out: &Path,
    mut config: RunConfig,
    import: Import,
    devices: Devices,
    progress: Progress,
) -> Result<RunFolder, StageError> {
    let started = Instant::now();
    let Import { mut graph, mut weights, normalisation } = import;
    let refused = unpackable(&graph);
    if !refused.is_empty() {
        let layers = refused.iter().map(|layer| format!("  {}: {}", graph.node(layer.node).name, layer.reason));
        return Err(StageError::Unpackable { network: graph.name.clone(), layers: layers.collect() });
    }
    // What does not fit is said before anything is written.
    model_of(&Arc::new(graph.clone()), &weights, &Device::Cpu)?;
    if let Some(normalisation) = &normalisation {
        let grid = normalise::fold(&mut graph, &mut weights, normalisation);
        config.pixels = Some(grid.map_err(|reason| StageError::Normalisation { reason })?);
    }
    if out.join(files::FLOAT).exists() {
        return Err(StageError::AlreadyThere { path: out.to_owned() });
    }
    let mut run = start(out, config, Some(&describe::to_toml(&graph)))?;
    let workshop = Workshop::open(&run, devices, progress)?;
    let model = model_of(&workshop.graph, &weights, workshop.devices.first())?;
    let accuracy = evaluate(&model, None, &workshop.validation)?.share();
    checkpoint::save(&run.file(files::FLOAT), &model, None)?;
    run.log.write("import", &Imported { validation_accuracy: accuracy });
    let data = &workshop.data;
    run.result.data_source = Some(data.source.clone());
    run.result.images = Some([data.train.len(), data.validation.len(), data.test.len()]);
    run.save_result()?;
    let seconds = started.elapsed().as_secs_f64();
    progress.say(format_args!(
        "{:>12} {}: {} on the validation images ({seconds:.1} s)",
        "import",
        graph.name,
        percent(accuracy)
    ));
    Ok(run)
}

impl From<WeightsError> for StageError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(Box::new(error))
    }
}
