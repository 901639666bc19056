//! Networks on disk, as safetensors: parameters by name, the graph's name and the quantisation in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use releq_shared::Bitwidth;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::model::Model;
use super::quantization::Quantization;
use crate::network::Graph;
use crate::quantize::{ActivationGrid, Quantizer};
use crate::run::{RunError, write_atomically};

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] RunError),
    /// The file is no checkpoint.
    #[error("{} is no checkpoint of releq: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file holds another network.
    #[error("{} holds {found}, not {wanted}", path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// The network in it.
        found: String,
        /// The network asked for.
        wanted: String,
    },
    /// A parameter is missing or has another shape.
    #[error("{}: {name} should have shape {wanted:?}, the file has {found}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Its shape in the network.
        wanted: Vec<usize>,
        /// What the file has.
        found: String,
    },
    /// The device refuses.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Writes a model, and how it is quantised if it is.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, model: &Model, quantization: Option<&Quantization>) -> Result<(), CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
    let mut named: BTreeMap<String, &Var> = BTreeMap::new();
    named.extend(model.parameters().iter().chain(model.statistics()).map(|(name, var)| (name.clone(), var)));
    let mut metadata = HashMap::from([("network".to_owned(), model.graph().name.clone())]);
    if let Some(quantization) = quantization {
        named.extend(quantization.steps.iter().map(|(layer, var)| (format!("{layer}.step"), var)));
        let bits: Vec<Option<u8>> = quantization.bits.iter().map(|bits| bits.map(Bitwidth::get)).collect();
        let json = |value: serde_json::Result<String>| value.map_err(|error| damaged(error.to_string()));
        metadata.insert("bits".to_owned(), json(serde_json::to_string(&bits))?);
        metadata.insert("quantizer".to_owned(), quantization.quantizer.name().to_owned());
        metadata.insert("activations".to_owned(), json(serde_json::to_string(&quantization.activations))?);
    }
    let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, var) in named {
        let values: Vec<f32> = var.as_tensor().flatten_all()?.to_vec1()?;
        bytes.push((name, var.dims().to_vec(), values.into_iter().flat_map(f32::to_le_bytes).collect()));
    }
    let views = bytes
        .iter()
        .map(|(name, shape, data)| TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (name.as_str(), view)));
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|error| damaged(error.to_string()))?;
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| damaged(error.to_string()))?;
    Ok(write_atomically(path, &file)?)
}

/// Reads a model of `graph`, and how it is quantised if the file says so.
///
/// # Errors
/// [`CheckpointError`] names what does not fit.
pub fn load(
    path: &Path,
    graph: &Arc<Graph>,
    device: &Device,
) -> Result<(Model, Option<Quantization>), CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|source| RunError::Io { action: "read", path: path.to_owned(), source })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let found = metadata.get("network").cloned().unwrap_or_default();
    if found != graph.name {
        return Err(CheckpointError::OtherNetwork { path: path.to_owned(), found, wanted: graph.name.clone() });
    }
    let read = |name: &str, shape: &[usize]| -> Result<Tensor, CheckpointError> {
        let view = tensors.tensor(name).ok().filter(|view| view.shape() == shape && view.dtype() == Dtype::F32);
        let Some(view) = view else {
            let found = tensors.tensor(name).map_or("none".to_owned(), |view| format!("{:?}", view.shape()));
            let (path, name, wanted) = (path.to_owned(), name.to_owned(), shape.to_vec());
            return Err(CheckpointError::Shape { path, name, wanted, found });
        };
        let words = view.data().chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        Ok(Tensor::from_vec(words.collect::<Vec<f32>>(), shape, device)?)
    };
    let model = Model::new(graph.clone(), 0, device)?;
    for (name, var) in model.parameters().iter().chain(model.statistics()) {
        var.set(&read(name, var.dims())?)?;
    }
    let (Some(bits), Some(activations)) = (metadata.get("bits"), metadata.get("activations")) else {
        return Ok((model, None));
    };
    let bits: Vec<Option<Bitwidth>> = serde_json::from_str(bits).map_err(|error| damaged(error.to_string()))?;
    let activations: BTreeMap<String, ActivationGrid> =
        serde_json::from_str(activations).map_err(|error| damaged(error.to_string()))?;
    // Files from before there was a choice do not say.
    let quantizer = metadata.get("quantizer").map_or(Ok(Quantizer::Scaled), |name| Quantizer::of_name(name));
    let quantizer = quantizer.map_err(|error| damaged(error.to_string()))?;
    let mut quantization = Quantization::by(quantizer, &model, &bits)?;
    for (layer, step) in &quantization.steps {
        step.set(&read(&format!("{layer}.step"), step.dims())?)?;
    }
    quantization.activations = activations;
    Ok((model, Some(quantization)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::zoo;

    fn graph(name: &str) -> Arc<Graph> {
        Arc::new(zoo::by_name(name).unwrap())
    }

    #[test]
    fn a_quantised_network_reads_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = Model::new(graph("resnet8"), 5, &Device::Cpu).unwrap();
        let bits = vec![Some(Bitwidth::new(2).unwrap()); model.graph().weight_layers().len()];
        let mut quantization = Quantization::by(Quantizer::Dorefa, &model, &bits).unwrap();
        quantization.activations.insert("relu_conv1".to_owned(), ActivationGrid { scale: 0.25, zero_point: 3 });
        save(&path, &model, Some(&quantization)).unwrap();
        let (read, read_quantization) = load(&path, &graph("resnet8"), &Device::Cpu).unwrap();
        let read_quantization = read_quantization.unwrap();
        for name in model.parameters().keys().chain(model.statistics().keys()) {
            assert_eq!(model.values(name).unwrap(), read.values(name).unwrap(), "{name}");
        }
        assert_eq!(read_quantization.activations, quantization.activations);
        assert_eq!((read_quantization.quantizer, &read_quantization.bits), (Quantizer::Dorefa, &bits));
        let step = |q: &Quantization| q.steps["fc"].to_vec1::<f32>().unwrap();
        assert_eq!(step(&read_quantization), step(&quantization));
    }

    #[test]
    fn checkpoints_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let refused = || load(&path, &graph("lenet"), &Device::Cpu).unwrap_err();
        assert!(matches!(refused(), CheckpointError::File(_)));
        save(&path, &Model::new(graph("simplenet"), 1, &Device::Cpu).unwrap(), None).unwrap();
        assert!(refused().to_string().contains("holds simplenet, not lenet"), "{}", refused());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(refused(), CheckpointError::Damaged { .. }));
        std::fs::write(&path, b"rubbish").unwrap();
        assert!(matches!(refused(), CheckpointError::Damaged { .. }));
    }
}
