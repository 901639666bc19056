//! Proximal policy optimisation (arXiv 1707.06347) on whole episodes.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::PpoConfig;
use super::agent::{Agent, LstmState};
use crate::train::ops::{Adam, AdamConfig, Gradients, ParamGroup};

/// A batch of episodes, all of one length, collected with one policy. Outer index the layer, inner the episode.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// What the agent saw: `[layers][episodes][features]`.
    pub states: Vec<Vec<Vec<f32>>>,
    /// Which action it took.
    pub actions: Vec<Vec<u32>>,
    /// Whether it had a choice: pinned layers give none, and teach nothing.
    pub free: Vec<bool>,
    /// The logarithm of the action's probability then.
    pub log_probabilities: Vec<Vec<f32>>,
    /// The value it expected.
    pub values: Vec<Vec<f32>>,
    /// What it got.
    pub rewards: Vec<Vec<f32>>,
}

/// What an update of the agent did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateStatistics {
    /// Ratio of new to old probability before the first gradient step, furthest from one: 1 unless something is wrong.
    pub first_ratio: f64,
    /// Mean ratio in the last pass.
    pub last_ratio: f64,
    /// Estimated Kullback-Leibler divergence from the old policy.
    pub approx_kl: f64,
    /// Share of choices whose ratio was clipped.
    pub clip_fraction: f64,
    /// Mean entropy of the policy.
    pub entropy: f64,
    /// Policy loss.
    pub policy_loss: f64,
    /// Value loss.
    pub value_loss: f64,
    /// Share of the returns' variance that the values explain.
    pub explained_variance: f64,
}

impl Agent {
    /// Draws an action for each episode, or takes the most probable one. Returns actions, their log-probabilities, the
    /// values, the probabilities of all actions, and the next recurrent state.
    ///
    /// # Errors
    /// What candle reports.
    #[expect(clippy::type_complexity, reason = "one value for each thing a rollout records")]
    pub fn act(
        &self,
        states: &[Vec<f32>],
        carried: &LstmState,
        rng: Option<&mut dyn rand::Rng>,
    ) -> Result<(Vec<u32>, Vec<f32>, Vec<f32>, Vec<Vec<f32>>, LstmState)> {
        let (log_probabilities, values, next) = self.step(&tensor(states)?, carried)?;
        let table: Vec<Vec<f32>> = log_probabilities.to_vec2()?;
        let probabilities: Vec<Vec<f32>> = table.iter().map(|row| row.iter().map(|log| log.exp()).collect()).collect();
        let actions: Vec<u32> = match rng {
            Some(rng) => probabilities.iter().map(|row| sample(row, rng)).collect(),
            None => log_probabilities.argmax(D::Minus1)?.to_vec1()?,
        };
        let chosen = actions.iter().zip(&table).map(|(&action, row)| row[action as usize]).collect();
        Ok((actions, chosen, values.to_vec1()?, probabilities, next.detach()))
    }
}

fn tensor(rows: &[Vec<f32>]) -> Result<Tensor> {
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu)
}

/// Draws an index with these probabilities.
fn sample(probabilities: &[f32], rng: &mut dyn rand::Rng) -> u32 {
    let mut left: f32 = rng.random();
    for (index, &probability) in probabilities.iter().enumerate() {
        left -= probability;
        if left < 0.0 {
            return index as u32;
        }
    }
    probabilities.len() as u32 - 1
}

/// Generalised advantage estimation (arXiv 1506.02438) over episodes that all end after their last layer: advantages and
/// returns, indexed as the rollout.
#[must_use]
pub(super) fn advantages(
    rewards: &[Vec<f32>],
    values: &[Vec<f32>],
    discount: f64,
    lambda: f64,
) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let (layers, episodes) = (rewards.len(), rewards.first().map_or(0, Vec::len));
    let mut advantages = vec![vec![0.0f32; episodes]; layers];
    for episode in 0..episodes {
        let (mut next_value, mut sum) = (0.0, 0.0);
        for layer in (0..layers).rev() {
            let value = f64::from(values[layer][episode]);
            let surprise = f64::from(rewards[layer][episode]) + discount * next_value - value;
            sum = surprise + discount * lambda * sum;
            advantages[layer][episode] = sum as f32;
            next_value = value;
        }
    }
    let add = |(a, v): (&Vec<f32>, &Vec<f32>)| a.iter().zip(v).map(|(a, v)| a + v).collect();
    let returns = advantages.iter().zip(values).map(add).collect();
    (advantages, returns)
}

