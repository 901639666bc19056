//! From units to the blob's operations: which tensors there are, on which grids, and what computes them.

use std::collections::BTreeMap;

use releq_shared::Bitwidth;
use releq_shared::blob::{
    Activation, BlobWriter, ChannelTable, Channels, Conv2d, Dense, FusedPool, Op as BlobOp, PoolKind, Section, Tensor,
    TensorKind, Weights,
};
use releq_shared::layout::Layout;
use releq_shared::requantize::Requantize;

use super::costs::CostTable;
use super::emit::{Action, Step, Value, emit};
use super::layer::{BatchNorm, ChannelAffine, FoldedWeights, channels_last};
use super::{PackError, Target, layouts};
use crate::data::PixelGrid;
use crate::network::{Graph, Node, NodeId, Op, Shape, Unit, UnitKind};
use crate::quantize::ActivationGrid;
use crate::train::{Model, Quantization};

/// What a blob says besides the network itself.
#[derive(Clone, Debug)]
pub struct BlobFacts<'a> {
    /// The data set's name.
    pub dataset: &'a str,
    /// Names of the classes.
    pub classes: &'a [String],
    /// The input's grid.
    pub grid: PixelGrid,
    /// The run's seed.
    pub seed: u64,
    /// The run's configuration.
    pub config_hash: u64,
}

/// Packs a trained, quantised network for a target, in the layouts of the lowest recorded cost.
///
/// # Errors
/// [`PackError`] names the layer that cannot be packed.
pub fn pack(
    model: &Model,
    quantization: &Quantization,
    facts: &BlobFacts<'_>,
    target: impl Into<Target>,
) -> Result<Vec<u8>, PackError> {
    let target = target.into();
    pack_by(model, quantization, facts, target, CostTable::recorded(target.class).as_ref())
}

/// As [`pack`], by a table of costs of one's own.
///
/// # Errors
/// [`PackError`] names the layer that cannot be packed.
pub fn pack_by(
    model: &Model,
    quantization: &Quantization,
    facts: &BlobFacts<'_>,
    target: Target,
    costs: Option<&CostTable>,
) -> Result<Vec<u8>, PackError> {
    let mut lowering = Lowering::new(model, quantization, facts);
    lowering.choose_layouts(target, costs)?;
    for unit in model.units() {
        lowering.lower(unit)?;
    }
    let Lowering { values, steps, writer, logit_scale, graph, .. } = lowering;
    emit(&graph.name, &values, &steps, writer, logit_scale, facts)
}

struct Lowering<'a> {
    model: &'a Model,
    graph: &'a Graph,
    quantization: &'a Quantization,
    /// Of the layers with weights, by name.
    layouts: BTreeMap<&'a str, Layout>,
    writer: BlobWriter,
    values: Vec<Value>,
    /// The tensor that holds each node's output.
    of_node: BTreeMap<NodeId, usize>,
    steps: Vec<Step>,
    logit_scale: f64,
}

impl<'a> Lowering<'a> {
    fn new(model: &'a Model, quantization: &'a Quantization, facts: &BlobFacts<'_>) -> Self {
        let grid = ActivationGrid { scale: facts.grid.scale, zero_point: facts.grid.zero_point };
        let input = Value { shape: model.graph().input(), kind: TensorKind::U8, grid, first: 0, last: 0 };
        Self {
            model,
            graph: model.graph(),
            quantization,
            layouts: BTreeMap::new(),
            writer: BlobWriter::new(),
            values: vec![input],
            of_node: BTreeMap::from([(NodeId(0), 0)]),
            steps: Vec::new(),
            logit_scale: 1.0,
        }
    }

    fn refuse(&self, id: NodeId, reason: impl Into<String>) -> PackError {
        PackError::Unsupported { layer: self.graph.node(id).name.clone(), reason: reason.into() }
    }

    /// The tensors that a node reads.
    fn inputs(&self, node: &Node) -> Result<Vec<usize>, PackError> {
        let tensor = |id: &NodeId| self.of_node.get(id).copied();
        let inputs: Option<Vec<usize>> = node.inputs.iter().map(tensor).collect();
        inputs.ok_or_else(|| PackError::Unsupported {
            layer: node.name.clone(),
            reason: "it reads a value that the integer engine does not keep".to_owned(),
        })
    }

