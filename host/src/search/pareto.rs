//! What is worth having among evaluated assignments: the frontier of cost and accuracy.

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
}
