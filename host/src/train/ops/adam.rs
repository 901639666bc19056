//! Adam with decoupled weight decay (arXiv 1412.6980, 1711.05101), one pass over each parameter.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::Gradients;
use super::profile::{Direction, plain, span};
use super::slices::{self, PIECE};

/// Adam's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Learning rate; [`Adam::set_lr`] changes it.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// How one parameter differs from the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamGroup {
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for ParamGroup {
    fn default() -> Self {
        Self { lr_scale: 1.0, weight_decay: 0.0 }
    }
}

/// The optimiser: parameters, their moments and the number of steps taken.
#[derive(Debug)]
pub struct Adam {
    parameters: Vec<Parameter>,
    config: AdamConfig,
    steps: i32,
}

#[derive(Debug)]
struct Parameter {
    var: Var,
    group: ParamGroup,
    first: Tensor,
    second: Tensor,
}

impl Adam {
    /// An optimiser of these parameters.
    ///
    /// # Errors
    /// What candle reports.
    pub fn new(vars: Vec<(Var, ParamGroup)>, config: AdamConfig) -> Result<Self> {
        let parameter = |(var, group): (Var, ParamGroup)| {
            let zeros = || Tensor::zeros(var.shape(), var.dtype(), var.device());
            Ok(Parameter { first: zeros()?, second: zeros()?, var, group })
        };
        Ok(Self { parameters: vars.into_iter().map(parameter).collect::<Result<_>>()?, config, steps: 0 })
    }

    /// Sets the learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// What candle reports.
    pub fn step(&mut self, grads: &Gradients) -> Result<()> {
        self.steps += 1;
        let AdamConfig { lr, beta1, beta2, epsilon } = self.config;
        let (correction1, correction2) = (1.0 - beta1.powi(self.steps), 1.0 - beta2.powi(self.steps));
        for parameter in &mut self.parameters {
            let Some(grad) = grads.get(&parameter.var) else { continue };
            let lr = lr * parameter.group.lr_scale;
            let update = Update {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                rate: (lr / correction1) as f32,
                inverse_root_correction2: (1.0 / correction2.sqrt()) as f32,
                epsilon: epsilon as f32,
                keep: (1.0 - lr * parameter.group.weight_decay) as f32,
            };
            if crate::compute::is_own(parameter.var.device()) {
                span("adam", Direction::Forward, plain, || update.on_cpu(parameter, grad))?;
            } else {
                update.on_backend(parameter, grad)?;
            }
        }
        Ok(())
    }

    /// The number of steps and each parameter's two moments, for a checkpoint.
    #[must_use]
    pub fn state(&self) -> (i32, Vec<(Tensor, Tensor)>) {
        (
            self.steps,
            self.parameters.iter().map(|parameter| (parameter.first.clone(), parameter.second.clone())).collect(),
        )
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// If it is not one of these parameters' shapes.
    pub fn restore(&mut self, steps: i32, moments: &[(Tensor, Tensor)]) -> Result<()> {
        if moments.len() != self.parameters.len() {
            bail!("moments of {} parameters for {}", moments.len(), self.parameters.len());
        }
        for (parameter, (first, second)) in self.parameters.iter_mut().zip(moments) {
            if first.shape() != parameter.var.shape() || second.shape() != parameter.var.shape() {
                bail!("moments of shape {:?} for a parameter of {:?}", first.shape(), parameter.var.shape());
            }
            (parameter.first, parameter.second) = (first.copy()?, second.copy()?);
        }
        self.steps = steps;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Update {
    beta1: f32,
    beta2: f32,
    rate: f32,
    inverse_root_correction2: f32,
    epsilon: f32,
    keep: f32,
}

/// Writes into a tensor's storage what a closure makes of its elements.
struct InPlace<F>(F);

impl<F: Fn(&mut [f32]) + Send + Sync> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("parameters are contiguous") };
        match storage {
            CpuStorage::F32(data) => (self.0)(&mut data[start..end]),
            _ => bail!("parameters are f32"),
        }
        Ok(())
    }
}

