//! The oracle that answers a search by training: a short fine-tune from the float checkpoint, then validation.
//!
//! Candidates are fine-tuned side by side: on the CPU each on a pool of threads of its own, on GPUs one on each. A
//! candidate's randomness follows from the run's seed and its own bits, and the operations give the same bits on any number
//! of threads, so the answers do not depend on how many are asked for at once.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::model::Model;
use super::quantization::Quantization;
use super::{FitConfig, TrainError, evaluate, fit};
use crate::compute::{self, Devices};
use crate::data::ImageSource;
use crate::network::{Graph, Op, WeightLayer};
use crate::pack::costs::LayerKind;
use crate::quantize::Quantizer;
use crate::search::{AccuracyOracle, Assignment, Evaluation, LayerFacts, OracleError};

/// What the search asks.
#[derive(Debug)]
pub struct FineTuneOracle {
    /// The float network on each device.
    sites: Vec<Model>,
    /// On each device who teaches fine-tunes that distil, if not the float network.
    teachers: Vec<Model>,
    training: ImageSource,
    validation: ImageSource,
    config: FitConfig,
    quantizer: Quantizer,
    seed: u64,
    float_accuracy: f64,
    threads: usize,
    /// Pools of so many threads, started when they are first needed.
    pools: Mutex<BTreeMap<usize, Vec<Arc<ThreadPool>>>>,
}

/// One who fine-tunes a candidate after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Worker {
    /// Its device.
    site: usize,
    /// Its threads.
    threads: usize,
}

/// Candidates that are worked on at the same time, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    candidates: Range<usize>,
    workers: Vec<Worker>,
}

/// Who works on what. On one device with threads to share, each worker gets one thread as long as there is a candidate
/// for each, since a step on one thread wastes nothing; the candidates left over share the threads evenly. Several
/// devices get one worker each.
fn rounds(candidates: usize, sites: usize, threads: usize) -> Vec<Round> {
    let threads = threads.max(1);
    if sites > 1 {
        let workers =
            (0..sites.min(candidates)).map(|site| Worker { site, threads: (threads / sites).max(1) }).collect();
        return vec![Round { candidates: 0..candidates, workers }];
    }
    let whole = candidates - candidates % threads;
    let mut rounds = Vec::new();
    if whole > 0 {
        rounds.push(Round { candidates: 0..whole, workers: vec![Worker { site: 0, threads: 1 }; threads] });
    }
    let left = candidates - whole;
    if left > 0 {
        let share = |worker| Worker { site: 0, threads: threads / left + usize::from(worker < threads % left) };
        rounds.push(Round { candidates: whole..candidates, workers: (0..left).map(share).collect() });
    }
    rounds
}

impl FineTuneOracle {
    /// An oracle for a float network, with one worker on each device or, if there is only the CPU, as many as use
    /// `threads` best.
    ///
    /// # Errors
    /// If the float network cannot be evaluated, or does not fit a device.
    pub fn new(
        float: &Model,
        training: ImageSource,
        validation: ImageSource,
        config: FitConfig,
        seed: u64,
        devices: &Devices,
        threads: usize,
    ) -> Result<Self, OracleError> {
        let float_accuracy = evaluate(float, None, &validation)?.share();
        let sites = devices.iter().map(|device| float.to_device(device)).collect::<Result<_, _>>()?;
        let quantizer = Quantizer::default();
        Ok(Self {
            sites,
            teachers: Vec::new(),
            training,
            validation,
            config,
            quantizer,
            seed,
            float_accuracy,
            threads,
            pools: Mutex::default(),
        })
    }

    /// The same with another quantiser than the scaled one.
    #[must_use]
    pub fn with_quantizer(self, quantizer: Quantizer) -> Self {
        Self { quantizer, ..self }
    }

    /// The same with another teacher than the float network, for fine-tunes that distil.
    ///
    /// # Errors
    /// If the teacher does not fit a device.
    pub fn with_teacher(self, teacher: &Model, devices: &Devices) -> Result<Self, OracleError> {
        let teachers = devices.iter().map(|device| teacher.to_device(device)).collect::<Result<_, _>>()?;
        Ok(Self { teachers, ..self })
    }

