//! A network with parameters: built from a graph, run forward in float or fake-quantised.
//!
//! Activations are quantised where the integer engine will requantise: at the end of each unit
//! ([`crate::network::units`]), logits excepted. A max pooling that alone reads a unit runs before the unit's ReLU and
//! quantisation, which changes nothing (both are monotone) and leaves them a quarter of the work.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_shared::Bitwidth;

use super::ops;
use crate::network::{Graph, Node, NodeId, Op, Unit, UnitKind, units};
use crate::quantize::{ActivationGrid, Range, fitted_steps, weight_grid};

/// How much of a batch's statistics a batch norm's running ones take over.
const NORM_MOMENTUM: f64 = 0.1;

/// A network with parameters.
#[derive(Debug)]
pub struct Model {
    graph: Arc<Graph>,
    units: Arc<[Unit]>,
    /// By `layer.kind`, such as `conv1.weight`.
    parameters: BTreeMap<String, Var>,
    /// Running means and variances of batch norms; no gradients.
    statistics: BTreeMap<String, Var>,
}

/// How a model's weights and activations are quantised.
#[derive(Clone, Debug)]
pub struct Quantization {
    /// Bits of each weight layer, in order; `None` stays float.
    pub bits: Vec<Option<Bitwidth>>,
    /// Steps of each quantised layer, one a channel, by layer name.
    pub steps: BTreeMap<String, Var>,
    /// Grid of each unit's output, by the name of its last node. Outputs without a grid stay float.
    pub activations: BTreeMap<String, ActivationGrid>,
}

