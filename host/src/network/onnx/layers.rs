//! From what a node asks for to a layer, where its input and so all shapes are known.

use super::constant::Constant;
use super::node::{NodeView, Padding, Wanted};
use super::proto::NodeProto;
use super::translate::{Layer, LayerId, Value, Walk, shown_name};
use crate::network::graph::output_shape;
use crate::network::{NamedTensor, Op, Shape};

impl Walk<'_> {
    /// Appends the layer of an operation on a layer's output.
    pub(super) fn apply(
        &mut self,
        node: &NodeProto,
        wanted: Wanted,
        input: LayerId,
        flat: bool,
        constants: &[Option<Constant>],
    ) -> Result<Value, String> {
        let shape = self.layers[input].shape;
        let weight_name = node.input.get(1).map(String::as_str);
        let of_image = |what: &str| if flat { Err(format!("{what} needs rows and columns")) } else { Ok(()) };
        let vector = |place: usize| constants.get(place).and_then(Option::as_ref).map(vector);
        let mut gives_flat = flat;
        let id = match wanted {
            Wanted::Conv { kernel, stride, padding, groups } => {
                of_image("a convolution")?;
                let weight = constants.get(1).and_then(Option::as_ref).ok_or("its weight is missing")?;
                let inputs = weight.dims[1];
                if inputs * groups != shape.channels {
                    let channels = shape.channels;
                    return Err(format!(
                        "its weight is for {inputs} channels in {groups} groups, its input has {channels}"
                    ));
                }
                let padding = pixels(padding, shape, kernel, stride)?;
                let bias = vector(2);
                let out_channels = weight.dims[0];
                // On an image of one place a 1x1 convolution is a dense layer.
                let dense = shape.height * shape.width == 1 && kernel == (1, 1) && groups == 1 && padding == (0, 0);
                let op = match dense {
                    true => Op::Dense { outputs: out_channels, bias: bias.is_some() },
                    false => Op::Conv2d { out_channels, kernel, stride, padding, groups, bias: bias.is_some() },
                };
                let dims = if dense { weight.dims[..2].to_vec() } else { weight.dims.clone() };
                let mut tensors = vec![("weight", NamedTensor { shape: dims, values: weight.floats() })];
                tensors.extend(bias.map(|bias| ("bias", bias)));
                self.push(node, op, vec![input], tensors, weight_name)?
            }
            Wanted::Dense { weight, bias } => {
                if !flat && shape.height * shape.width != 1 {
                    return Err("it is applied to rows of an image; flatten the image first".to_owned());
                }
                let [outputs, inputs] = weight.dims[..] else {
                    return Err("its matrix has no two dimensions".to_owned());
                };
                if inputs != shape.elements() {
                    return Err(format!("its matrix is for {inputs} features, its input has {}", shape.elements()));
                }
                let op = Op::Dense { outputs, bias: bias.is_some() };
                let mut tensors = vec![("weight", NamedTensor { shape: weight.dims.clone(), values: weight.floats() })];
                tensors.extend(bias.as_ref().map(|bias| ("bias", self::vector(bias))));
                gives_flat = true;
                self.push(node, op, vec![input], tensors, weight_name)?
            }
            Wanted::BatchNorm { epsilon } => {
                let kinds = ["gamma", "beta", "mean", "variance"];
                let tensors = kinds.into_iter().zip(1..).filter_map(|(kind, place)| Some((kind, vector(place)?)));
                let tensors: Vec<_> = tensors.collect();
                self.push(node, Op::BatchNorm { epsilon }, vec![input], tensors, weight_name)?
            }
            Wanted::Relu => self.push(node, Op::Relu, vec![input], Vec::new(), None)?,
            Wanted::MaxPool { size, stride, padding, ceil } | Wanted::AvgPool { size, stride, padding, ceil } => {
                of_image("a pooling")?;
                if pixels(padding, shape, size, stride)? != (0, 0) {
                    return Err("padding of a pooling is not supported".to_owned());
                }
                let exact =
                    |len: usize, size: usize, stride: usize| len.saturating_sub(size).is_multiple_of(stride.max(1));
                if ceil && !(exact(shape.height, size.0, stride.0) && exact(shape.width, size.1, stride.1)) {
                    return Err("ceil_mode is supported where it makes no difference only".to_owned());
                }
                let op = match wanted {
                    Wanted::MaxPool { .. } => Op::MaxPool { size, stride },
                    _ => Op::AvgPool { size, stride },
                };
                self.push(node, op, vec![input], Vec::new(), None)?
            }
            Wanted::GlobalAvgPool => {
                of_image("a pooling")?;
                gives_flat = NodeView::new(node).int("keepdims", 1) == 0;
                self.push(node, Op::GlobalAvgPool, vec![input], Vec::new(), None)?
            }
        };
        Ok(Value::Layer { id, flat: gives_flat })
    }

    pub(super) fn push(
        &mut self,
        node: &NodeProto,
        op: Op,
        inputs: Vec<LayerId>,
        tensors: Vec<(&'static str, NamedTensor)>,
        weight: Option<&str>,
    ) -> Result<LayerId, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|&id| self.layers[id].shape).collect();
        let shape = output_shape(op, &shapes)?;
        if let Some((kind, tensor)) = tensors.iter().find(|(kind, t)| *kind != "weight" && t.shape != [shape.channels])
        {
            return Err(format!("its {kind} has {:?} numbers for {} channels", tensor.shape, shape.channels));
        }
        let name = self.layer_name(node, op, weight);
        let source = (shown_name(node), node.op_type.clone());
        self.layers.push(Layer { name, op, inputs, shape, tensors, source });
        self.outputs.push(node.output.first().cloned().unwrap_or_default());
        Ok(self.layers.len() - 1)
    }

    /// A name that is not taken: the weight's without its ending, the node's, or the operation's.
    fn layer_name(&self, node: &NodeProto, op: Op, weight: Option<&str>) -> String {
        let of_weight = weight.and_then(|name| name.strip_suffix(".weight")).map(str::to_owned);
        let parts: Vec<&str> = node.name.split('/').filter(|part| !part.is_empty()).collect();
        let parts = match &parts[..] {
            // PyTorch's names end in the operator, /conv1/Conv.
            [some @ .., last] if !some.is_empty() && last.starts_with(node.op_type.as_str()) => some,
            parts => parts,
        };
        let plain = |name: String| -> String {
            let word = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
            name.chars().map(word).collect::<String>().trim_matches('_').to_owned()
        };
        let name = plain(of_weight.unwrap_or_else(|| parts.join("_")));
        let name = if name.is_empty() { super::build::usual_name(op).to_owned() } else { name };
        let free = |name: &str| self.layers.iter().all(|layer| layer.name != name);
        if free(&name) {
            return name;
        }
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        numbered.into_iter().find(|name| free(name)).unwrap_or(name)
    }
}

/// A constant as a vector.
fn vector(constant: &Constant) -> NamedTensor {
    NamedTensor { shape: vec![constant.values.len()], values: constant.floats() }
}

/// Vertical and horizontal padding in pixels.
fn pixels(
    padding: Padding,
    shape: Shape,
    kernel: (usize, usize),
    stride: (usize, usize),
) -> Result<(usize, usize), String> {
    let same = |len: usize, kernel: usize, stride: usize| {
        let stride = stride.max(1);
        let total = ((len.div_ceil(stride).max(1) - 1) * stride + kernel).saturating_sub(len);
        match total.is_multiple_of(2) {
            true => Ok(total / 2),
            false => Err(format!("auto_pad pads {total} on one side more than on the other; pad equally on both")),
        }
    };
    match padding {
        Padding::Pixels(rows, columns) => Ok((rows, columns)),
        Padding::Same => Ok((same(shape.height, kernel.0, stride.0)?, same(shape.width, kernel.1, stride.1)?)),
    }
}