    fn evaluate_one(&self, site: usize, assignment: &Assignment) -> Result<Evaluation, TrainError> {
        let started = Instant::now();
        let float = &self.sites[site];
        let model = float.duplicate()?;
        let bits: Vec<_> = assignment.0.iter().copied().map(Some).collect();
        let mut quantization = Quantization::by(self.quantizer, &model, &bits)?;
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, assignment).hash(&mut hasher);
        let mut go_on =
            |_| if crate::interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let tuned = fit(
            &model,
            Some(&mut quantization),
            Some(self.teachers.get(site).unwrap_or(float)),
            &self.training,
            &self.config,
            hasher.finish(),
            &mut go_on,
        );
        let seconds = || started.elapsed().as_secs_f64();
        match tuned {
            Ok(()) => {
                let accuracy = evaluate(&model, Some(&quantization), &self.validation)?.share();
                Ok(Evaluation { accuracy, diverged: false, seconds: seconds() })
            }
            Err(TrainError::Diverged { .. }) => Ok(Evaluation { accuracy: 0.0, diverged: true, seconds: seconds() }),
            Err(error) => Err(error),
        }
    }

    /// A pool for each worker.
    fn pools_of(&self, workers: &[Worker]) -> Result<Vec<Arc<ThreadPool>>, OracleError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        let mut pool_of = |worker: &Worker| {
            let (of_size, place) = (pools.entry(worker.threads).or_default(), taken.entry(worker.threads).or_default());
            if *place == of_size.len() {
                of_size.push(Arc::new(ThreadPoolBuilder::new().num_threads(worker.threads).build()?));
            }
            *place += 1;
            Ok(of_size[*place - 1].clone())
        };
        workers.iter().map(&mut pool_of).collect()
    }

    /// Answers for the candidates of one round, in order.
    fn work(&self, candidates: &[Assignment], workers: &[Worker]) -> Result<Vec<Evaluation>, OracleError> {
        let answers: Vec<Mutex<Option<Result<Evaluation, TrainError>>>> =
            candidates.iter().map(|_| Mutex::new(None)).collect();
        let (next, stock_only) = (AtomicUsize::new(0), compute::is_stock_only());
        let pools = self.pools_of(workers)?;
        std::thread::scope(|scope| {
            for (worker, pool) in workers.iter().zip(&pools) {
                let (next, answers) = (&next, &answers);
                let work = move || {
                    while let Some(place) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < answers.len())
                    {
                        let answer = self.evaluate_one(worker.site, &candidates[place]);
                        *answers[place].lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                    }
                };
                scope.spawn(move || pool.install(|| if stock_only { compute::stock_only(work) } else { work() }));
            }
        });
        let missing = || TrainError::Candle(candle_core::Error::Msg("a worker ended without an answer".to_owned()));
        let answers = answers.into_iter().map(|answer| {
            let answer = answer.into_inner().unwrap_or_else(PoisonError::into_inner);
            answer.unwrap_or_else(|| Err(missing()))
        });
        Ok(answers.collect::<Result<Vec<_>, TrainError>>()?)
    }
}

impl AccuracyOracle for FineTuneOracle {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        let mut answers = Vec::with_capacity(assignments.len());
        for Round { candidates, workers } in rounds(assignments.len(), self.sites.len(), self.threads) {
            answers.extend(self.work(&assignments[candidates], &workers)?);
        }
        Ok(answers)
    }

    fn float_accuracy(&self) -> f64 {
        self.float_accuracy
    }
}

/// What the search sees of a network's layers.
///
/// # Errors
/// If a weight is missing, which cannot be.
pub fn layer_facts(model: &Model) -> candle_core::Result<Vec<LayerFacts>> {
    let facts = model.graph().weight_layers().into_iter().map(|layer| {
        let weights = model.values(&format!("{}.weight", layer.name))?;
        let count = weights.len() as f64;
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / count;
        let variance = weights.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / count;
        let kind = kind_of(model.graph(), &layer);
        Ok(LayerFacts {
            name: layer.name,
            out_channels: layer.out_channels,
            in_channels: layer.in_channels,
            kernel: layer.kernel.0,
            kind,
            weights: layer.weights as u64,
            macs: layer.macs as u64,
            weight_std: variance.sqrt(),
        })
    });
    facts.collect()
}