/// How a forward pass runs.
#[derive(Debug)]
pub enum Pass<'a> {
    /// Gradients, batch statistics.
    Train(Option<&'a Quantization>),
    /// No gradients, running statistics.
    Infer(Option<&'a Quantization>),
    /// As `Infer` with quantised weights but float activations, whose ranges are collected.
    Observe(Option<&'a Quantization>, &'a mut BTreeMap<String, Range>),
}

impl Model {
    /// A new network with random weights (He normal, arXiv 1502.01852) that follow from `seed`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(graph: Arc<Graph>, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut parameters, mut statistics) = (BTreeMap::new(), BTreeMap::new());
        for node in &graph.nodes {
            for (kind, shape) in parameter_shapes(&graph, node) {
                let name = format!("{}.{kind}", node.name);
                let count: usize = shape.iter().product();
                let var = match kind {
                    "weight" => {
                        let deviation = (2.0 / (count / shape[0]) as f64).sqrt();
                        let normal: Vec<f32> = (0..count).map(|_| (normal(&mut rng) * deviation) as f32).collect();
                        Var::from_vec(normal, shape, device)?
                    }
                    "gamma" | "variance" => Var::ones(shape, DType::F32, device)?,
                    _ => Var::zeros(shape, DType::F32, device)?,
                };
                let map = if matches!(kind, "mean" | "variance") { &mut statistics } else { &mut parameters };
                map.insert(name, var);
            }
        }
        Ok(Self { units: units(&graph).into(), graph, parameters, statistics })
    }

    /// A copy that trains on its own.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = |map: &BTreeMap<String, Var>| -> Result<BTreeMap<String, Var>> {
            map.iter()
                .map(|(name, var)| Ok((name.clone(), Var::from_tensor(&var.as_tensor().detach().copy()?)?)))
                .collect()
        };
        Ok(Self {
            graph: self.graph.clone(),
            units: self.units.clone(),
            parameters: copy(&self.parameters)?,
            statistics: copy(&self.statistics)?,
        })
    }

    /// The network's graph.
    #[must_use]
    pub const fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The network's units.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// What training changes, by name.
    #[must_use]
    pub const fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// The running statistics of batch norms, by name.
    #[must_use]
    pub const fn statistics(&self) -> &BTreeMap<String, Var> {
        &self.statistics
    }

    /// A parameter or statistic as plain numbers.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        match self.parameters.get(name).or_else(|| self.statistics.get(name)) {
            Some(var) => var.as_tensor().flatten_all()?.to_vec1(),
            None => bail!("the network has no parameter {name}"),
        }
    }

    /// Runs `input` `[N, C, H, W]` through the network and returns the logits `[N, classes]`.
    ///
    /// # Errors
    /// If the input does not fit.
    pub fn forward(&self, input: &Tensor, mut pass: Pass<'_>) -> Result<Tensor> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.nodes.len()];
        values[0] = Some(input.clone());
        let mut last = NodeId(0);
        for unit in self.units.iter() {
            if values[unit.output.0].is_some() {
                continue;
            }
            let head = self.graph.node(unit.head);
            let inputs: Vec<Tensor> = head.inputs.iter().filter_map(|id| values[id.0].clone()).collect();
            let mut value = self.head(head, &inputs, &pass)?;
            if let Some(norm) = unit.batch_norm {
                value = self.batch_norm(self.graph.node(norm), &value, &pass)?;
            }
            last = unit.output;
            if unit.kind == UnitKind::Weights
                && let Some(pool) = self.pool_behind(unit)
            {
                value = self.head(self.graph.node(pool), &[value], &pass)?;
                last = pool;
            }
            let value = self.end(unit, value, &mut pass)?;
            values[last.0] = Some(value.clone());
            values[unit.output.0] = Some(value);
        }
        values[last.0].take().ok_or_else(|| candle_core::Error::Msg("the network has no layers".to_owned()))
    }

    /// The max pooling that alone reads a unit.
    fn pool_behind(&self, unit: &Unit) -> Option<NodeId> {
        let mut readers = self.graph.readers(unit.output);
        let reader = readers.next()?;
        let only = readers.next().is_none();
        (only && matches!(self.graph.node(reader).op, Op::MaxPool { .. })).then_some(reader)
    }

    /// ReLU, and quantisation of the unit's output where the pass asks for it.
    fn end(&self, unit: &Unit, value: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let is_logits = unit.output.0 == self.graph.nodes.len() - 1;
        let name = &self.graph.node(unit.output).name;
        let relu = |value: Tensor| if unit.relu { ops::relu(&value) } else { Ok(value) };
        if is_logits || !unit.kind.requantises() {
            return relu(value);
        }
        match pass {
            Pass::Train(quantization) | Pass::Infer(quantization) => {
                match quantization.and_then(|quantization| quantization.activations.get(name)) {
                    // Behind a ReLU the grid starts at zero, and rounding to it is a ReLU already.
                    Some(grid) => ops::fake_quantize_activations(&value, grid.scale, grid.zero_point),
                    None => relu(value),
                }
            }
            Pass::Observe(_, ranges) => {
                let value = relu(value)?;
                let range = Range { min: value.min_all()?.to_scalar()?, max: value.max_all()?.to_scalar()? };
                let seen = ranges.entry(name.clone()).or_insert(Range::EMPTY);
                *seen = seen.union(range);
                Ok(value)
            }
        }
    }

    fn parameter(&self, layer: &str, kind: &str, pass: &Pass<'_>) -> Result<Tensor> {
        match self.parameters.get(&format!("{layer}.{kind}")) {
            Some(var) if matches!(pass, Pass::Train(_)) => Ok(var.as_tensor().clone()),
            Some(var) => Ok(var.as_tensor().detach()),
            None => bail!("the network has no parameter {layer}.{kind}"),
        }
    }

    /// A layer's weight, rounded to its grid if it has one.
    fn weight(&self, layer: &str, pass: &Pass<'_>) -> Result<Tensor> {
        let weight = self.parameter(layer, "weight", pass)?;
        let (Pass::Train(Some(quantization)) | Pass::Infer(Some(quantization)) | Pass::Observe(Some(quantization), _)) =
            pass
        else {
            return Ok(weight);
        };
        let Some((bits, step)) = quantization.of_layer(&self.graph, layer) else { return Ok(weight) };
        let columns = weight.elem_count() / weight.dim(0)?;
        let step = if matches!(pass, Pass::Train(_)) { step.as_tensor().clone() } else { step.as_tensor().detach() };
        ops::fake_quantize_weights(&weight, &step, weight_grid(bits, columns))
    }

    fn head(&self, node: &Node, inputs: &[Tensor], pass: &Pass<'_>) -> Result<Tensor> {
        let Some(input) = inputs.first() else { bail!("layer {} has no input", node.name) };
        let bias = |wanted: bool| wanted.then(|| self.parameter(&node.name, "bias", pass)).transpose();
        match node.op {
            Op::Conv2d { stride, padding, groups, bias: wanted, .. } => {
                let config = ops::Conv2dConfig { stride, padding, groups };
                ops::conv2d(input, &self.weight(&node.name, pass)?, bias(wanted)?.as_ref(), config)
            }
            Op::Dense { bias: wanted, .. } => {
                let input = if input.rank() > 2 { input.flatten_from(1)? } else { input.clone() };
                ops::linear(&input, &self.weight(&node.name, pass)?, bias(wanted)?.as_ref())
            }
            Op::BatchNorm { .. } => self.batch_norm(node, input, pass),
            Op::MaxPool { size, stride } => ops::max_pool2d(input, size, stride),
            Op::AvgPool { size, stride } => ops::avg_pool2d(input, size, stride),
            Op::GlobalAvgPool => ops::global_avg_pool(input),
            Op::Flatten => input.flatten_from(1),
            Op::Add if inputs.len() == 2 => &inputs[0] + &inputs[1],
            Op::Add => bail!("layer {} has one input", node.name),
            Op::Relu | Op::Input => Ok(input.clone()),
        }
    }

    fn batch_norm(&self, node: &Node, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let Op::BatchNorm { epsilon } = node.op else { bail!("layer {} is no batch norm", node.name) };
        let (gamma, beta) = (self.parameter(&node.name, "gamma", pass)?, self.parameter(&node.name, "beta", pass)?);
        let statistic = |kind: &str| match self.statistics.get(&format!("{}.{kind}", node.name)) {
            Some(var) => Ok(var),
            None => bail!("layer {} has no {kind}", node.name),
        };
        let (mean, variance) = (statistic("mean")?, statistic("variance")?);
        if matches!(pass, Pass::Train(_)) {
            let (output, batch) = ops::batch_norm_train(input, &gamma, &beta, epsilon)?;
            let count = (input.elem_count() / gamma.elem_count()) as f64;
            let unbiased = (batch.variance * (count / (count - 1.0).max(1.0)))?;
            for (running, batch) in [(mean, batch.mean), (variance, unbiased)] {
                running.set(&((running.as_tensor().detach() * (1.0 - NORM_MOMENTUM))? + (batch * NORM_MOMENTUM)?)?)?;
            }
            return Ok(output);
        }
        let gain = gamma.div(&(variance.as_tensor().detach() + epsilon)?.sqrt()?)?;
        let offset = (beta - (&gain * mean.as_tensor().detach())?)?;
        let shape = (1, gain.elem_count(), 1, 1);
        input.broadcast_mul(&gain.reshape(shape)?)?.broadcast_add(&offset.reshape(shape)?)
    }
}

