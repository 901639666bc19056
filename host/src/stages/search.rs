//! The search for each layer's bitwidth.

use std::time::Instant;

use super::{StageError, Workshop, files, oracle, percent};
use crate::interrupt;
use crate::run::{RunError, RunFolder, write_atomically};
use crate::search::{self, SearchCheckpoint, SearchError, SearchOutcome};

/// Searches, unless the run has searched; goes on with a search that was stopped.
///
/// # Errors
/// [`StageError`].
pub fn search(run: &mut RunFolder, workshop: &Workshop) -> Result<SearchOutcome, StageError> {
    let path = run.file(files::SEARCH);
    let progress = &workshop.progress;
    if path.exists() {
        progress.say(format_args!("{:>12} done before", "search"));
        return load(run);
    }
    let mut site = oracle::open(run, workshop)?;
    let config = run.config().clone();
    let checkpoint_path = run.file(files::SEARCH_CHECKPOINT);
    let resume = if checkpoint_path.exists() { Some(SearchCheckpoint::load(&checkpoint_path)?) } else { None };
    if let Some(checkpoint) = &resume {
        progress.say(format_args!("{:>12} goes on after {} episodes", "search", checkpoint.episodes));
    }
    let before = run.result.seconds.search.unwrap_or(0.0);
    let started = Instant::now();
    let mut task = progress.task("search", config.search.episodes as u64);
    let mut unsaved: Option<RunError> = None;
    let outcome =
        search::run(&site.search, &site.layers, &mut site.oracle, config.seed, resume.as_ref(), &mut |event, state| {
            run.log.write("search", event);
            run.result.seconds.search = Some(before + started.elapsed().as_secs_f64());
            let best = &event.best;
            task.set(event.episodes as u64, || {
                format!("best {} ({:.2} bits, {})", best.bits, best.bits.mean_bits(), percent(best.accuracy))
            });
            if let Err(error) = state.save(&checkpoint_path).and_then(|()| run.save_result()) {
                unsaved = Some(error);
                return std::ops::ControlFlow::Break(());
            }
            interrupt::check()
        });
    if let Some(error) = unsaved {
        return Err(error.into());
    }
    let outcome = match outcome {
        // An evaluation that was cut short by Ctrl-C has not failed.
        Err(SearchError::Oracle(_)) if interrupt::requested() => return Err(SearchError::Stopped.into()),
        outcome => outcome?,
    };
    let seconds = before + started.elapsed().as_secs_f64();
    let json = serde_json::to_vec_pretty(&outcome)
        .map_err(|error| RunError::Damaged { path: path.clone(), reason: error.to_string() })?;
    write_atomically(&path, &json)?;
    run.result.seconds.search = Some(seconds);
    run.result.episodes = Some(outcome.episodes);
    run.result.evaluations = Some(outcome.evaluated.len());
    run.result.pinned = config.search.pinned.keys().cloned().collect();
    run.save_result()?;
    let best = &outcome.best;
    let diverged =
        outcome.evaluated.iter().filter(|found| site.oracle.known().get(&found.bits).is_some_and(|e| e.diverged));
    let diverged = diverged.count();
    task.finish(format_args!(
        "{} after {} episodes ({} evaluated): {:.2} bits, {} after a short fine-tune, float {}",
        best.bits,
        outcome.episodes,
        outcome.evaluated.len(),
        best.bits.mean_bits(),
        percent(best.accuracy),
        percent(outcome.float_accuracy)
    ));
    if diverged > 0 {
        progress.say(format_args!(
            "{:>12} {diverged} of {} short fine-tunes diverged (the loss was no number) and count as failures; lower lr in [short] of \
             config.toml and search with --fresh if that is too many",
            "note",
            outcome.evaluated.len()
        ));
    }
    Ok(outcome)
}

/// What the run's search found.
///
/// # Errors
/// If it has not searched, or the file is damaged.
pub(super) fn load(run: &RunFolder) -> Result<SearchOutcome, StageError> {
    let path = run.require(files::SEARCH, "search")?;
    let text = std::fs::read(&path).map_err(|source| RunError::Io { action: "read", path: path.clone(), source })?;
    let outcome = serde_json::from_slice(&text);
    Ok(outcome.map_err(|error| RunError::Damaged { path, reason: error.to_string() })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Devices;
    use crate::progress::Progress;
    use crate::run::RunConfig;
    use crate::search::{ActionSet, SearchConfig};
    use crate::train::{FitConfig, Model, checkpoint};

    #[test]
    fn a_search_whose_fine_tunes_all_diverge_goes_on_to_its_end_and_says_what_to_lower() {
        let folder = tempfile::tempdir().unwrap();
        let actions = ActionSet::List(vec![1, 2]);
        let config = RunConfig {
            short: FitConfig { steps: Some(3), batch: 16, lr: 1e30, ..FitConfig::default() },
            search: SearchConfig { episodes: 6, batch: 3, actions, ..SearchConfig::default() },
            ..RunConfig::quick()
        };
        let mut run = RunFolder::create(&folder.path().join("run"), config).unwrap();
        let workshop = Workshop::open(&run, Devices::parse("cpu").unwrap(), Progress::silent()).unwrap();
        let model = Model::new(workshop.graph.clone(), 1, workshop.devices.first()).unwrap();
        checkpoint::save(&run.file(files::FLOAT), &model, None).unwrap();
        let error = search(&mut run, &workshop).unwrap_err().to_string();
        assert!(error.contains("every fine-tune diverged; lower"), "{error}");
        let log = std::fs::read_to_string(run.file("log.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!((last["episodes"].as_u64(), last["diverged"] == last["evaluations"]), (Some(6), true), "{last}");
        let evaluations = std::fs::read_to_string(run.file(files::EVALUATIONS)).unwrap();
        assert!(evaluations.lines().skip(1).all(|line| line.contains("\"diverged\":true")), "{evaluations}");
        assert!(last["evaluations"].as_u64() > Some(1));
    }
}