    /// The grid that a unit's output was calibrated to.
    fn grid(&self, unit: &Unit) -> Result<ActivationGrid, PackError> {
        let name = &self.graph.node(unit.output).name;
        let grid = self.quantization.activations.get(name).copied();
        grid.ok_or_else(|| {
            self.refuse(unit.output, "its activations were never calibrated; fine-tune the network first")
        })
    }

    /// Appends an operation that writes a new tensor, the output of `node`.
    fn push(&mut self, name: &str, inputs: Vec<usize>, node: NodeId, grid: ActivationGrid, action: Action, relu: bool) {
        let step = self.steps.len();
        for &input in &inputs {
            self.values[input].last = step;
        }
        let is_logits = node.0 == self.graph.nodes.len() - 1;
        let kind = if is_logits { TensorKind::I32 } else { TensorKind::U8 };
        let shape = self.graph.node(node).shape;
        self.values.push(Value { shape, kind, grid, first: step, last: step + 1 });
        let output = self.values.len() - 1;
        self.of_node.insert(node, output);
        self.steps.push(Step { name: name.to_owned(), inputs, output, action, relu });
    }

    fn lower(&mut self, unit: &Unit) -> Result<(), PackError> {
        if self.of_node.contains_key(&unit.output) {
            return Ok(()); // a pooling that its convolution has taken in
        }
        let node = self.graph.node(unit.head);
        let inputs = self.inputs(node)?;
        match unit.kind {
            UnitKind::Weights => self.lower_weights(unit, inputs),
            UnitKind::Maximum => {
                let Op::MaxPool { size, stride } = node.op else {
                    return Err(self.refuse(unit.head, "it is no pooling"));
                };
                let grid = self.values[inputs[0]].grid;
                let action = Action::Pool {
                    kind: PoolKind::Max,
                    size: self.small(unit.head, size)?,
                    stride: self.small(unit.head, stride)?,
                };
                self.push(&node.name, inputs, unit.output, grid, action, false);
                Ok(())
            }
            UnitKind::Average => self.lower_average(unit, inputs),
            UnitKind::Sum => self.lower_sum(unit, inputs),
            UnitKind::Flatten => {
                self.of_node.insert(unit.output, inputs[0]);
                Ok(())
            }
            UnitKind::Relu | UnitKind::BatchNorm => {
                Err(self.refuse(unit.head, "it follows no layer that it could be folded into"))
            }
        }
    }

    /// A pair of sizes as the blob has them.
    fn small(&self, id: NodeId, pair: (usize, usize)) -> Result<[u8; 2], PackError> {
        match (u8::try_from(pair.0), u8::try_from(pair.1)) {
            (Ok(first), Ok(second)) => Ok([first, second]),
            _ => Err(self.refuse(id, format!("{pair:?} is more than the integer engine's 255"))),
        }
    }

