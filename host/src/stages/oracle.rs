//! The oracle of a run: short fine-tunes whose answers stay in the run's folder.

use sha2::{Digest, Sha256};

use super::{StageError, Workshop, files};
use crate::interrupt;
use crate::run::{RunError, RunFolder, write_atomically};
use crate::search::{
    self, AccuracyOracle, ActionSet, Assignment, Evaluation, LayerFacts, Remembering, Scan, SearchConfig, SearchError,
};
use crate::train::{FineTuneOracle, FitConfig, Model, checkpoint, layer_facts};

/// What a run's stages ask for accuracies, and of which layers.
#[derive(Debug)]
pub(super) struct Site {
    /// Remembers what was answered before, by whatever stage.
    pub(super) oracle: Remembering<FineTuneOracle>,
    /// The network's layers.
    pub(super) layers: Vec<LayerFacts>,
    /// The search's settings, with the bitwidths named.
    pub(super) search: SearchConfig,
}

/// The run's oracle, on all devices and cores, and its search's settings; the bitwidths are scanned for if that is asked
/// for.
pub(super) fn open(run: &RunFolder, workshop: &Workshop) -> Result<Site, StageError> {
    let Workshop { graph, devices, progress, .. } = workshop;
    let path = run.require(files::FLOAT, "train")?;
    run.config().check_quantizer()?;
    let (float, _) = checkpoint::load(&path, graph, devices.first())?;
    let layers = layer_facts(&float)?;
    let (short, seed) = (&run.config().short, run.config().seed);
    let mut oracle = Remembering::in_file(
        oracle(run, workshop, &float, short, seed)?,
        &run.file(files::EVALUATIONS),
        &key(run, &path, short, seed)?,
    )?;
    let known = oracle.known().len();
    if known > 0 {
        progress.say(format_args!("{:>12} {known} assignments were fine-tuned before", "recall"));
    }
    let mut search = run.config().search.clone();
    if matches!(search.actions, ActionSet::Auto(_)) {
        let scan = search::scan(&search, &layers, &mut oracle)
            .map_err(|error| if interrupt::requested() { SearchError::Stopped } else { error })?;
        tell(&scan, workshop);
        let json = serde_json::to_vec_pretty(&scan).unwrap_or_default();
        write_atomically(&run.file(files::SCAN), &json)?;
        search.actions = ActionSet::List(scan.actions);
    }
    Ok(Site { oracle, layers, search })
}

/// Asks for `bits`, so many at a time, and tells `progress` before each batch how many are done and which come now. Stops between
/// batches, and in one, when the user asks for it.
pub(super) fn ask(
    oracle: &mut dyn AccuracyOracle,
    bits: &[Assignment],
    at_once: usize,
    progress: &mut dyn FnMut(usize, &[Assignment]),
) -> Result<Vec<Evaluation>, StageError> {
    let mut answers = Vec::with_capacity(bits.len());
    for batch in bits.chunks(at_once) {
        progress(answers.len(), batch);
        let answered = oracle.evaluate(batch);
        if interrupt::requested() {
            return Err(SearchError::Stopped.into());
        }
        answers.extend(answered.map_err(SearchError::Oracle)?);
    }
    Ok(answers)
}

/// An oracle that fine-tunes by other settings than the run's short ones, by another seed or with the float reference as the
/// teacher, and remembers its answers in a file of that name.
pub(super) fn with_fit(
    run: &RunFolder,
    workshop: &Workshop,
    fit: &FitConfig,
    seed: u64,
    reference: Option<&Model>,
    file: &str,
) -> Result<Remembering<FineTuneOracle>, StageError> {
    let path = run.require(files::FLOAT, "train")?;
    let (float, _) = checkpoint::load(&path, &workshop.graph, workshop.devices.first())?;
    let mut oracle = oracle(run, workshop, &float, fit, seed)?;
    let mut key = key(run, &path, fit, seed)?;
    if let Some(reference) = reference {
        oracle = oracle.with_teacher(reference, &workshop.devices).map_err(StageError::Oracle)?;
        key.extend(["-taught-by-", run.result.reference_of.as_deref().unwrap_or_default()]);
    }
    Ok(Remembering::in_file(oracle, &run.file(file), &key)?)
}

fn oracle(
    run: &RunFolder,
    workshop: &Workshop,
    float: &Model,
    fit: &FitConfig,
    seed: u64,
) -> Result<FineTuneOracle, StageError> {
    let config = run.config();
    let (training, validation) = (workshop.training.clone(), workshop.validation.clone());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    FineTuneOracle::new(float, training, validation, fit.clone(), seed, &workshop.devices, threads)
        .map(|oracle| oracle.with_quantizer(config.quantizer.kind))
        .map_err(StageError::Oracle)
}

/// What an answer depends on: the float network, the quantiser, the fine-tune and the seed.
fn key(run: &RunFolder, float: &std::path::Path, fit: &FitConfig, seed: u64) -> Result<String, RunError> {
    let io = |source| RunError::Io { action: "read", path: float.to_owned(), source };
    let mut hasher = Sha256::new_with_prefix(std::fs::read(float).map_err(io)?);
    let config = run.config();
    hasher.update(serde_json::to_vec(&(fit, config.quantizer, seed, &config.dataset)).unwrap_or_default());
    Ok(hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn tell(scan: &Scan, workshop: &Workshop) {
    let actions: Vec<String> = scan.actions.iter().map(ToString::to_string).collect();
    let asked = scan.uniform.len() + scan.alone.len();
    workshop.progress.say(format_args!(
        "{:>12} {} bits are worth offering ({asked} assignments)",
        "scan",
        actions.join(", ")
    ));
    for reason in &scan.dropped {
        workshop.progress.say(format_args!("{:>12} not {reason}", ""));
    }
}
