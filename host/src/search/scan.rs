//! Which bitwidths are worth offering the agent at all: a sensitivity scan before the search.
//!
//! The paper leaves the action set to the user. Here the narrowest bitwidth that the network bears everywhere bounds it
//! from above (one more is kept, so that a layer may give where others take), and from below the narrowest one that at
//! least one layer bears while the others stay there.

use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::{AccuracyOracle, Assignment, Evaluated, LayerFacts, Reward, SearchConfig, SearchError};

/// Loss that a scan takes for bearable where the reward has no bound, in points.
const USUAL_LOSS_POINTS: f64 = 1.0;

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// Loss taken for bearable, in points.
    pub max_loss_points: f64,
    /// Each bitwidth everywhere.
    pub uniform: Vec<Evaluated>,
    /// One layer lowered alone, the others at the narrowest bearable bitwidth.
    pub alone: Vec<LoweredAlone>,
    /// The bitwidths worth offering.
    pub actions: Vec<u8>,
    /// Why not the others.
    pub dropped: Vec<String>,
}

/// One layer lowered alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoweredAlone {
    /// The layer.
    pub layer: String,
    /// Its bits.
    pub bits: u8,
    /// What came of it.
    pub found: Evaluated,
}

/// Scans the bitwidths 1 to 8, or those of `config` if it names some.
///
/// # Errors
/// As [`super::run`].
pub fn scan(
    config: &SearchConfig,
    layers: &[LayerFacts],
    oracle: &mut dyn AccuracyOracle,
) -> Result<Scan, SearchError> {
    let float = oracle.float_accuracy();
    let judge = Judge::new(config, layers, float)?;
    let max_loss_points = match config.reward {
        Reward::Constraint { max_loss_points } => max_loss_points,
        _ => USUAL_LOSS_POINTS,
    };
    let bears = |found: &Evaluated| (float - found.accuracy) * 100.0 <= max_loss_points;
    let mut ask = |all: &[Assignment]| -> Result<Vec<Evaluated>, SearchError> {
        let answers = oracle.evaluate(all).map_err(SearchError::Oracle)?;
        Ok(all.iter().zip(&answers).map(|(bits, answer)| judge.describe(bits, Some(answer))).collect())
    };
    let everywhere: Vec<Assignment> = judge.actions.iter().map(|&bits| judge.uniform(bits)).collect();
    let uniform = ask(&everywhere)?;
    // The narrowest that is borne, and all wider ones with it: a lucky one below a failure does not count.
    let highest = judge.actions.len() - 1;
    let borne = (0..=highest).rev().take_while(|&place| bears(&uniform[place])).last().unwrap_or(highest);
    let mut kept: Vec<Bitwidth> = judge.actions[borne..=(borne + 1).min(highest)].to_vec();
    let mut dropped = Vec::new();
    if borne + 1 < highest {
        dropped.push(format!(
            "more than {} bits: {} bits in every layer already lose {:.2} points at most",
            judge.actions[borne + 1],
            judge.actions[borne],
            max_loss_points
        ));
    }
    let mut alone = Vec::new();
    for place in (0..borne).rev() {
        let bits = judge.actions[place];
        let free = (0..layers.len()).filter(|&layer| judge.pins[layer].is_none());
        let lowered = free.map(|layer| {
            let mut lowered = judge.uniform(judge.actions[borne]);
            lowered.0[layer] = bits;
            (layer, lowered)
        });
        let (places, lowered): (Vec<usize>, Vec<Assignment>) = lowered.unzip();
        let found = ask(&lowered)?;
        let any = found.iter().any(bears);
        alone.extend(places.iter().zip(found).map(|(&layer, found)| LoweredAlone {
            layer: layers[layer].name.clone(),
            bits: bits.get(),
            found,
        }));
        if !any {
            dropped.push(format!(
                "{bits} bits and less: no layer bears them, even with {} bits in the others",
                judge.actions[borne]
            ));
            break;
        }
        kept.insert(0, bits);
    }
    let actions = kept.into_iter().map(Bitwidth::get).collect();
    Ok(Scan { max_loss_points, uniform, alone, actions, dropped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::costs::LayerKind;
    use crate::search::imaginary::ImaginaryOracle;
    use crate::search::{ActionSet, run};

    fn actions_for(needed: Vec<u8>, config: &SearchConfig) -> (Vec<u8>, usize) {
        let layers: Vec<LayerFacts> = (0..needed.len())
            .map(|layer| LayerFacts {
                name: format!("layer{layer}"),
                out_channels: 1,
                in_channels: 1,
                kernel: 1,
                kind: LayerKind::Dense,
                weights: 1,
                macs: 1,
                weight_std: 1.0,
            })
            .collect();
        let mut oracle = ImaginaryOracle::per_layer(needed, 1.0);
        let scan = scan(config, &layers, &mut oracle).unwrap();
        let narrowed = SearchConfig { actions: ActionSet::List(scan.actions.clone()), episodes: 8, ..config.clone() };
        let mut ignore = |_: &_, _: &_| std::ops::ControlFlow::Continue(());
        run(&narrowed, &layers, &mut oracle.clone(), 1, None, &mut ignore).unwrap();
        (scan.actions, oracle.asked)
    }

    #[test]
    fn a_scan_keeps_what_some_layer_can_use() {
        let reward = Reward::Constraint { max_loss_points: 0.5 };
        let config = SearchConfig { actions: ActionSet::AUTO, reward, ..SearchConfig::default() };
        assert_eq!(actions_for(vec![2, 1, 3, 1], &config), (vec![1, 2, 3, 4], 8 + 4 + 4));
        assert_eq!(actions_for(vec![3, 3, 3], &config), (vec![3, 4], 8 + 3), "nobody bears less");
        assert_eq!(actions_for(vec![1, 1], &config).0, [1, 2], "the floor");
        assert_eq!(actions_for(vec![8, 6], &config).0, [6, 7, 8]);
        let pinned = std::collections::BTreeMap::from([("layer0".to_owned(), 8)]);
        assert_eq!(actions_for(vec![5, 2], &SearchConfig { pinned, ..config }).0, [2, 3]);
    }
}
