//! A network's parameters as plain numbers, by name: what an import brings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

/// Parameters by `layer.kind`: `conv1.weight` `[outputs, inputs of a group, rows, columns]`, `fc1.weight`
/// `[outputs, inputs]`, `conv1.bias` `[outputs]`, and for batch norms `bn1.gamma`, `bn1.beta`, `bn1.mean` and
/// `bn1.variance` `[channels]`. The inputs of a dense layer behind a flattening are in the order channel, row, column, as
/// everywhere in PyTorch and ONNX.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// By name.
    pub tensors: BTreeMap<String, NamedTensor>,
}

/// Numbers and their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row by row, the last dimension fastest.
    pub values: Vec<f32>,
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file is unreadable or no safetensors.
    #[error("cannot read {} as safetensors: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Names or shapes are not the network's.
    #[error(
        "the weights are not those of {network}: {}{}\nexpected are\n{}",
        problems.join("; "),
        if unused.is_empty() { String::new() } else { format!("; not used: {}", unused.join(", ")) },
        expected.join("\n")
    )]
    Mismatch {
        /// The network.
        network: String,
        /// What is missing or has another shape.
        problems: Vec<String>,
        /// Names that the network does not have.
        unused: Vec<String>,
        /// All names of the network with their shapes.
        expected: Vec<String>,
    },
}

impl Weights {
    /// Reads a safetensors file of any kind of float.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn read_safetensors(path: &Path) -> Result<Self, WeightsError> {
        let refuse = |reason: String| WeightsError::File { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let names = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        let read = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|_| refuse("it has tensors of an unknown kind of number".to_owned()))?;
        for name in names.names() {
            let Some(tensor) = read.get(name) else { continue };
            let values = numbers(tensor).map_err(|_| refuse(format!("{name} holds no numbers")))?;
            tensors.insert(name.to_owned(), NamedTensor { shape: tensor.dims().to_vec(), values });
        }
        Ok(Self { tensors })
    }

    /// The tensor of a parameter, also by the name that PyTorch gives it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&str, &NamedTensor)> {
        let (layer, kind) = name.rsplit_once('.')?;
        let alias = match kind {
            "gamma" => "weight",
            "beta" => "bias",
            "mean" => "running_mean",
            "variance" => "running_var",
            kind => kind,
        };
        let found =
            self.tensors.get_key_value(name).or_else(|| self.tensors.get_key_value(&format!("{layer}.{alias}")));
        found.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The values of every parameter of a network in the order of `expected`, its names with their shapes.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with all that is missing or has another shape, and all that is expected. Names that are
    /// not needed are no error, unless something is missing.
    pub fn fitting(&self, network: &str, expected: &[(String, Vec<usize>)]) -> Result<Vec<&[f32]>, WeightsError> {
        let (mut problems, mut used, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (name, shape) in expected {
            match self.find(name) {
                None => problems.push(format!("{name} is missing")),
                Some((found, tensor)) => {
                    used.push(found);
                    if tensor.shape == *shape {
                        values.push(tensor.values.as_slice());
                    } else {
                        problems.push(format!("{name} has shape {:?}, not {shape:?}", tensor.shape));
                    }
                }
            }
        }
        if problems.is_empty() {
            return Ok(values);
        }
        let unused = |name: &&String| !used.contains(&name.as_str()) && !name.ends_with(".num_batches_tracked");
        Err(WeightsError::Mismatch {
            network: network.to_owned(),
            problems,
            unused: self.tensors.keys().filter(unused).cloned().collect(),
            expected: expected.iter().map(|(name, shape)| format!("  {name} {shape:?}")).collect(),
        })
    }
}

fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> NamedTensor {
        NamedTensor { shape: shape.to_vec(), values: vec![0.5; shape.iter().product()] }
    }

    #[test]
    fn all_that_does_not_fit_is_listed_with_what_is_expected() {
        let tensors = [("fc.weight", tensor(&[2, 3])), ("bn.running_mean", tensor(&[4])), ("head.bias", tensor(&[2]))];
        let weights = Weights { tensors: tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into() };
        let expected = [("fc.weight", vec![2, 3]), ("bn.mean", vec![4])].map(|(name, shape)| (name.to_owned(), shape));
        assert_eq!(weights.fitting("net", &expected).unwrap()[1], [0.5; 4]);
        let more = [("fc.weight", vec![3, 2]), ("bn.mean", vec![4]), ("fc.bias", vec![3])];
        let error =
            weights.fitting("net", &more.map(|(name, shape)| (name.to_owned(), shape))).unwrap_err().to_string();
        assert_eq!(
            error,
            "the weights are not those of net: fc.weight has shape [2, 3], not [3, 2]; fc.bias is missing; not used: head.bias\n\
             expected are\n  fc.weight [3, 2]\n  bn.mean [4]\n  fc.bias [3]"
        );
    }

    #[test]
    fn half_floats_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let half = Tensor::new(&[1f32, -2.0], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
        half.save_safetensors("a.weight", &path).unwrap();
        let read = Weights::read_safetensors(&path).unwrap();
        assert_eq!(read.tensors["a.weight"], NamedTensor { shape: vec![2], values: vec![1.0, -2.0] });
        std::fs::write(&path, b"rubbish").unwrap();
        assert!(matches!(Weights::read_safetensors(&path), Err(WeightsError::File { .. })));
    }
}