/// The agent's optimiser.
#[derive(Debug)]
pub(super) struct Ppo {
    config: PpoConfig,
    parameters: Vec<Var>,
    pub(super) adam: Adam,
}

impl Ppo {
    pub(super) fn new(agent: &Agent, config: PpoConfig) -> Result<Self> {
        let parameters = agent.parameters();
        let group = parameters.iter().map(|var| (var.clone(), ParamGroup::default())).collect();
        let adam = Adam::new(group, AdamConfig { lr: config.lr, epsilon: 1e-5, ..AdamConfig::default() })?;
        Ok(Self { config, parameters, adam })
    }

    /// Improves the agent on a batch of episodes. `entropy_weight` is the bonus's weight now.
    pub(super) fn update(&mut self, agent: &Agent, rollout: &Rollout, entropy_weight: f64) -> Result<UpdateStatistics> {
        let PpoConfig { clip, discount, gae_lambda, .. } = self.config;
        let (advantages, returns) = advantages(&rollout.rewards, &rollout.values, discount, gae_lambda);
        let advantages = normalised(&advantages, &rollout.free);
        let mut statistics =
            UpdateStatistics { explained_variance: explained(&rollout.values, &returns), ..Default::default() };
        for pass in 0..self.config.epochs {
            let (log_probabilities, values, entropy) = replay(agent, rollout)?;
            let old = tensor(&rollout.log_probabilities)?;
            let log_ratio = (&log_probabilities - old)?;
            let ratio = log_ratio.exp()?;
            // Pinned layers have no choice to improve.
            let free: Vec<f32> = rollout.free.iter().map(|&free| f32::from(u8::from(free))).collect();
            let choices = f64::from(free.iter().sum::<f32>()) * rollout.rewards.first().map_or(1, Vec::len) as f64;
            let free = Tensor::from_vec(free, (rollout.free.len(), 1), &Device::Cpu)?;
            let mean_of = |values: &Tensor| values.broadcast_mul(&free)?.sum_all()? / choices.max(1.0);
            let advantage = tensor(&advantages)?;
            let clipped = ratio.clamp(1.0 - clip, 1.0 + clip)?;
            let gain = (&ratio * &advantage)?.minimum(&(&clipped * &advantage)?)?;
            let policy_loss = mean_of(&gain)?.neg()?;
            let value_loss = (values - tensor(&returns)?)?.sqr()?.mean_all()?;
            let entropy = mean_of(&entropy)?;
            let loss = ((&policy_loss + (&value_loss * self.config.value)?)? - (&entropy * entropy_weight)?)?;
            let mut grads = loss.backward()?;
            limit_norm(&mut grads, &self.parameters, self.config.max_grad_norm)?;
            if pass == 0 {
                let ratios: Vec<Vec<f32>> = ratio.to_vec2()?;
                let furthest = ratios.into_iter().flatten().max_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()));
                statistics.first_ratio = f64::from(furthest.unwrap_or(1.0));
            }
            let scalar = |tensor: &Tensor| tensor.to_scalar::<f32>().map(f64::from);
            statistics.last_ratio = scalar(&mean_of(&ratio)?)?;
            statistics.approx_kl = scalar(&mean_of(&((&ratio - 1.0)? - &log_ratio)?)?)?;
            let outside = (&ratio - 1.0)?.abs()?.gt(clip)?.to_dtype(DType::F32)?;
            statistics.clip_fraction = scalar(&mean_of(&outside)?)?;
            statistics.entropy = scalar(&entropy)?;
            statistics.policy_loss = scalar(&policy_loss)?;
            statistics.value_loss = scalar(&value_loss)?;
            self.adam.step(&Gradients::Candle(grads))?;
        }
        Ok(statistics)
    }
}