    fn lower_weights(&mut self, unit: &Unit, inputs: Vec<usize>) -> Result<(), PackError> {
        let node = self.graph.node(unit.head);
        let name = node.name.clone();
        let input = &self.values[inputs[0]];
        let (input_grid, input_shape) = (input.grid, input.shape);
        let folded = self.folded(unit, input_shape)?;
        let is_logits = unit.output.0 == self.graph.nodes.len() - 1;
        let input_scale = f64::from(input_grid.scale);
        let grid = if is_logits {
            self.logit_scale = folded.smallest_output_scale(input_scale);
            ActivationGrid { scale: self.logit_scale as f32, zero_point: 0 }
        } else {
            // A grid finer than the accumulators can serve is made a little coarser; it still covers the range.
            let grid = self.grid(unit)?;
            ActivationGrid { scale: grid.scale.max(folded.smallest_output_scale(input_scale) as f32), ..grid }
        };
        let output_scale = if is_logits { self.logit_scale } else { f64::from(grid.scale) };
        let (bias, scale) = folded.channels(&name, input_scale, input_grid.zero_point, output_scale)?;
        let (bits, _) = self.bits(&name)?;
        let pool = self.pool_behind(unit)?;
        let layout = self.layouts.get(name.as_str()).copied().unwrap_or(Layout::Bitstream);
        let section = layout.pack(&folded.codes, bias.len(), folded.columns, bits);
        let codes = self.writer.section(&section);
        let channels = self.writer.channels(Channels { bias: &bias, scale: &scale });
        let weights = Weights { bits, z: folded.z, layout, codes, channels };
        let (action, output) = match node.op {
            Op::Conv2d { kernel, stride, padding, groups, .. } => {
                let [rows, columns] = self.small(unit.head, padding)?;
                if groups != 1 && groups != input_shape.channels {
                    return Err(self.refuse(unit.head, format!("{groups} groups: only 1 or depthwise can be packed")));
                }
                let action = Action::Conv2d {
                    kernel: self.small(unit.head, kernel)?,
                    stride: self.small(unit.head, stride)?,
                    padding: [rows, columns, rows, columns],
                    groups: groups as u16,
                    pool: pool.map(|(_, pool)| pool),
                    weights,
                };
                (action, pool.map_or(unit.output, |(id, _)| id))
            }
            _ => (Action::Dense { weights }, unit.output),
        };
        self.push(&name, inputs, output, grid, action, unit.relu);
        if pool.is_some() {
            let tensor = self.values.len() - 1;
            self.of_node.insert(unit.output, tensor);
        }
        Ok(())
    }

    /// Chooses the layouts of all layers, since they share what weights may take beyond their bits.
    fn choose_layouts(&mut self, target: Target, costs: Option<&CostTable>) -> Result<(), PackError> {
        let mut ops = Vec::new();
        for unit in self.model.units().iter().filter(|unit| unit.kind == UnitKind::Weights) {
            let node = self.graph.node(unit.head);
            ops.push(self.outline(node, self.pool_behind(unit)?, self.bits(&node.name)?.0));
        }
        let chosen = layouts::choose(&ops, target, costs);
        self.layouts = ops.iter().map(BlobOp::name).zip(chosen).collect();
        Ok(())
    }

