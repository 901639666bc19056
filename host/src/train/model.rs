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

use super::ops::{self, Channels};
use super::quantization::Quantization;
use crate::network::{Graph, Node, NodeId, Op, Unit, UnitKind, units};
use crate::quantize::Range;

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
        self.copied(|tensor| tensor.copy())
    }

    /// A copy on a device, which trains on its own.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.copied(|tensor| tensor.to_device(device)?.copy())
    }

    fn copied(&self, copy: impl Fn(Tensor) -> Result<Tensor>) -> Result<Self> {
        let copy = |map: &BTreeMap<String, Var>| -> Result<BTreeMap<String, Var>> {
            map.iter()
                .map(|(name, var)| Ok((name.clone(), Var::from_tensor(&copy(var.as_tensor().detach())?)?)))
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

    /// Whether all parameters and statistics are numbers, none of them infinite.
    ///
    /// # Errors
    /// What candle reports.
    pub fn is_finite(&self) -> Result<bool> {
        for var in self.parameters.values().chain(self.statistics.values()) {
            if !var.as_tensor().detach().sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Ok(false);
            }
        }
        Ok(true)
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
            let pool = (unit.kind == UnitKind::Weights).then(|| self.pool_behind(unit)).flatten();
            last = pool.unwrap_or(unit.output);
            let value = self.unit(unit, pool, &inputs, &mut pass)?;
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

    /// What a unit computes, with the pooling behind it.
    fn unit(&self, unit: &Unit, pool: Option<NodeId>, inputs: &[Tensor], pass: &mut Pass<'_>) -> Result<Tensor> {
        let head = self.graph.node(unit.head);
        let Some(input) = inputs.first() else { bail!("layer {} has no input", head.name) };
        let name = &self.graph.node(unit.output).name;
        let is_logits = unit.output.0 == self.graph.nodes.len() - 1;
        let quantised = !is_logits && unit.kind.requantises();
        let grid = match pass {
            Pass::Train(Some(quantization)) | Pass::Infer(Some(quantization)) if quantised => {
                quantization.activations.get(name).map(|grid| (grid.scale, grid.zero_point))
            }
            _ => None,
        };
        let pool = pool.map(|pool| self.graph.node(pool).op);
        let window = match pool {
            Some(Op::MaxPool { size, stride }) => Some(ops::Window { size, stride }),
            _ => None,
        };
        let finish = ops::Finish { pool: window, relu: unit.relu, grid };
        let value = match head.op {
            Op::Conv2d { .. } => self.conv_unit(unit, input, finish, pass)?,
            Op::Add if inputs.len() == 2 => ops::sum_unit(&inputs[0], &inputs[1], finish)?,
            _ => {
                let mut value = self.head(head, input, pass)?;
                if let Some(norm) = unit.batch_norm {
                    value = self.batch_norm(self.graph.node(norm), &value, pass)?;
                }
                if let Some(ops::Window { size, stride }) = window {
                    value = ops::max_pool2d(&value, size, stride)?;
                }
                match finish.grid {
                    // Behind a ReLU the grid starts at zero, and rounding to it is a ReLU already.
                    Some((scale, zero_point)) => ops::fake_quantize_activations(&value, scale, zero_point)?,
                    None if unit.relu => ops::relu(&value)?,
                    None => value,
                }
            }
        };
        if let Pass::Observe(_, ranges) = pass
            && quantised
        {
            let range = Range { min: value.min_all()?.to_scalar()?, max: value.max_all()?.to_scalar()? };
            let seen = ranges.entry(name.clone()).or_insert(Range::EMPTY);
            *seen = seen.union(range);
        }
        Ok(value)
    }

    /// A convolution with the batch norm behind it.
    fn conv_unit(&self, unit: &Unit, input: &Tensor, finish: ops::Finish, pass: &Pass<'_>) -> Result<Tensor> {
        let head = self.graph.node(unit.head);
        let Op::Conv2d { stride, padding, groups, bias, .. } = head.op else {
            bail!("layer {} is no convolution", head.name)
        };
        let config = ops::Conv2dConfig { stride, padding, groups };
        let weight = self.weight(&head.name, pass)?;
        let bias = bias.then(|| self.parameter(&head.name, "bias", pass)).transpose()?;
        let Some(norm) = unit.batch_norm.map(|norm| self.graph.node(norm)) else {
            return Ok(ops::conv_unit(input, &weight, Channels::Bias(bias.as_ref()), config, finish)?.0);
        };
        if !matches!(pass, Pass::Train(_)) {
            let (gain, mut offset) = self.running_affine(norm, pass)?;
            if let Some(bias) = bias {
                offset = (offset + (&gain * bias)?)?;
            }
            let channels = Channels::Affine { gain: &gain, offset: &offset };
            return Ok(ops::conv_unit(input, &weight, channels, config, finish)?.0);
        }
        let Op::BatchNorm { epsilon } = norm.op else { bail!("layer {} is no batch norm", norm.name) };
        let (gamma, beta) = (self.parameter(&norm.name, "gamma", pass)?, self.parameter(&norm.name, "beta", pass)?);
        let channels = Channels::BatchNorm { gamma: &gamma, beta: &beta, epsilon };
        let (output, statistics) = ops::conv_unit(input, &weight, channels, config, finish)?;
        if let Some(mut batch) = statistics {
            // The norm takes a bias away again; only the running mean has seen it.
            if let Some(bias) = bias {
                batch.mean = (batch.mean + bias.detach())?;
            }
            let places = self.graph.node(unit.head).shape;
            self.track(norm, batch, input.dim(0)? * places.height * places.width)?;
        }
        Ok(output)
    }

    /// Moves a batch norm's running statistics towards those of a batch with so many values a channel.
    fn track(&self, norm: &Node, batch: ops::BatchStatistics, count: usize) -> Result<()> {
        let unbiased = (batch.variance * (count as f64 / (count as f64 - 1.0).max(1.0)))?;
        for (running, batch) in
            [(self.statistic(norm, "mean")?, batch.mean), (self.statistic(norm, "variance")?, unbiased)]
        {
            running.set(&((running.as_tensor().detach() * (1.0 - NORM_MOMENTUM))? + (batch * NORM_MOMENTUM)?)?)?;
        }
        Ok(())
    }

    fn statistic(&self, norm: &Node, kind: &str) -> Result<&Var> {
        match self.statistics.get(&format!("{}.{kind}", norm.name)) {
            Some(var) => Ok(var),
            None => bail!("layer {} has no {kind}", norm.name),
        }
    }

    /// A batch norm with its running statistics as gain and offset.
    fn running_affine(&self, norm: &Node, pass: &Pass<'_>) -> Result<(Tensor, Tensor)> {
        let Op::BatchNorm { epsilon } = norm.op else { bail!("layer {} is no batch norm", norm.name) };
        let (gamma, beta) = (self.parameter(&norm.name, "gamma", pass)?, self.parameter(&norm.name, "beta", pass)?);
        let (mean, variance) = (self.statistic(norm, "mean")?, self.statistic(norm, "variance")?);
        let gain = gamma.div(&(variance.as_tensor().detach() + epsilon)?.sqrt()?)?;
        let offset = (beta - (&gain * mean.as_tensor().detach())?)?;
        Ok((gain, offset))
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
        let step = if matches!(pass, Pass::Train(_)) { step.as_tensor().clone() } else { step.as_tensor().detach() };
        quantization.quantizer.fake_quantize(&weight, &step, bits)
    }

    /// An operation that is no convolution and no sum.
    fn head(&self, node: &Node, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        match node.op {
            Op::Dense { bias, .. } => {
                let input = if input.rank() > 2 { ops::flatten(input)? } else { input.clone() };
                let bias = bias.then(|| self.parameter(&node.name, "bias", pass)).transpose()?;
                ops::linear(&input, &self.weight(&node.name, pass)?, bias.as_ref())
            }
            Op::BatchNorm { .. } => self.batch_norm(node, input, pass),
            Op::MaxPool { size, stride } => ops::max_pool2d(input, size, stride),
            Op::AvgPool { size, stride } => ops::avg_pool2d(input, size, stride),
            Op::GlobalAvgPool => ops::global_avg_pool(input),
            Op::Flatten => ops::flatten(input),
            Op::Relu | Op::Input => Ok(input.clone()),
            Op::Conv2d { .. } | Op::Add => bail!("layer {} lacks an input", node.name),
        }
    }

    /// A batch norm that is not behind a convolution.
    fn batch_norm(&self, node: &Node, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let Op::BatchNorm { epsilon } = node.op else { bail!("layer {} is no batch norm", node.name) };
        if matches!(pass, Pass::Train(_)) {
            let (gamma, beta) = (self.parameter(&node.name, "gamma", pass)?, self.parameter(&node.name, "beta", pass)?);
            let (output, batch) = ops::batch_norm_train(input, &gamma, &beta, epsilon)?;
            self.track(node, batch, input.elem_count() / gamma.elem_count())?;
            return Ok(output);
        }
        let (gain, offset) = self.running_affine(node, pass)?;
        let shape = (1, gain.elem_count(), 1, 1);
        input.broadcast_mul(&gain.reshape(shape)?)?.broadcast_add(&offset.reshape(shape)?)
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