/// Walks all episodes again with the agent as it is now, carrying its recurrent state: log-probabilities of the actions
/// taken, values and entropies, `[layers, episodes]` each.
fn replay(agent: &Agent, rollout: &Rollout) -> Result<(Tensor, Tensor, Tensor)> {
    let episodes = rollout.actions.first().map_or(0, Vec::len);
    let mut carried = LstmState::zero(episodes)?;
    let (mut chosen, mut values, mut entropies) = (Vec::new(), Vec::new(), Vec::new());
    for (states, actions) in rollout.states.iter().zip(&rollout.actions) {
        let (log_probabilities, value, next) = agent.step(&tensor(states)?, &carried)?;
        let actions = Tensor::from_vec(actions.clone(), (episodes, 1), &Device::Cpu)?;
        chosen.push(log_probabilities.gather(&actions, 1)?.squeeze(1)?);
        entropies.push((log_probabilities.exp()? * &log_probabilities)?.sum(1)?.neg()?);
        values.push(value);
        carried = next;
    }
    Ok((Tensor::stack(&chosen, 0)?, Tensor::stack(&values, 0)?, Tensor::stack(&entropies, 0)?))
}

/// Advantages of free choices with mean 0 and deviation 1.
fn normalised(advantages: &[Vec<f32>], free: &[bool]) -> Vec<Vec<f32>> {
    let of_choices = advantages.iter().zip(free).filter(|(_, free)| **free);
    let all: Vec<f32> = of_choices.flat_map(|(row, _)| row.iter().copied()).collect();
    let mean = all.iter().sum::<f32>() / all.len().max(1) as f32;
    let variance = all.iter().map(|a| (a - mean).powi(2)).sum::<f32>() / all.len().max(1) as f32;
    advantages.iter().map(|row| row.iter().map(|a| (a - mean) / (variance.sqrt() + 1e-6)).collect()).collect()
}

fn explained(values: &[Vec<f32>], returns: &[Vec<f32>]) -> f64 {
    let (values, returns) = (values.concat(), returns.concat());
    let variance = |numbers: &[f64]| {
        let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
        numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>()
    };
    let errors: Vec<f64> = returns.iter().zip(&values).map(|(r, v)| f64::from(r - v)).collect();
    let returns: Vec<f64> = returns.into_iter().map(f64::from).collect();
    1.0 - variance(&errors) / variance(&returns).max(1e-12)
}

