//! Folds the normalisation that a network was trained with into its first layers.
//!
//! A device takes pixels on one grid, `scale * (pixel - zero_point)`. Elsewhere networks are trained on
//! `(pixel / 255 - mean) / std`, with numbers of their own for each channel. The grid takes their averages; what a channel has
//! on top goes into the weights and biases of the layers that read the input. This changes nothing but the padding of a first
//! layer, where the grid's zero point stands in the place of each channel's mean.

use crate::data::PixelGrid;
use crate::network::{Graph, NamedTensor, NodeId, Op, Weights};

/// What a network takes: `(pixel / 255 - mean) / std`, one of each for every channel or one for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Taken away, in units of white.
    pub mean: Vec<f32>,
    /// Divided by, in units of white.
    pub std: Vec<f32>,
}

impl Normalisation {
    /// The grid of averages, and each channel's gain and offset on top of it.
    fn split(&self, channels: usize) -> Result<(PixelGrid, Vec<(f32, f32)>), String> {
        let each = |name: &str, values: &[f32]| match values {
            [one] => Ok(vec![*one; channels]),
            values if values.len() == channels => Ok(values.to_vec()),
            values => {
                Err(format!("{} {name} values for {channels} channels; give one, or one a channel", values.len()))
            }
        };
        let (mean, std) = (each("mean", &self.mean)?, each("std", &self.std)?);
        if std.iter().any(|&std| !std.is_finite() || std <= 0.0) || mean.iter().any(|mean| !mean.is_finite()) {
            return Err("mean and std must be finite, and std above 0".to_owned());
        }
        let average = |values: &[f32]| values.iter().sum::<f32>() / channels as f32;
        let (average_mean, average_std) = (average(&mean), average(&std));
        let zero_point = (average_mean * 255.0).round().clamp(0.0, 255.0) as u8;
        let grid = PixelGrid { scale: 1.0 / (255.0 * average_std), zero_point };
        let zero = f32::from(zero_point) / 255.0;
        let on_top = mean.iter().zip(&std).map(|(&mean, &std)| (average_std / std, (zero - mean) / std));
        Ok((grid, on_top.collect()))
    }
}

/// Folds a normalisation into the layers that read the network's input, and returns the grid on which it then takes pixels.
/// A first layer that has neither a bias nor a batch norm behind it gets a bias.
///
/// # Errors
/// Why it cannot be done: another number of channels, or something other than a layer with weights that reads the input.
pub(super) fn fold(
    graph: &mut Graph,
    weights: &mut Weights,
    normalisation: &Normalisation,
) -> Result<PixelGrid, String> {
    let input = graph.input();
    let (grid, on_top) = normalisation.split(input.channels)?;
    let mut behind = vec![NodeId(0)];
    while let Some(id) = behind.pop() {
        let readers: Vec<NodeId> = graph.readers(id).collect();
        for reader in readers {
            match graph.node(reader).op {
                Op::Flatten => behind.push(reader),
                Op::Conv2d { groups, .. } => fold_layer(graph, weights, reader, &on_top, groups)?,
                Op::Dense { .. } => fold_layer(graph, weights, reader, &on_top, 1)?,
                _ => {
                    let name = &graph.node(reader).name;
                    return Err(format!("{name} reads the input, and a normalisation cannot be folded into it"));
                }
            }
        }
    }
    Ok(grid)
}

