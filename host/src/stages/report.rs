//! The page of a run. It reads only, so it may be made of a run that another process is working on.

use releq_shared::blob::{AlignedCopy, Blob};

use super::pareto::Point;
use super::{Pareto, StageError, files};
use crate::network::{self, Shape};
use crate::report::{self, Layer, Page, Picture};
use crate::run::{RunError, RunFolder};
use crate::search::{self, ActionSet, ActionSpace, Assignment, Reward, SearchOutcome};

/// All that a run has shown so far, as a page.
///
/// # Errors
/// [`StageError`] if the run's files cannot be read or understood.
pub fn report(run: &RunFolder) -> Result<String, StageError> {
    let layers = layers(run)?;
    let outcome = match run.file(files::SEARCH).exists() {
        true => Some(super::search::load(run)?),
        false => None,
    };
    let settings = run.file("config.toml");
    let settings =
        std::fs::read_to_string(&settings).map_err(|source| RunError::Io { action: "read", path: settings, source })?;
    let page = Page {
        frontier: frontier(run, outcome.as_ref(), &layers)?,
        probabilities: course(run, &layers)?,
        result: run.result.clone(),
        layers,
        evaluated: outcome.map_or_else(Vec::new, |outcome| outcome.evaluated),
        settings,
    };
    Ok(page.html())
}

/// The layers of the packed model, or of the network before there is one; its last layer may then have another number of
/// classes than the data set.
fn layers(run: &RunFolder) -> Result<Vec<Layer>, StageError> {
    let config = run.config();
    let mut graph = network::load(&config.network, run.path())?;
    if let Some([channels, height, width]) = config.input {
        let classes = graph.classes();
        graph = super::adapted(&graph, Shape { channels, height, width }, classes)?;
    }
    let path = run.file(files::MODEL);
    if path.exists() {
        let bytes = std::fs::read(&path).map_err(|source| RunError::Io { action: "read", path, source })?;
        let copy = AlignedCopy::new(&bytes);
        let classes = Blob::new_checked(&copy)?.header().labels().count();
        graph = super::adapted(&graph, graph.input(), classes)?;
    }
    let layer = |layer: network::WeightLayer| Layer {
        name: layer.name,
        weights: layer.weights as u64,
        macs: layer.macs as u64,
    };
    Ok(graph.weight_layers().into_iter().map(layer).collect())
}

/// The frontier as `releq pareto` left it, if it knows no less than the search; else of what the search evaluated.
fn frontier(run: &RunFolder, outcome: Option<&SearchOutcome>, layers: &[Layer]) -> Result<Option<Picture>, StageError> {
    let path = run.file("pareto.json");
    let kept: Option<Pareto> = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = outcome.map_or(0, |outcome| outcome.evaluated.len());
    let kept = kept.filter(|kept| kept.points.len() >= known);
    let pareto = kept.or_else(|| outcome.map(|outcome| of_search(run, outcome, layers)));
    Ok(pareto.and_then(|pareto| report::frontier(&Pareto { tried: run.result.tried.clone(), ..pareto })))
}

fn of_search(run: &RunFolder, outcome: &SearchOutcome, layers: &[Layer]) -> Pareto {
    let config = run.config();
    let weights: u64 = layers.iter().map(|layer| layer.weights).sum();
    let weighted = |bits: &Assignment| {
        let bits = bits.0.iter().zip(layers).map(|(bits, layer)| u64::from(bits.get()) * layer.weights);
        bits.sum::<u64>() as f64 / weights.max(1) as f64
    };
    let on_frontier = search::frontier(&outcome.evaluated);
    let point = |found: &search::Evaluated| Point {
        bits: found.bits.clone(),
        mean_bits: found.bits.mean_bits(),
        weighted_bits: weighted(&found.bits),
        cost: found.cost,
        accuracy: found.accuracy,
        accepted: found.accepted,
        frontier: on_frontier.iter().any(|on| on.bits == found.bits),
        chosen: outcome.best.bits == found.bits,
    };
    let mut points: Vec<Point> = outcome.evaluated.iter().map(point).collect();
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    Pareto {
        network: run.result.network.clone(),
        dataset: config.dataset.clone(),
        cost: config.search.cost.to_string(),
        float_accuracy: outcome.float_accuracy,
        max_loss_points: match config.search.reward {
            Reward::Constraint { max_loss_points } => Some(max_loss_points),
            _ => None,
        },
        exhaustive: false,
        points,
        tried: Vec::new(),
    }
}

/// The agent's course, with what its actions were called.
fn course(run: &RunFolder, layers: &[Layer]) -> Result<Option<Picture>, StageError> {
    let episodes = report::episodes(&run.file("log.jsonl"))?;
    let search = &run.config().search;
    let (steps, actions) = match (search.space, &search.actions) {
        (ActionSpace::Restricted, _) => (Vec::new(), ["less", "keep", "more"].map(str::to_owned).to_vec()),
        (ActionSpace::Flexible, ActionSet::List(_)) => (
            layers.iter().map(|layer| layer.name.clone()).collect(),
            search.action_set()?.iter().map(|bits| format!("{bits} bits")).collect(),
        ),
        // Which bitwidths the scan left is in its own file.
        (ActionSpace::Flexible, ActionSet::Auto(_)) => {
            let scan: Option<search::Scan> =
                std::fs::read(run.file(files::SCAN)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let actions = scan.map_or_else(Vec::new, |scan| scan.actions);
            (
                layers.iter().map(|layer| layer.name.clone()).collect(),
                actions.iter().map(|bits| format!("{bits} bits")).collect(),
            )
        }
    };
    Ok(report::probabilities(&episodes, &steps, &actions))
}
