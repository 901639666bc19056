//! How long a training step takes, beside the same step on candle's own operations.
//!
//! Both run in turn in one process, so that whatever else the machine does hits them alike. Images and labels are random:
//! no step's time depends on what they show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_shared::Bitwidth;
use serde::Serialize;

use super::{memory, peak};
use crate::data::{ImageSource, Location, load_from};
use crate::network::{Graph, zoo};
use crate::search::{AccuracyOracle, Assignment, OracleError};
use crate::train::ops;
use crate::train::ops::profile::{self, Direction, Span};
use crate::train::{FineTuneOracle, FitConfig, Model, Quantization, Stepper, TrainError};

/// The networks that are measured unless one is named.
pub const NETWORKS: [&str; 4] = ["lenet", "simplenet", "svhn8", "resnet20"];

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct TrainBenchConfig {
    /// Images of a step.
    pub batch: usize,
    /// Bits of all weights in the quantised steps.
    pub bits: Bitwidth,
    /// How long to measure each network, about.
    pub budget: Duration,
}

/// One kind of step.
#[derive(Clone, Debug, Serialize)]
pub struct StepFigures {
    /// Median seconds of a step.
    pub seconds: f64,
    /// Fastest step.
    pub fastest_seconds: f64,
    /// Steps measured.
    pub steps: usize,
    /// Images a second, by the median.
    pub images_per_second: f64,
    /// Floating-point operations of convolutions and dense layers a second, by the median.
    pub gflops: f64,
    /// That, relative to the machine's matrix multiplication.
    pub share_of_peak: f64,
}

/// Where a quantised step spends its time.
#[derive(Clone, Debug, Serialize)]
pub struct OperationShare {
    /// The operation; `bookkeeping` is what no operation accounts for.
    pub operation: String,
    /// Share of the step.
    pub share: f64,
}

/// One layer's matrix multiplications, with all that its operation does around them.
#[derive(Clone, Debug, Serialize)]
pub struct LayerFigures {
    /// Kernel, channels and input.
    pub layer: String,
    /// Layers of these sizes.
    pub count: usize,
    /// Seconds of one step that the forward passes of all of them take.
    pub forward_seconds: f64,
    /// The same of the backward passes.
    pub backward_seconds: f64,
    /// Floating-point operations a second of both.
    pub gflops: f64,
    /// That, relative to the machine's matrix multiplication.
    pub share_of_peak: f64,
}

/// What a network's steps take.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkFigures {
    /// The network.
    pub network: String,
    /// Float training with candle's own operations.
    pub stock: StepFigures,
    /// Float training with this project's.
    pub float: StepFigures,
    /// Training with weights and activations fake-quantised.
    pub quantized: StepFigures,
    /// Stock seconds over quantised seconds.
    pub speedup_over_stock: f64,
    /// Stock seconds over float seconds.
    pub float_speedup_over_stock: f64,
    /// Share of the quantised step that rounding takes, measured as the difference to the float step.
    pub fake_quantization_share: f64,
    /// Where the quantised step spends its time.
    pub operations: Vec<OperationShare>,
    /// Layer by layer.
    pub layers: Vec<LayerFigures>,
    /// The most memory the process held when this network was done.
    pub peak_memory_bytes: Option<u64>,
}

/// A model with what a step needs.
struct Subject {
    model: Model,
    quantization: Option<Quantization>,
    stepper: Stepper,
}

impl Subject {
    fn new(graph: &Arc<Graph>, bits: Option<Bitwidth>, images: &Tensor) -> Result<Self, TrainError> {
        let model = Model::new(graph.clone(), 1, &Device::Cpu)?;
        let quantization = match bits {
            Some(bits) => {
                let all = vec![Some(bits); graph.weight_layers().len()];
                let mut quantization = Quantization::of_weights(&model, &all)?;
                quantization.calibrate(&model, images)?;
                Some(quantization)
            }
            None => None,
        };
        let stepper = Stepper::new(&model, quantization.as_ref(), &FitConfig { lr: 1e-4, ..FitConfig::default() })?;
        Ok(Self { model, quantization, stepper })
    }

