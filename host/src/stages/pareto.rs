//! The frontier of cost and accuracy over all that a run has evaluated, with the search's choice on it.

use serde::{Deserialize, Serialize};

use super::{StageError, Workshop, oracle};
use crate::report;
use crate::run::{RunFolder, Tried, write_atomically};
use crate::search::{self, AccuracyOracle, ActionSpace, Assignment, Evaluated, Reward};

/// Assignments fine-tuned between two looks at whether to stop.
const AT_ONCE: usize = 8;

/// Everything that a run has evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pareto {
    /// The network.
    pub network: String,
    /// The data set.
    pub dataset: String,
    /// What cost is, as in the settings; 1 at 8 bits everywhere.
    pub cost: String,
    /// Validation accuracy of the float network, 0 to 1.
    pub float_accuracy: f64,
    /// Points that a short fine-tune may lose, if the reward has a bound.
    pub max_loss_points: Option<f64>,
    /// Whether every assignment of the action set was evaluated.
    pub exhaustive: bool,
    /// Every assignment with its short fine-tune, cheapest first.
    pub points: Vec<Point>,
    /// Those fine-tuned at length.
    pub tried: Vec<Tried>,
}

/// An assignment with its short fine-tune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Bits of each weight layer.
    pub bits: Assignment,
    /// Their mean.
    pub mean_bits: f64,
    /// Mean bits of a weight.
    pub weighted_bits: f64,
    /// Cost, 1 at 8 bits everywhere.
    pub cost: f64,
    /// Validation accuracy, 0 to 1.
    pub accuracy: f64,
    /// Whether it is within the reward's bound.
    pub accepted: bool,
    /// Whether nothing beats it in cost and accuracy.
    pub frontier: bool,
    /// Whether it is the search's choice.
    pub chosen: bool,
}

impl Pareto {
    /// The search's choice, if there was a search.
    #[must_use]
    pub fn chosen(&self) -> Option<&Point> {
        self.points.iter().find(|point| point.chosen)
    }

    /// The cheapest assignment within the bound; of equally cheap ones the most accurate.
    #[must_use]
    pub fn cheapest(&self) -> Option<&Point> {
        self.points.iter().find(|point| point.accepted)
    }

    /// As comma-separated values.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "bits,mean_bits,weighted_bits,cost,accuracy,accepted,frontier,chosen\n".to_owned();
        for point in &self.points {
            let Point { bits, mean_bits, weighted_bits, cost, accuracy, accepted, frontier, chosen } = point;
            text += &format!(
                "\"{bits}\",{mean_bits:.4},{weighted_bits:.4},{cost:.6},{accuracy:.6},{accepted},{frontier},{chosen}\n"
            );
        }
        text
    }
}

/// Collects what the run has evaluated, everything there is if `exhaustive`, and writes pareto.json, .csv, .svg and .png, and
/// the bitwidths' probabilities over the search's episodes as probabilities.csv, .svg and .png.
///
/// # Errors
/// [`StageError`]; more than [`search::EXHAUSTIVE_LIMIT`] assignments are not all tried.
pub fn pareto(run: &mut RunFolder, workshop: &Workshop, exhaustive: bool) -> Result<Pareto, StageError> {
    let mut site = oracle::open(run, workshop)?;
    if exhaustive {
        let all = search::everything(&site.search, &site.layers)?;
        let unknown: Vec<Assignment> = all.into_iter().filter(|bits| !site.oracle.known().contains_key(bits)).collect();
        let mut task = workshop.progress.task("pareto", unknown.len() as u64);
        oracle::ask(&mut site.oracle, &unknown, AT_ONCE, &mut |done, bits| {
            task.set(done as u64, || bits[bits.len() - 1].to_string());
        })?;
    }
    let float_accuracy = site.oracle.float_accuracy();
    let evaluated = search::judged(&site.search, &site.layers, float_accuracy, site.oracle.known())?;
    let chosen = super::search::load(run).ok().map(|outcome| outcome.best.bits);
    let whole = search::everything(&site.search, &site.layers)
        .is_ok_and(|all| all.iter().all(|bits| site.oracle.known().contains_key(bits)));
    let config = run.config();
    let pareto = Pareto {
        network: run.result.network.clone(),
        dataset: config.dataset.clone(),
        cost: config.search.cost.to_string(),
        float_accuracy,
        max_loss_points: match config.search.reward {
            Reward::Constraint { max_loss_points } => Some(max_loss_points),
            _ => None,
        },
        exhaustive: whole,
        points: points(&evaluated, &site.layers, chosen.as_ref()),
        tried: run.result.tried.clone(),
    };
    let episodes = report::episodes(&run.file("log.jsonl"))?;
    let (steps, actions) = match site.search.space {
        ActionSpace::Flexible => (
            site.layers.iter().map(|layer| layer.name.clone()).collect(),
            site.search.action_set()?.iter().map(|bits| format!("{bits} bits")).collect(),
        ),
        ActionSpace::Restricted => (Vec::new(), ["less", "keep", "more"].map(str::to_owned).to_vec()),
    };
    let json = serde_json::to_string_pretty(&pareto).unwrap_or_default();
    let mut written = vec![("pareto.json", json.into_bytes()), ("pareto.csv", pareto.csv().into_bytes())];
    if let Some(picture) = report::frontier(&pareto) {
        written.extend([("pareto.svg", picture.svg.into_bytes()), ("pareto.png", picture.png)]);
    }
    if let Some(picture) = report::probabilities(&episodes, &steps, &actions) {
        written.push(("probabilities.csv", report::probabilities_csv(&episodes).into_bytes()));
        written.extend([("probabilities.svg", picture.svg.into_bytes()), ("probabilities.png", picture.png)]);
    }
    for (name, bytes) in written {
        write_atomically(&run.file(name), &bytes)?;
    }
    Ok(pareto)
}

fn points(evaluated: &[Evaluated], layers: &[search::LayerFacts], chosen: Option<&Assignment>) -> Vec<Point> {
    let frontier = search::frontier(evaluated);
    let mut points: Vec<Point> = evaluated
        .iter()
        .map(|found| Point {
            bits: found.bits.clone(),
            mean_bits: found.bits.mean_bits(),
            weighted_bits: found.bits.weighted_bits(layers),
            cost: found.cost,
            accuracy: found.accuracy,
            accepted: found.accepted,
            frontier: frontier.iter().any(|on| on.bits == found.bits),
            chosen: chosen == Some(&found.bits),
        })
        .collect();
    points.sort_by(|a, b| {
        let digits = |point: &Point| (point.cost * 1e9).round();
        digits(a).total_cmp(&digits(b)).then(b.accuracy.total_cmp(&a.accuracy))
    });
    points
}