impl Update {
    fn on_cpu(self, parameter: &Parameter, grad: &Tensor) -> Result<()> {
        slices::with(grad, |grad| {
            let mean = |moment: &mut [f32]| {
                moment.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).for_each(|(moment, grad)| {
                    for (moment, &grad) in moment.iter_mut().zip(grad) {
                        *moment = self.beta1 * *moment + (1.0 - self.beta1) * grad;
                    }
                });
            };
            parameter.first.inplace_op1(&InPlace(mean))?;
            let square = |moment: &mut [f32]| {
                moment.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).for_each(|(moment, grad)| {
                    for (moment, &grad) in moment.iter_mut().zip(grad) {
                        *moment = self.beta2 * *moment + (1.0 - self.beta2) * grad * grad;
                    }
                });
            };
            parameter.second.inplace_op1(&InPlace(square))
        })?;
        slices::with(&parameter.first, |first| {
            slices::with(&parameter.second, |second| {
                let write = |values: &mut [f32]| {
                    let moments = first.par_chunks(PIECE).zip(second.par_chunks(PIECE));
                    values.par_chunks_mut(PIECE).zip(moments).for_each(|(values, (first, second))| {
                        for ((value, &first), &second) in values.iter_mut().zip(first).zip(second) {
                            let deviation = second.sqrt() * self.inverse_root_correction2 + self.epsilon;
                            *value = *value * self.keep - self.rate * first / deviation;
                        }
                    });
                };
                parameter.var.inplace_op1(&InPlace(write))
            })
        })
    }

    fn on_backend(self, parameter: &mut Parameter, grad: &Tensor) -> Result<()> {
        let (beta1, beta2) = (f64::from(self.beta1), f64::from(self.beta2));
        let grad = grad.detach();
        parameter.first = ((&parameter.first * beta1)? + (&grad * (1.0 - beta1))?)?;
        parameter.second = ((&parameter.second * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
        let root = (parameter.second.sqrt()? * f64::from(self.inverse_root_correction2))?;
        let step = (&parameter.first * f64::from(self.rate))?.div(&(root + f64::from(self.epsilon))?)?;
        let value = (parameter.var.as_tensor().detach() * f64::from(self.keep))?.sub(&step)?;
        parameter.var.set(&value)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn run(backend: bool) -> Vec<f32> {
        let var = Var::from_slice(&[1.0f32, -2.0, 3.0], 3, &Device::Cpu).unwrap();
        let group = ParamGroup { lr_scale: 2.0, weight_decay: 0.1 };
        let mut adam = Adam::new(vec![(var.clone(), group)], AdamConfig { lr: 0.01, ..AdamConfig::default() }).unwrap();
        for _ in 0..20 {
            let grads = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            if backend {
                adam.steps += 1;
                let update = Update {
                    beta1: 0.9,
                    beta2: 0.999,
                    rate: (0.02 / (1.0 - 0.9f64.powi(adam.steps))) as f32,
                    inverse_root_correction2: (1.0 / (1.0 - 0.999f64.powi(adam.steps)).sqrt()) as f32,
                    epsilon: 1e-8,
                    keep: 0.998,
                };
                let grad = grads.get(&var).unwrap().clone();
                update.on_backend(&mut adam.parameters[0], &grad).unwrap();
            } else {
                adam.step(&Gradients::Candle(grads)).unwrap();
            }
        }
        var.to_vec1().unwrap()
    }

    #[test]
    fn the_one_pass_update_equals_the_backends() {
        for (fast, stock) in run(false).into_iter().zip(run(true)) {
            assert!((fast - stock).abs() < 1e-5, "{fast} and {stock}");
        }
    }

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let var = Var::from_slice(&[5.0f32], 1, &Device::Cpu).unwrap();
        let config = AdamConfig { lr: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new(vec![(var.clone(), ParamGroup::default())], config).unwrap();
        let grads = (var.as_tensor() * 7.0).unwrap().sum_all().unwrap().backward().unwrap();
        adam.step(&Gradients::Candle(grads)).unwrap();
        assert!((var.to_vec1::<f32>().unwrap()[0] - 4.9).abs() < 1e-5);
    }
}
