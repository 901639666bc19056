//! The last step of a search: from its best assignments to their neighbours.
//!
//! Not in the paper. An agent that has seen some hundred assignments knows much about the layers but rarely stands on the
//! very best one. First one bitwidth is taken off each layer of the best assignment in turn; then neighbours further off
//! (a bit less here for a bit more there) are tried in the order that [`Sensitivity`] expects most of, a few at a time,
//! as long as that pays.

use std::collections::BTreeSet;

use releq_shared::Bitwidth;

use super::judge::{Judge, best_first};
use super::sensitivity::Sensitivity;
use super::{Assignment, Evaluated};

/// Assignments that neighbours are taken from.
const STARTS: usize = 3;
/// Neighbours tried at once.
const AT_ONCE: usize = 4;
/// Rounds without a better assignment after which the polish ends.
const PATIENCE: usize = 3;

impl super::run::Search<'_> {
    /// Polishes the best assignment with at most `budget` evaluations.
    pub(super) fn polish(&mut self, budget: usize) -> Result<(), super::SearchError> {
        let most = self.memo.len() + budget;
        // One bitwidth less, layer by layer, all at once.
        while self.memo.len() < most {
            let Some(best) = self.ranked().into_iter().next() else { return Ok(()) };
            let mut neighbours = self.judge.lower_neighbours(&best.bits);
            neighbours.retain(|bits| !self.memo.contains_key(bits));
            neighbours.truncate(most - self.memo.len());
            self.evaluate(&neighbours)?;
            if !self.is_better_than(&best) {
                break;
            }
        }
        let mut fruitless = 0;
        while self.memo.len() < most && fruitless < PATIENCE {
            let ranked = self.ranked();
            let Some(best) = ranked.first().cloned() else { return Ok(()) };
            let mut promising = self.promising(&ranked);
            promising.truncate(AT_ONCE.min(most - self.memo.len()));
            if promising.is_empty() {
                break;
            }
            self.evaluate(&promising)?;
            fruitless = if self.is_better_than(&best) { 0 } else { fruitless + 1 };
        }
        Ok(())
    }

    fn is_better_than(&self, best: &Evaluated) -> bool {
        self.ranked().first().is_some_and(|found| found.reward > best.reward && found.accepted >= best.accepted)
    }

    /// Neighbours of the best assignments that may be better than the very best, the most promising first.
    fn promising(&self, ranked: &[Evaluated]) -> Vec<Assignment> {
        let (judge, float) = (&self.judge, self.judge.float_accuracy);
        let model = Sensitivity::fit(&self.memo, judge.layers.len(), judge.config.reward.floor(float));
        let starts = ranked.iter().take(STARTS);
        let neighbours: BTreeSet<Assignment> = starts.flat_map(|found| exchanges(judge, &found.bits)).collect();
        let unknown = neighbours.into_iter().filter(|bits| !self.memo.contains_key(bits));
        let expected = unknown.filter_map(|bits| {
            let accuracy = model.predict(&bits);
            let hoped = judge.expect(&bits, accuracy + model.error / 2.0);
            let pays = hoped.reward > ranked[0].reward && hoped.accepted >= ranked[0].accepted;
            pays.then(|| judge.expect(&bits, accuracy))
        });
        let mut expected: Vec<Evaluated> = expected.collect();
        expected.sort_by(best_first);
        expected.into_iter().map(|found| found.bits).collect()
    }
}

/// Assignments one exchange away: one or two bitwidths less in all, taken from up to two layers, with up to one more
/// given to another.
pub(super) fn exchanges(judge: &Judge<'_>, bits: &Assignment) -> Vec<Assignment> {
    let moved = |from: &Assignment, layer: usize, up: bool| -> Option<Assignment> {
        let place = judge.actions.iter().position(|&action| action == from.0[layer])?;
        let place = if up { place + 1 } else { place.checked_sub(1)? };
        let to: Bitwidth = *judge.actions.get(place)?;
        let mut next = from.clone();
        next.0[layer] = to;
        judge.pins[layer].is_none().then_some(next)
    };
    let layers = || 0..judge.layers.len();
    let mut found = Vec::new();
    for first in layers() {
        let Some(lower) = moved(bits, first, false) else { continue };
        found.push(lower.clone());
        found.extend(layers().filter(|&other| other != first).filter_map(|other| moved(&lower, other, true)));
        for second in first..judge.layers.len() {
            let Some(lowest) = moved(&lower, second, false) else { continue };
            let others = layers().filter(|&other| other != first && other != second);
            found.extend(others.filter_map(|other| moved(&lowest, other, true)));
            found.push(lowest);
        }
    }
    found
}