    /// One step, and its seconds.
    fn step(&mut self, images: &Tensor, labels: &Tensor) -> Result<f64, TrainError> {
        let started = Instant::now();
        self.stepper.step(&self.model, self.quantization.as_ref(), images, labels)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

/// Measures one network.
///
/// # Errors
/// What training reports.
pub fn network(
    graph: Graph,
    config: TrainBenchConfig,
    peak_flops: f64,
    mut progress: impl FnMut(f64),
) -> Result<NetworkFigures, TrainError> {
    let graph = Arc::new(graph);
    let (images, labels) = random_batch(&graph, config.batch)?;
    let mut float = Subject::new(&graph, None, &images)?;
    let mut quantized = Subject::new(&graph, Some(config.bits), &images)?;
    let mut stock = ops::stock_only(|| Subject::new(&graph, None, &images))?;
    // Buffers grow and threads start in steps that do not count.
    float.step(&images, &labels)?;
    quantized.step(&images, &labels)?;
    let (mut stock_seconds, mut float_seconds, mut quantized_seconds) = (Vec::new(), Vec::new(), Vec::new());
    let started = Instant::now();
    while stock_seconds.len() < 3 || started.elapsed() < config.budget {
        stock_seconds.push(ops::stock_only(|| stock.step(&images, &labels))?);
        let round = Instant::now();
        // As long for ours as for theirs, so that both meet the same disturbances.
        while float_seconds.len() < 3 || round.elapsed().as_secs_f64() < stock_seconds[stock_seconds.len() - 1] {
            float_seconds.push(float.step(&images, &labels)?);
            quantized_seconds.push(quantized.step(&images, &labels)?);
        }
        progress((started.elapsed().as_secs_f64() / config.budget.as_secs_f64()).min(1.0));
    }
    let (mut spans, mut recorded_seconds) = (Vec::new(), 0.0);
    for _ in 0..RECORDED {
        let (seconds, found) = profile::record(|| quantized.step(&images, &labels));
        recorded_seconds += seconds?;
        spans.extend(found);
    }
    let flops = spans.iter().map(|span| span.flops).sum::<u64>() as f64 / f64::from(RECORDED);
    let figures = |seconds: &mut Vec<f64>| step_figures(seconds, config.batch, flops, peak_flops);
    let (stock, float, quantized) =
        (figures(&mut stock_seconds), figures(&mut float_seconds), figures(&mut quantized_seconds));
    Ok(NetworkFigures {
        network: graph.name.clone(),
        speedup_over_stock: stock.seconds / quantized.seconds,
        float_speedup_over_stock: stock.seconds / float.seconds,
        fake_quantization_share: ((quantized.seconds - float.seconds) / quantized.seconds).max(0.0),
        operations: shares(&spans, recorded_seconds),
        layers: layers(&spans, peak_flops),
        peak_memory_bytes: memory::peak(),
        stock,
        float,
        quantized,
    })
}

/// Steps that are recorded operation by operation.
const RECORDED: u32 = 5;

/// What the process holds while it trains.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryFigures {
    /// Steps taken.
    pub steps: usize,
    /// Bytes in main memory after a tenth of them.
    pub early_bytes: u64,
    /// Bytes in main memory after all.
    pub late_bytes: u64,
}

/// Runs `steps` quantised steps of LeNet with small batches and watches the memory, if the system tells.
///
/// # Errors
/// What training reports.
pub fn memory_over_steps(steps: usize) -> Result<Option<MemoryFigures>, OracleError> {
    let graph = Arc::new(zoo::by_name("lenet")?);
    let (images, labels) = random_batch(&graph, 16)?;
    let mut subject = Subject::new(&graph, Some(Bitwidth::MIN), &images)?;
    let mut early = None;
    for step in 0..steps {
        subject.step(&images, &labels)?;
        if step == steps / 10 {
            early = memory::resident();
        }
    }
    let late = memory::resident();
    Ok(early.zip(late).map(|(early_bytes, late_bytes)| MemoryFigures { steps, early_bytes, late_bytes }))
}

/// Two workers against one, on one thread each: what a search gains by evaluating candidates side by side.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WorkerFigures {
    /// Candidates evaluated.
    pub candidates: usize,
    /// Seconds of one worker.
    pub one_seconds: f64,
    /// Seconds of two workers.
    pub two_seconds: f64,
    /// The first over the second.
    pub speedup: f64,
}

/// Evaluates four candidates of LeNet on the embedded digits by one worker and by two, twice each, in turn; the faster
/// time of each counts.
///
/// # Errors
/// What training reports.
pub fn workers() -> Result<WorkerFigures, OracleError> {
    let data = load_from("mnist", &Location::Embedded, 1)?;
    let model = Model::new(Arc::new(zoo::by_name("lenet")?), 1, &Device::Cpu)?;
    let asked: Vec<Assignment> =
        ["1,1,1,1", "2,2,2,2", "1,2,2,1", "2,1,1,2"].iter().map(|bits| bits.parse()).collect::<Result<_, _>>()?;
    let config = FitConfig { steps: Some(25), ..FitConfig::default() };
    let evaluate = |threads: usize| -> Result<f64, OracleError> {
        let (training, validation) =
            (ImageSource::new(data.train.clone(), data.grid), ImageSource::new(data.validation.clone(), data.grid));
        let devices = Device::Cpu.into();
        let mut oracle = FineTuneOracle::new(&model, training, validation, config.clone(), 1, &devices, threads)?;
        let started = Instant::now();
        oracle.evaluate(&asked)?;
        Ok(started.elapsed().as_secs_f64())
    };
    let (mut one, mut two) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..2 {
        (one, two) = (one.min(evaluate(1)?), two.min(evaluate(2)?));
    }
    Ok(WorkerFigures { candidates: asked.len(), one_seconds: one, two_seconds: two, speedup: one / two })
}