    /// The operation that a layer will be, as far as its shape goes.
    fn outline(&self, node: &'a Node, pool: Option<(NodeId, FusedPool)>, bits: Bitwidth) -> BlobOp<'a> {
        let input = self.graph.node(node.inputs[0]).shape;
        let output = pool.map_or(node.shape, |(id, _)| self.graph.node(id).shape);
        let tensor = |shape: Shape| Tensor {
            offset: 0,
            height: shape.height as u16,
            width: shape.width as u16,
            channels: shape.channels as u16,
            kind: TensorKind::U8,
            zero_point: 0,
        };
        let (codes, channels) = (Section::default(), ChannelTable::default());
        let weights = Weights { bits, z: 0, layout: Layout::Bitstream, codes, channels };
        let (name, input, output) = (node.name.as_str(), tensor(input), tensor(output));
        let activation = Activation::FULL;
        match node.op {
            Op::Conv2d { kernel, stride, padding: (rows, columns), groups, .. } => BlobOp::Conv2d(Conv2d {
                name,
                input,
                output,
                kernel: [kernel.0 as u8, kernel.1 as u8],
                stride: [stride.0 as u8, stride.1 as u8],
                padding: [rows as u8, columns as u8, rows as u8, columns as u8],
                groups: groups as u16,
                pool: pool.map(|(_, pool)| pool),
                activation,
                weights,
            }),
            _ => BlobOp::Dense(Dense { name, input, output, activation, weights }),
        }
    }

    /// The max pooling that alone reads a convolution.
    fn pool_behind(&self, unit: &Unit) -> Result<Option<(NodeId, FusedPool)>, PackError> {
        let mut readers = self.graph.readers(unit.output);
        let (Some(reader), None) = (readers.next(), readers.next()) else { return Ok(None) };
        match (self.graph.node(unit.head).op, self.graph.node(reader).op) {
            (Op::Conv2d { .. }, Op::MaxPool { size, stride }) => {
                let (size, stride) = (self.small(reader, size)?, self.small(reader, stride)?);
                Ok(Some((reader, FusedPool { size, stride })))
            }
            _ => Ok(None),
        }
    }

    fn bits(&self, layer: &str) -> Result<(Bitwidth, Vec<f32>), PackError> {
        let place = self.graph.weight_layers().iter().position(|weights| weights.name == layer);
        let bits = place.and_then(|place| self.quantization.bits[place]);
        match (bits, self.quantization.steps.get(layer)) {
            (Some(bits), Some(steps)) => Ok((bits, steps.as_tensor().to_vec1()?)),
            _ => {
                let reason = "its weights have no bitwidth; only quantised networks can be packed".to_owned();
                Err(PackError::Unsupported { layer: layer.to_owned(), reason })
            }
        }
    }

    /// A layer's codes in the blob's order, with bias and batch norm folded in.
    fn folded(&self, unit: &Unit, input: Shape) -> Result<FoldedWeights, PackError> {
        let node = self.graph.node(unit.head);
        let (bits, steps) = self.bits(&node.name)?;
        let values = |name: &str, kind: &str| self.model.values(&format!("{name}.{kind}"));
        let quantized = self.quantization.quantizer.quantize(&values(&node.name, "weight")?, &steps, bits);
        let has_bias = matches!(node.op, Op::Conv2d { bias: true, .. } | Op::Dense { bias: true, .. });
        let bias = if has_bias { values(&node.name, "bias")? } else { vec![0.0; steps.len()] };
        let mut affine = ChannelAffine::bias(&bias);
        if let Some(norm) = unit.batch_norm {
            let norm = self.graph.node(norm);
            let Op::BatchNorm { epsilon } = norm.op else { return Err(self.refuse(unit.head, "it has no batch norm")) };
            affine = affine.then_batch_norm(&BatchNorm {
                gamma: &values(&norm.name, "gamma")?,
                beta: &values(&norm.name, "beta")?,
                mean: &values(&norm.name, "mean")?,
                variance: &values(&norm.name, "variance")?,
                epsilon,
            });
        }
        let codes = match node.op {
            Op::Conv2d { kernel, groups, .. } => {
                channels_last(&quantized.codes, input.channels / groups, kernel.0, kernel.1)
            }
            _ => channels_last(&quantized.codes, input.channels, input.height, input.width),
        };
        FoldedWeights::new(&node.name, codes, quantized.z, &quantized.scales, &affine)
    }

    fn lower_average(&mut self, unit: &Unit, inputs: Vec<usize>) -> Result<(), PackError> {
        let node = self.graph.node(unit.head);
        let input = &self.values[inputs[0]];
        let (size, stride) = match node.op {
            Op::AvgPool { size, stride } => (size, stride),
            _ => ((input.shape.height, input.shape.width), (1, 1)),
        };
        let grid = self.grid(unit)?;
        let scale = f64::from(input.grid.scale) / f64::from(grid.scale) / (size.0 * size.1) as f64;
        let fixed = Requantize::from_scale(scale).ok_or_else(|| PackError::Scale {
            layer: node.name.clone(),
            channel: 0,
            scale,
        })?;
        let (size, stride) = (self.small(unit.head, size)?, self.small(unit.head, stride)?);
        let action = Action::Pool { kind: PoolKind::Average(fixed), size, stride };
        self.push(&node.name, inputs, unit.output, grid, action, unit.relu);
        Ok(())
    }

    fn lower_sum(&mut self, unit: &Unit, inputs: Vec<usize>) -> Result<(), PackError> {
        let node = self.graph.node(unit.head);
        let grid = self.grid(unit)?;
        let scales: Vec<f64> =
            inputs.iter().map(|&input| f64::from(self.values[input].grid.scale) / f64::from(grid.scale)).collect();
        let largest = scales.iter().fold(0.0, |a: f64, &b| a.max(b));
        let fixed = Requantize::from_scale(largest).ok_or_else(|| PackError::Scale {
            layer: node.name.clone(),
            channel: 0,
            scale: largest,
        })?;
        let multiplier = |scale: f64| (scale * (1u64 << fixed.shift) as f64).round().min(f64::from(i32::MAX)) as i32;
        let multipliers = [multiplier(scales[0]), multiplier(scales[1])];
        let action = Action::Add { multipliers, shift: fixed.shift };
        self.push(&node.name, inputs, unit.output, grid, action, unit.relu);
        Ok(())
    }
}