impl Quantization {
    /// Gives each layer its bits and fits its steps to the model's weights. Activations stay float until they are
    /// calibrated.
    ///
    /// # Errors
    /// If there is not one entry a weight layer.
    pub fn of_weights(model: &Model, bits: &[Option<Bitwidth>]) -> Result<Self> {
        let layers = model.graph.weight_layers();
        if layers.len() != bits.len() {
            bail!("{} bitwidths for the {} weight layers of {}", bits.len(), layers.len(), model.graph.name);
        }
        let mut steps = BTreeMap::new();
        for (layer, bits) in layers.iter().zip(bits) {
            if let Some(bits) = bits {
                let fitted = fitted_steps(&model.values(&format!("{}.weight", layer.name))?, layer.out_channels, *bits);
                let device = model.parameters[&format!("{}.weight", layer.name)].device().clone();
                steps.insert(layer.name.clone(), Var::from_vec(fitted, layer.out_channels, &device)?);
            }
        }
        Ok(Self { bits: bits.to_vec(), steps, activations: BTreeMap::new() })
    }

    /// Sets the activation grids to cover what the model shows on a batch.
    ///
    /// # Errors
    /// What candle reports.
    pub fn calibrate(&mut self, model: &Model, images: &Tensor) -> Result<()> {
        let mut ranges = BTreeMap::new();
        model.forward(images, Pass::Observe(Some(self), &mut ranges))?;
        self.activations = ranges.into_iter().map(|(name, range)| (name, ActivationGrid::covering(range))).collect();
        Ok(())
    }

    fn of_layer(&self, graph: &Graph, layer: &str) -> Option<(Bitwidth, &Var)> {
        let place = graph.weight_layers().iter().position(|weights| weights.name == layer)?;
        Some(((*self.bits.get(place)?)?, self.steps.get(layer)?))
    }
}

/// The parameters and statistics of a node, with their shapes.
fn parameter_shapes(graph: &Graph, node: &Node) -> Vec<(&'static str, Vec<usize>)> {
    let channels = node.shape.channels;
    let (weight, bias) = match node.op {
        Op::Conv2d { kernel, groups, bias, .. } => {
            let inputs = graph.node(node.inputs[0]).shape.channels / groups;
            (vec![channels, inputs, kernel.0, kernel.1], bias)
        }
        Op::Dense { bias, .. } => (vec![channels, graph.node(node.inputs[0]).shape.elements()], bias),
        Op::BatchNorm { .. } => {
            return ["gamma", "beta", "mean", "variance"].map(|kind| (kind, vec![channels])).to_vec();
        }
        _ => return Vec::new(),
    };
    let mut shapes = vec![("weight", weight)];
    if bias {
        shapes.push(("bias", vec![channels]));
    }
    shapes
}

/// A standard normal number (Box-Muller).
fn normal(rng: &mut impl RngExt) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
