//! The oracle that answers a search by training: a short fine-tune from the float checkpoint, then validation.
//!
//! Candidates are fine-tuned side by side, each on a pool of threads of its own. A candidate's randomness follows from
//! the run's seed and its own bits, and the operations give the same bits on any number of threads, so the answers do
//! not depend on how many are asked for at once.

use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::model::{Model, Quantization};
use super::{FitConfig, TrainError, TrainingData, evaluate, fit};
use crate::data::{Images, PixelGrid};
use crate::search::{AccuracyOracle, Assignment, Evaluation, LayerFacts, OracleError};

/// What the search asks.
#[derive(Debug)]
pub struct FineTuneOracle<'a> {
    float: &'a Model,
    training: TrainingData,
    validation: &'a Images,
    config: FitConfig,
    seed: u64,
    float_accuracy: f64,
    pools: Vec<ThreadPool>,
}

/// Workers for so many candidates on so many threads: as many as both allow, since one thread each wastes least.
fn workers(candidates: usize, threads: usize) -> usize {
    candidates.min(threads).max(1)
}

impl<'a> FineTuneOracle<'a> {
    /// An oracle for a float network. `threads` are shared by candidates that are fine-tuned side by side.
    ///
    /// # Errors
    /// If the float network cannot be evaluated, or threads cannot be started.
    pub fn new(
        float: &'a Model,
        training: TrainingData,
        validation: &'a Images,
        config: FitConfig,
        seed: u64,
        threads: usize,
    ) -> Result<Self, OracleError> {
        let float_accuracy = evaluate(float, None, validation, training.grid)?.share();
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools = (0..threads.max(1)).map(pool).collect::<Result<_, _>>()?;
        Ok(Self { float, training, validation, config, seed, float_accuracy, pools })
    }

    fn evaluate_one(&self, assignment: &Assignment) -> Result<Evaluation, TrainError> {
        let started = Instant::now();
        let model = self.float.duplicate()?;
        let bits: Vec<_> = assignment.0.iter().copied().map(Some).collect();
        let mut quantization = Quantization::of_weights(&model, &bits)?;
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, assignment).hash(&mut hasher);
        let mut go_on =
            |_| if crate::interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let tuned = fit(&model, Some(&mut quantization), &self.training, &self.config, hasher.finish(), &mut go_on);
        let seconds = || started.elapsed().as_secs_f64();
        match tuned {
            Ok(()) => {
                let grid: PixelGrid = self.training.grid;
                let accuracy = evaluate(&model, Some(&quantization), self.validation, grid)?.share();
                Ok(Evaluation { accuracy, diverged: false, seconds: seconds() })
            }
            Err(TrainError::Diverged { .. }) => Ok(Evaluation { accuracy: 0.0, diverged: true, seconds: seconds() }),
            Err(error) => Err(error),
        }
    }
}

impl AccuracyOracle for FineTuneOracle<'_> {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        if let [only] = assignments {
            // Alone it may have all threads.
            return Ok(vec![self.evaluate_one(only)?]);
        }
        let workers = workers(assignments.len(), self.pools.len());
        let mut answers: Vec<Option<Result<Evaluation, TrainError>>> = Vec::new();
        answers.resize_with(assignments.len(), || None);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let slots = std::sync::Mutex::new(&mut answers);
        let this = &*self;
        std::thread::scope(|scope| {
            for pool in &this.pools[..workers] {
                scope.spawn(|| {
                    pool.install(|| {
                        while let Some(assignment) =
                            assignments.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                        {
                            let answer = this.evaluate_one(assignment);
                            let place = assignments.iter().position(|other| std::ptr::eq(other, assignment));
                            if let (Ok(mut slots), Some(place)) = (slots.lock(), place) {
                                slots[place] = Some(answer);
                            }
                        }
                    });
                });
            }
        });
        let missing = || TrainError::Candle(candle_core::Error::Msg("a worker ended without an answer".to_owned()));
        let answers: Result<Vec<_>, TrainError> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect();
        Ok(answers?)
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
        Ok(LayerFacts {
            name: layer.name,
            out_channels: layer.out_channels,
            in_channels: layer.in_channels,
            kernel: layer.kernel.0,
            weights: layer.weights as u64,
            macs: layer.macs as u64,
            weight_std: variance.sqrt(),
        })
    });
    facts.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Device;

    use super::*;
    use crate::data::{Location, load_from};
    use crate::network::zoo;

    #[test]
    fn answers_do_not_depend_on_the_number_of_workers_or_on_the_company() {
        let data = load_from("mnist", &Location::Embedded, 1).unwrap();
        let training = TrainingData { images: Arc::new(data.train.first(500)), grid: data.grid };
        let model = Model::new(Arc::new(zoo::by_name("lenet").unwrap()), 1, &Device::Cpu).unwrap();
        let config = FitConfig { steps: Some(2), batch: 32, ..FitConfig::default() };
        let oracle = |threads| {
            FineTuneOracle::new(&model, training.clone(), &data.validation, config.clone(), 7, threads).unwrap()
        };
        let asked: Vec<Assignment> = ["1,2,3,4", "1,1,1,1", "5,4,3,2"].map(|bits| bits.parse().unwrap()).to_vec();
        let accuracies = |answers: Vec<Evaluation>| answers.iter().map(|a| a.accuracy).collect::<Vec<_>>();
        let together = accuracies(oracle(2).evaluate(&asked).unwrap());
        assert_eq!(together, accuracies(oracle(1).evaluate(&asked).unwrap()));
        let alone = accuracies(oracle(2).evaluate(&asked[1..2]).unwrap());
        assert_eq!(alone[0], together[1]);
    }
}