/// What kind of kernel executes a layer.
fn kind_of(graph: &Graph, layer: &WeightLayer) -> LayerKind {
    let node = graph.node(layer.node);
    let Op::Conv2d { kernel, stride, padding, groups, .. } = node.op else { return LayerKind::Dense };
    let channels = layer.in_channels * groups;
    LayerKind::of_convolution(channels, groups > 1, kernel == (1, 1), stride != (1, 1), padding != (0, 0))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::{Location, load_from};
    use crate::network::zoo;

    #[test]
    fn threads_and_candidates_are_split_so_that_none_is_idle() {
        let threads = |rounds: &[Round]| -> Vec<Vec<usize>> {
            rounds.iter().map(|round| round.workers.iter().map(|worker| worker.threads).collect()).collect()
        };
        assert_eq!(threads(&rounds(4, 1, 2)), [vec![1, 1]], "two workers take two candidates each");
        assert_eq!(threads(&rounds(3, 1, 2)), [vec![1, 1], vec![2]], "the last one has both threads");
        assert_eq!(threads(&rounds(1, 1, 2)), [vec![2]]);
        assert_eq!(threads(&rounds(4, 1, 16)), [vec![4, 4, 4, 4]]);
        assert_eq!(threads(&rounds(3, 1, 8)), [vec![3, 3, 2]]);
        let on_gpus = rounds(5, 2, 8);
        assert_eq!(on_gpus.len(), 1);
        assert_eq!(on_gpus[0].workers.iter().map(|worker| worker.site).collect::<Vec<_>>(), [0, 1]);
        for (candidates, sites, threads) in [(7, 1, 3), (1, 3, 1), (9, 2, 4), (5, 1, 1)] {
            let covered: Vec<usize> =
                rounds(candidates, sites, threads).into_iter().flat_map(|round| round.candidates).collect();
            assert_eq!(covered, (0..candidates).collect::<Vec<_>>());
        }
    }

    fn accuracies(devices: &str, threads: usize, asked: &[&str]) -> Vec<f64> {
        let data = load_from("mnist", &Location::Embedded, 1).unwrap();
        let training = ImageSource::new(data.train.first(500), data.grid);
        let validation = ImageSource::new(data.validation.first(200), data.grid);
        let model = Model::new(Arc::new(zoo::by_name("lenet").unwrap()), 1, &Device::Cpu).unwrap();
        let config = FitConfig { steps: Some(2), batch: 32, ..FitConfig::default() };
        let devices = Devices::parse(devices).unwrap();
        let mut oracle = FineTuneOracle::new(&model, training, validation, config, 7, &devices, threads).unwrap();
        let asked: Vec<Assignment> = asked.iter().map(|bits| bits.parse().unwrap()).collect();
        oracle.evaluate(&asked).unwrap().iter().map(|answer| answer.accuracy).collect()
    }

    #[test]
    fn answers_do_not_depend_on_the_number_of_workers_or_on_the_company() {
        let asked = ["1,2,3,4", "1,1,1,1", "5,4,3,2"];
        let together = accuracies("cpu", 2, &asked);
        assert_eq!(together, accuracies("cpu", 1, &asked));
        assert_eq!(together, accuracies("cpu,cpu", 2, &asked), "a worker a device");
        assert_eq!(accuracies("cpu", 2, &asked[1..2])[0], together[1]);
    }

    /// What runs on several GPUs, here with candle's operations on the CPU: images that stay on the device included.
    #[test]
    fn devices_with_candles_operations_share_a_search() {
        let asked = ["2,2,2,2", "1,1,1,1", "3,1,1,3"];
        let (both, one) = compute::stock_only(|| (accuracies("cpu,cpu", 2, &asked), accuracies("cpu", 1, &asked)));
        assert_eq!(both, one);
        let own = accuracies("cpu", 2, &asked);
        assert!(both.iter().zip(own).all(|(stock, own)| (stock - own).abs() < 0.25), "{both:?}");
    }
}
