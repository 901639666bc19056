//! The agent: an LSTM that both heads share; a policy over the bitwidths and an estimate of the reward to come.
//!
//! Sizes are the paper's: LSTM of 128, policy head 128-128-actions, value head 128-64-1. The recurrent state goes in and
//! comes out by value, so that nobody can forget to carry it.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Units of the LSTM.
const HIDDEN: usize = 128;

/// The LSTM's hidden and cell state, `[episodes, 128]` each.
#[derive(Clone, Debug)]
pub struct LstmState {
    hidden: Tensor,
    cell: Tensor,
}

/// The agent's parameters.
#[derive(Debug)]
pub struct Agent {
    recurrent: Option<Dense>,
    /// In the LSTM's place, where it is off.
    feed_forward: Option<Dense>,
    policy: [Dense; 3],
    value: [Dense; 3],
}

#[derive(Debug)]
struct Dense {
    weight: Var,
    bias: Var,
}

impl Dense {
    /// Orthogonal-ish initialisation: normal weights of deviation `gain / sqrt(inputs)`, zero biases.
    fn new(inputs: usize, outputs: usize, gain: f64, rng: &mut ChaCha8Rng) -> Result<Self> {
        let bound = gain * (3.0 / inputs as f64).sqrt();
        let weights: Vec<f32> = (0..inputs * outputs).map(|_| rng.random_range(-bound..bound) as f32).collect();
        Ok(Self {
            weight: Var::from_vec(weights, (inputs, outputs), &Device::Cpu)?,
            bias: Var::zeros(outputs, DType::F32, &Device::Cpu)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        input.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl LstmState {
    /// The state before the first layer.
    ///
    /// # Errors
    /// What candle reports.
    pub fn zero(episodes: usize) -> Result<Self> {
        let zeros = || Tensor::zeros((episodes, HIDDEN), DType::F32, &Device::Cpu);
        Ok(Self { hidden: zeros()?, cell: zeros()? })
    }

    /// The same state, cut off from what led to it.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { hidden: self.hidden.detach(), cell: self.cell.detach() }
    }
}

impl Agent {
    /// An agent for states of `features` numbers and `actions` bitwidths. Its parameters follow from `seed`.
    ///
    /// # Errors
    /// What candle reports.
    pub fn new(features: usize, actions: usize, lstm: bool, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let root2 = std::f64::consts::SQRT_2;
        let trunk = if lstm {
            Dense::new(features + HIDDEN, 4 * HIDDEN, 1.0, &mut rng)?
        } else {
            Dense::new(features, HIDDEN, root2, &mut rng)?
        };
        let (recurrent, feed_forward) = if lstm { (Some(trunk), None) } else { (None, Some(trunk)) };
        Ok(Self {
            recurrent,
            feed_forward,
            // The last layer starts small, so that the first policy is nearly uniform.
            policy: [
                Dense::new(HIDDEN, 128, root2, &mut rng)?,
                Dense::new(128, 128, root2, &mut rng)?,
                Dense::new(128, actions, 0.01, &mut rng)?,
            ],
            value: [
                Dense::new(HIDDEN, 128, root2, &mut rng)?,
                Dense::new(128, 64, root2, &mut rng)?,
                Dense::new(64, 1, 1.0, &mut rng)?,
            ],
        })
    }

    /// One step of an episode, for several episodes at once: from `states` `[episodes, features]` to the logarithms of
    /// the actions' probabilities `[episodes, actions]`, the values `[episodes]` and the next recurrent state.
    ///
    /// # Errors
    /// What candle reports.
    pub fn step(&self, states: &Tensor, carried: &LstmState) -> Result<(Tensor, Tensor, LstmState)> {
        let next = match (&self.recurrent, &self.feed_forward) {
            (Some(gates), _) => lstm_cell(gates, states, carried)?,
            (None, Some(dense)) => LstmState { hidden: dense.forward(states)?.tanh()?, cell: carried.cell.clone() },
            (None, None) => carried.clone(),
        };
        let head = |layers: &[Dense; 3]| {
            let hidden = layers[0].forward(&next.hidden)?.tanh()?;
            layers[2].forward(&layers[1].forward(&hidden)?.tanh()?)
        };
        let log_probabilities = candle_nn::ops::log_softmax(&head(&self.policy)?, D::Minus1)?;
        Ok((log_probabilities, head(&self.value)?.squeeze(1)?, next))
    }

    /// All parameters, in a fixed order.
    #[must_use]
    pub fn parameters(&self) -> Vec<Var> {
        let trunk = self.recurrent.iter().chain(&self.feed_forward);
        let layers = trunk.chain(&self.policy).chain(&self.value);
        layers.flat_map(|layer| [layer.weight.clone(), layer.bias.clone()]).collect()
    }
}

/// Gates in the order input, forget, cell, output (Hochreiter and Schmidhuber 1997, with a forget gate).
fn lstm_cell(gates: &Dense, states: &Tensor, carried: &LstmState) -> Result<LstmState> {
    let joined = gates.forward(&Tensor::cat(&[states, &carried.hidden], 1)?)?;
    let gate = |index: usize| joined.narrow(1, index * HIDDEN, HIDDEN);
    let sigmoid = |tensor: Tensor| candle_nn::ops::sigmoid(&tensor);
    let (input, output) = (sigmoid(gate(0)?)?, sigmoid(gate(3)?)?);
    // A bias of 1 on the forget gate: remember at first.
    let forget = sigmoid((gate(1)? + 1.0)?)?;
    let cell = ((forget * &carried.cell)? + (input * gate(2)?.tanh()?)?)?;
    Ok(LstmState { hidden: (output * cell.tanh()?)?, cell })
}