/// The machine's matrix multiplication on so many threads, in floating-point operations a second.
#[must_use]
pub fn peak_flops(threads: usize) -> f64 {
    peak::multiplication(threads)
}

fn random_batch(graph: &Graph, batch: usize) -> Result<(Tensor, Tensor), TrainError> {
    let (shape, mut rng) = (graph.input(), ChaCha8Rng::seed_from_u64(1));
    let pixels: Vec<f32> = (0..batch * shape.elements()).map(|_| rng.random_range(0.0..1.0)).collect();
    let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..graph.classes() as u32)).collect();
    let images = Tensor::from_vec(pixels, (batch, shape.channels, shape.height, shape.width), &Device::Cpu)?;
    Ok((images, Tensor::from_vec(labels, batch, &Device::Cpu)?))
}

fn step_figures(seconds: &mut [f64], batch: usize, flops: f64, peak_flops: f64) -> StepFigures {
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    StepFigures {
        seconds: median,
        fastest_seconds: seconds[0],
        steps: seconds.len(),
        images_per_second: batch as f64 / median,
        gflops: flops / median / 1e9,
        share_of_peak: flops / median / peak_flops,
    }
}

fn shares(spans: &[Span], total: f64) -> Vec<OperationShare> {
    let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
    for span in spans {
        let way = if span.direction == Direction::Forward { "forward" } else { "backward" };
        *seconds.entry(format!("{} {way}", span.operation)).or_default() += span.seconds;
    }
    seconds.insert("bookkeeping".to_owned(), total - seconds.values().sum::<f64>());
    let mut shares: Vec<OperationShare> =
        seconds.into_iter().map(|(operation, seconds)| OperationShare { operation, share: seconds / total }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

/// Spans with floating-point operations, by what they worked on, in the order of the forward pass.
fn layers(spans: &[Span], peak_flops: f64) -> Vec<LayerFigures> {
    let mut order: Vec<(&str, &str)> = Vec::new();
    for span in spans.iter().filter(|span| span.flops > 0) {
        if !order.contains(&(span.operation, &span.subject)) {
            order.push((span.operation, &span.subject));
        }
    }
    let figures = order.into_iter().map(|(operation, subject)| {
        let of = |direction| {
            spans.iter().filter(move |span| {
                span.operation == operation && span.subject == subject && span.direction == direction
            })
        };
        let seconds = |direction| of(direction).map(|span| span.seconds).sum::<f64>() / f64::from(RECORDED);
        let (forward, backward) = (seconds(Direction::Forward), seconds(Direction::Backward));
        let both = of(Direction::Forward).chain(of(Direction::Backward));
        let flops = both.map(|span| span.flops as f64).sum::<f64>() / f64::from(RECORDED);
        LayerFigures {
            layer: format!("{operation} {subject}"),
            count: of(Direction::Forward).count() / RECORDED as usize,
            forward_seconds: forward,
            backward_seconds: backward,
            gflops: flops / (forward + backward) / 1e9,
            share_of_peak: flops / (forward + backward) / peak_flops,
        }
    });
    figures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thousand_steps_hold_no_more_memory_than_a_hundred() {
        let figures = memory_over_steps(1000).unwrap().unwrap();
        // Other tests of this process may run at the same time; a leak of one gradient a step would be 1.5 GB.
        assert!(figures.late_bytes < figures.early_bytes + (256 << 20), "{figures:?}");
    }

    #[test]
    fn a_bench_accounts_for_the_whole_step() {
        let config = TrainBenchConfig { batch: 8, bits: Bitwidth::MIN, budget: Duration::from_millis(10) };
        let figures = network(zoo::by_name("resnet8").unwrap(), config, 1e11, |_| ()).unwrap();
        let shares: f64 = figures.operations.iter().map(|share| share.share).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{figures:?}");
        assert_eq!(figures.layers.iter().map(|layer| layer.count).sum::<usize>(), 10, "{:?}", figures.layers);
        assert!(figures.stock.steps >= 3 && figures.speedup_over_stock > 0.0);
        let macs: usize = zoo::by_name("resnet8").unwrap().weight_layers().iter().map(|layer| layer.macs).sum();
        // Two passes back for one forward, but for the first layer, whose input has no gradient.
        let flops = figures.quantized.gflops * 1e9 * figures.quantized.seconds;
        let bound = 8.0 * 2.0 * 3.0 * macs as f64;
        assert!(flops < bound && flops > 0.9 * bound, "{flops} of {bound}");
    }
}