/// Scales all gradients down so that their joint norm is at most `limit`.
fn limit_norm(grads: &mut candle_core::backprop::GradStore, parameters: &[Var], limit: f64) -> Result<()> {
    let mut squares = 0.0;
    for var in parameters {
        if let Some(grad) = grads.get(var) {
            squares += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let norm = squares.sqrt();
    if norm > limit {
        for var in parameters {
            if let Some(grad) = grads.get(var) {
                let scaled = (grad * (limit / norm))?;
                grads.insert(var, scaled);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn advantages_are_those_of_hand() {
        // One episode of three layers, discount 0.9, lambda 0.5.
        let (advantages, returns) =
            advantages(&[vec![1.0], vec![0.0], vec![2.0]], &[vec![0.5], vec![1.0], vec![1.5]], 0.9, 0.5);
        let third: f32 = 2.0 - 1.5;
        let second = 0.9 * 1.5 - 1.0 + 0.45 * third;
        let first = 1.0 + 0.9 * 1.0 - 0.5 + 0.45 * second;
        for (got, expected) in advantages.concat().into_iter().zip([first, second, third]) {
            assert!((got - expected).abs() < 1e-6, "{got} for {expected}");
        }
        assert!((returns[0][0] - (first + 0.5)).abs() < 1e-6);
    }

    fn rollout(agent: &Agent, free: Vec<bool>) -> Rollout {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rollout = Rollout { free, ..Rollout::default() };
        let mut carried = LstmState::zero(6).unwrap();
        for layer in 0..rollout.free.len() {
            let states: Vec<Vec<f32>> = (0..6).map(|e| vec![layer as f32 * 0.3, e as f32 * 0.1]).collect();
            let (actions, log_probabilities, values, _, next) = agent.act(&states, &carried, Some(&mut rng)).unwrap();
            rollout.rewards.push(actions.iter().map(|&action| action as f32).collect());
            rollout.states.push(states);
            rollout.actions.push(actions);
            rollout.log_probabilities.push(log_probabilities);
            rollout.values.push(values);
            carried = next;
        }
        rollout
    }

    #[test]
    fn the_ratio_is_one_before_the_first_step_and_not_after_it() {
        for lstm in [true, false] {
            let agent = Agent::new(2, 3, lstm, 1).unwrap();
            let rollout = rollout(&agent, vec![true; 4]);
            let config = PpoConfig { lr: 1e-2, ..PpoConfig::default() };
            let statistics = Ppo::new(&agent, config).unwrap().update(&agent, &rollout, 0.01).unwrap();
            assert!((statistics.first_ratio - 1.0).abs() < 1e-4, "{statistics:?}");
            assert!(statistics.approx_kl > 1e-6, "{statistics:?}");
        }
    }

    #[test]
    fn better_rewarded_actions_become_more_probable() {
        let agent = Agent::new(2, 3, true, 1).unwrap();
        let mut ppo = Ppo::new(&agent, PpoConfig { lr: 3e-3, ..PpoConfig::default() }).unwrap();
        for _ in 0..30 {
            ppo.update(&agent, &rollout(&agent, vec![true; 4]), 0.0).unwrap();
        }
        let (_, _, _, probabilities, _) = agent.act(&[vec![0.0, 0.0]], &LstmState::zero(1).unwrap(), None).unwrap();
        assert!(probabilities[0][2] > 0.7, "{probabilities:?}");
    }

    #[test]
    fn layers_without_a_choice_teach_nothing() {
        let agent = Agent::new(2, 3, true, 1).unwrap();
        let before: Vec<f32> = agent.parameters()[2].flatten_all().unwrap().to_vec1().unwrap();
        let config = PpoConfig { value: 0.0, ..PpoConfig::default() };
        Ppo::new(&agent, config).unwrap().update(&agent, &rollout(&agent, vec![false; 4]), 0.0).unwrap();
        let after: Vec<f32> = agent.parameters()[2].flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(before, after);
    }

    /// Episodes of three steps: the first state shows a random cue, the last action is rewarded for repeating it.
    /// Returns the share of right answers in the last tenth of the training.
    fn recall(lstm: bool) -> f32 {
        let agent = Agent::new(2, 2, lstm, 1).unwrap();
        let mut ppo = Ppo::new(&agent, PpoConfig { lr: 3e-3, ..PpoConfig::default() }).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (updates, episodes) = (60, 32);
        let mut right = 0.0;
        for update in 0..updates {
            let cues: Vec<u32> = (0..episodes).map(|_| rng.random_range(0..2)).collect();
            let mut rollout = Rollout { free: vec![false, false, true], ..Rollout::default() };
            let mut carried = LstmState::zero(episodes).unwrap();
            for layer in 0..3 {
                let shown = |cue: &u32| if layer == 0 { *cue as f32 * 2.0 - 1.0 } else { 0.0 };
                let states: Vec<Vec<f32>> = cues.iter().map(|cue| vec![layer as f32, shown(cue)]).collect();
                let (actions, logs, values, _, next) = agent.act(&states, &carried, Some(&mut rng)).unwrap();
                let reward = |(action, cue): (&u32, &u32)| f32::from(u8::from(layer == 2 && action == cue));
                rollout.rewards.push(actions.iter().zip(&cues).map(reward).collect());
                rollout.states.push(states);
                rollout.actions.push(actions);
                rollout.log_probabilities.push(logs);
                rollout.values.push(values);
                carried = next;
            }
            if update >= updates * 9 / 10 {
                right += rollout.rewards[2].iter().sum::<f32>();
            }
            ppo.update(&agent, &rollout, 0.01).unwrap();
        }
        right / (updates / 10 * episodes) as f32
    }

    #[test]
    fn what_was_seen_at_the_first_layer_is_remembered_at_the_last() {
        let (with, without) = (recall(true), recall(false));
        assert!(with > 0.9, "the LSTM recalls the cue in {with} of the episodes");
        assert!(without < 0.65, "without memory there is nothing to recall it by, yet {without}");
    }
}