fn fold_layer(
    graph: &mut Graph,
    weights: &mut Weights,
    id: NodeId,
    on_top: &[(f32, f32)],
    groups: usize,
) -> Result<(), String> {
    let node = graph.node(id).clone();
    let outputs = node.shape.channels;
    let missing = |name: &str| format!("{name} is missing");
    let weight_name = format!("{}.weight", node.name);
    let key = weights.find(&weight_name).map(|(key, _)| key.to_owned()).ok_or_else(|| missing(&weight_name))?;
    let weight = weights.tensors.get_mut(&key).ok_or_else(|| missing(&weight_name))?;
    let row = weight.values.len() / outputs.max(1);
    let inputs = on_top.len() / groups;
    if row == 0 || !row.is_multiple_of(inputs) {
        return Err(format!(
            "{weight_name} has shape {:?}, which does not fit {} channels",
            weight.shape,
            on_top.len()
        ));
    }
    let mut offsets = vec![0.0; outputs];
    for (output, row) in weight.values.chunks_exact_mut(row).enumerate() {
        let first = output / (outputs / groups) * inputs;
        let area = row.len() / inputs;
        for (place, value) in row.iter_mut().enumerate() {
            let (gain, offset) = on_top[first + place / area];
            offsets[output] += *value * offset;
            *value *= gain;
        }
    }
    let (Op::Conv2d { bias, .. } | Op::Dense { bias, .. }) = &mut graph.nodes[id.0].op else { return Ok(()) };
    let had_bias = std::mem::replace(bias, true);
    let norm = graph.readers(id).find(|&reader| matches!(graph.node(reader).op, Op::BatchNorm { .. }));
    let alone = graph.readers(id).count() == 1;
    let name = |layer: &str, kind: &str| {
        let wanted = format!("{layer}.{kind}");
        weights.find(&wanted).map(|(key, _)| key.to_owned()).ok_or_else(|| missing(&wanted))
    };
    // Where a batch norm takes a mean away, the offset goes there.
    let (key, sign) = match norm.filter(|_| alone && !had_bias) {
        Some(norm) => {
            if let Op::Conv2d { bias, .. } | Op::Dense { bias, .. } = &mut graph.nodes[id.0].op {
                *bias = false;
            }
            (name(&graph.node(norm).name, "mean")?, -1.0)
        }
        None if had_bias => (name(&node.name, "bias")?, 1.0),
        None => {
            let zeros = NamedTensor { shape: vec![outputs], values: vec![0.0; outputs] };
            let key = format!("{}.bias", node.name);
            weights.tensors.insert(key.clone(), zeros);
            (key, 1.0)
        }
    };
    let values = weights.tensors.get_mut(&key).map(|tensor| &mut tensor.values).ok_or_else(|| missing(&key))?;
    for (value, offset) in values.iter_mut().zip(offsets) {
        *value += sign * offset;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Tensor};

    use super::*;
    use crate::network::describe;
    use crate::train::{Model, Pass};

    fn normalisation() -> Normalisation {
        Normalisation { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }

    /// The logits for 8-bit pixels, which become numbers by `value` of channel and pixel.
    fn logits(graph: &Graph, weights: &Weights, pixels: &[u8], value: impl Fn(usize, u8) -> f32) -> Vec<f32> {
        let graph = Arc::new(graph.clone());
        let model = super::super::import::model_of(&graph, weights, &Device::Cpu).unwrap();
        let shape = graph.input();
        let area = shape.height * shape.width;
        let values: Vec<f32> = pixels.iter().enumerate().map(|(i, &p)| value(i / area % shape.channels, p)).collect();
        let count = pixels.len() / shape.elements();
        let images =
            Tensor::from_vec(values, (count, shape.channels, shape.height, shape.width), &Device::Cpu).unwrap();
        model.forward(&images, Pass::Infer(None)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_folded_normalisation_changes_nothing() {
        let firsts = [
            "op = \"conv\"\nchannels = 4\nkernel = 3\n",
            "op = \"conv\"\nchannels = 6\nkernel = 3\ndepthwise = true\nbias = false\n",
            "op = \"conv\"\nchannels = 4\nkernel = 3\nbias = false\n[[layer]]\nop = \"batch-norm\"\n",
            "op = \"flatten\"\n",
        ];
        for first in firsts {
            let text = format!(
                "name = \"n\"\ninput = [3, 5, 4]\n[[layer]]\n{first}[[layer]]\nop = \"flatten\"\n[[layer]]\nop = \"dense\"\noutputs = 3\n"
            );
            let graph = describe::from_toml(&text).unwrap();
            let model = Model::new(Arc::new(graph.clone()), 3, &Device::Cpu).unwrap();
            let names = model.parameters().iter().chain(model.statistics());
            let tensors = names.map(|(name, var)| {
                (name.clone(), NamedTensor { shape: var.dims().to_vec(), values: model.values(name).unwrap() })
            });
            let weights = Weights { tensors: tensors.collect() };
            let pixels: Vec<u8> = (0..120u32).map(|i| (i * 97 % 256) as u8).collect();
            let Normalisation { mean, std } = normalisation();
            let before = logits(&graph, &weights, &pixels, |c, p| (f32::from(p) / 255.0 - mean[c]) / std[c]);
            let (mut folded, mut moved) = (graph.clone(), weights.clone());
            let grid = fold(&mut folded, &mut moved, &normalisation()).unwrap();
            let after = logits(&folded, &moved, &pixels, |_, p| grid.value(p));
            let far = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{first}: {before:?} {after:?}");
        }
    }

    #[test]
    fn what_cannot_be_folded_is_said() {
        let mut graph = crate::network::zoo::by_name("lenet").unwrap();
        let error = fold(&mut graph, &mut Weights::default(), &normalisation()).unwrap_err();
        assert_eq!(error, "3 mean values for 1 channels; give one, or one a channel");
    }
}
