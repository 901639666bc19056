//! What is worth having among evaluated assignments: the frontier of cost and accuracy, and the way along it to the cheapest
//! assignment that keeps a bound which only a dear test can tell.

use std::cmp::Ordering;

use super::Evaluated;

/// Cheaper first. Sums of the same shares in another order differ in their last digits: those cost the same.
pub(crate) fn by_cost(a: &Evaluated, b: &Evaluated) -> Ordering {
    let digits = |found: &Evaluated| (found.cost * 1e9).round();
    digits(a).total_cmp(&digits(b))
}

/// The assignments that none of the others beats in cost and accuracy, cheapest first; of equal ones one.
#[must_use]
pub fn frontier(evaluated: &[Evaluated]) -> Vec<Evaluated> {
    let mut sorted: Vec<&Evaluated> = evaluated.iter().collect();
    sorted.sort_by(|a, b| by_cost(a, b).then(b.accuracy.total_cmp(&a.accuracy)));
    let mut highest = f64::NEG_INFINITY;
    let rising = |found: &&Evaluated| {
        let rises = found.accuracy > highest;
        highest = highest.max(found.accuracy);
        rises
    };
    sorted.into_iter().filter(rising).cloned().collect()
}

/// The assignments of a frontier, to be tried from one of them on until the cheapest that passes is found, in the belief that
/// what costs more passes where something cheaper does.
///
/// After a failure the dearer ones are halved; after a first success cheaper ones are tried at distances of 1, 2, 4 and so on,
/// because the start is a good guess and what is much cheaper is hopeless.
#[derive(Clone, Debug)]
pub struct Ladder {
    rungs: Vec<Evaluated>,
    at: usize,
    stride: usize,
    failed: Option<usize>,
    passed: Option<usize>,
}

impl Ladder {
    /// The frontier of `evaluated`, from `start` on, which is on the ladder even if something beats it. Above the frontier's
    /// end follow dearer assignments, each the most accurate of those that cost more than the one before: that a cheaper one
    /// did better in a short test may have been luck.
    #[must_use]
    pub fn new(evaluated: &[Evaluated], start: &Evaluated) -> Self {
        let mut rungs = frontier(evaluated);
        let better = |a: &&Evaluated, b: &&Evaluated| a.accuracy.total_cmp(&b.accuracy).then(by_cost(b, a));
        while let Some(last) = rungs.last() {
            let dearer = evaluated.iter().filter(|found| by_cost(found, last).is_gt());
            let Some(next) = dearer.max_by(better).cloned() else { break };
            rungs.push(next);
        }
        let at = rungs.iter().position(|rung| rung.bits == start.bits).unwrap_or_else(|| {
            let at = rungs.partition_point(|rung| by_cost(rung, start).is_lt());
            rungs.insert(at, start.clone());
            at
        });
        Self { rungs, at, stride: 1, failed: None, passed: None }
    }

    /// What to try now; `None` when the cheapest that passes is known, or that none does.
    #[must_use]
    pub fn rung(&self) -> Option<&Evaluated> {
        let open =
            self.failed.is_none_or(|failed| self.at > failed) && self.passed.is_none_or(|passed| self.at < passed);
        self.rungs.get(self.at).filter(|_| open)
    }

    /// Takes note of whether [`Self::rung`] passed, and moves on.
    pub fn note(&mut self, passes: bool) {
        let place = if passes { &mut self.passed } else { &mut self.failed };
        *place = Some(self.at);
        self.at = match (self.failed, self.passed) {
            (None, Some(passed)) => {
                let next = passed.saturating_sub(self.stride);
                self.stride *= 2;
                next
            }
            (Some(failed), passed) => failed.midpoint(passed.unwrap_or(self.rungs.len())).max(failed + 1),
            (None, None) => self.at,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bits: &str, cost: f64, accuracy: f64) -> Evaluated {
        Evaluated { bits: bits.parse().unwrap(), accuracy, cost, reward: 0.0, accepted: true }
    }

    #[test]
    fn a_frontier_has_what_nothing_beats() {
        let all = [
            found("5,5", 0.6, 0.9),
            found("1,1", 0.1, 0.3),
            found("2,1", 0.1 + 0.2 - 0.1, 0.3),
            found("1,2", 0.2, 0.5),
            found("8,8", 1.0, 0.9),
            found("3,3", 0.4, 0.2),
        ];
        let kept: Vec<String> = frontier(&all).iter().map(|found| found.bits.to_string()).collect();
        assert_eq!(kept, ["1,1", "1,2", "5,5"]);
        assert!(frontier(&[]).is_empty());
    }

    /// Walks a ladder of `length` rungs from `start`, where rungs from `passing` on pass: what was tried, and what was found.
    fn walk(length: u8, start: usize, passing: usize) -> (Vec<usize>, Option<usize>) {
        let rungs: Vec<Evaluated> = (0..length).map(|i| found("1", f64::from(i), f64::from(i))).collect();
        let mut ladder = Ladder::new(&rungs, &rungs[start]);
        // All have the same bits, so the start is told by its place.
        ladder.at = start;
        let mut tried = Vec::new();
        while let Some(rung) = ladder.rung() {
            let at = rung.cost as usize;
            tried.push(at);
            ladder.note(at >= passing);
        }
        (tried, ladder.passed)
    }

    #[test]
    fn a_ladder_finds_the_cheapest_that_passes() {
        assert_eq!(walk(16, 4, 4), (vec![4, 3], Some(4)));
        assert_eq!(walk(16, 4, 9), (vec![4, 10, 7, 8, 9], Some(9)));
        assert_eq!(walk(1, 0, 0), (vec![0], Some(0)));
        assert_eq!(walk(1, 0, 1), (vec![0], None));
        for (start, passing) in (0..16).flat_map(|start| (0..17).map(move |passing| (start, passing))) {
            let (tried, cheapest) = walk(16, start, passing);
            assert_eq!(cheapest, Some(passing).filter(|&passing| passing < 16), "from {start}: {tried:?}");
            assert!(tried.len() <= 8, "from {start} to {passing}: {tried:?}");
        }
    }

    #[test]
    fn a_start_beside_the_frontier_is_tried_first() {
        let all = [found("1,1", 0.1, 0.3), found("5,5", 0.6, 0.9)];
        let start = found("3,3", 0.4, 0.2);
        let mut ladder = Ladder::new(&all, &start);
        assert_eq!(ladder.rung(), Some(&start));
        ladder.note(false);
        assert_eq!(ladder.rung().unwrap().bits.to_string(), "5,5");
    }

    #[test]
    fn above_the_frontier_the_ladder_goes_on() {
        let lucky = found("2,2", 0.2, 0.9);
        let all = [found("5,5", 0.6, 0.7), lucky.clone(), found("3,3", 0.4, 0.6), found("8,8", 1.0, 0.7)];
        let ladder = Ladder::new(&all, &lucky);
        let rungs: Vec<String> = ladder.rungs.iter().map(|found| found.bits.to_string()).collect();
        assert_eq!(rungs, ["2,2", "5,5", "8,8"]);
    }
}
