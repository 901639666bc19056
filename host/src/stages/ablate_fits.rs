//! What parts of the fine-tunes are worth: the same random assignments, fine-tuned by settings that differ in one respect.

use serde::{Deserialize, Serialize};

use super::{Spread, StageError, Workshop, files, oracle};
use crate::interrupt;
use crate::progress::Task;
use crate::run::{RunError, RunFolder, write_atomically};
use crate::search::ablation::rank_correlation;
use crate::search::{self, AccuracyOracle, Assignment, Evaluation, SearchError};
use crate::train::{FitConfig, Sinusoidal};

/// How well short fine-tunes of one length rank assignments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShortLength {
    /// Steps of the short fine-tune.
    pub steps: usize,
    /// Spearman's rank correlation with the long fine-tune's accuracies; absent if all were equal.
    pub rank_correlation: Option<f64>,
    /// Mean accuracy after the short fine-tune, 0 to 1.
    pub accuracy: f64,
    /// Mean seconds of one.
    pub seconds: f64,
}

/// What the sinusoidal regulariser does at one strength in one kind of fine-tune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinusoidalEffect {
    /// `short` or `long`.
    pub fine_tune: String,
    /// The regulariser's strength; the first row of each kind has none.
    pub strength: f64,
    /// Validation accuracy in percent, the mean over the assignments: over seeds.
    pub accuracy_percent: Spread,
    /// Points gained on the same assignments, seeds and images without it, the mean over the assignments: over seeds.
    pub gain_points: Spread,
}

/// Fine-tunes of assignments drawn once, whose answers are kept in files of the run's folder.
struct Fits<'a> {
    run: &'a RunFolder,
    workshop: &'a Workshop,
    drawn: Vec<Assignment>,
    task: Task,
    done: u64,
}

impl<'a> Fits<'a> {
    /// Draws `samples` assignments, each to be fine-tuned in `fits` ways.
    fn draw(run: &'a RunFolder, workshop: &'a Workshop, samples: usize, fits: usize) -> Result<Self, StageError> {
        let site = oracle::open(run, workshop)?;
        let drawn = search::draw(&site.search, &site.layers, run.config().seed, samples)?;
        let task = workshop.progress.task("ablate", (fits * drawn.len()) as u64);
        Ok(Self { run, workshop, drawn, task, done: 0 })
    }

    /// Fine-tunes all of them, or recalls from `file` what came of it.
    fn ask(&mut self, fit: &FitConfig, seed: u64, file: &str, text: &str) -> Result<Vec<Evaluation>, StageError> {
        let mut oracle = oracle::with_fit(self.run, self.workshop, fit, seed, file)?;
        let mut answers = Vec::new();
        for bits in self.drawn.chunks(2) {
            self.task.set(self.done, || text.to_owned());
            let answered = oracle.evaluate(bits);
            if interrupt::requested() {
                return Err(SearchError::Stopped.into());
            }
            answers.extend(answered.map_err(SearchError::Oracle)?);
            self.done += bits.len() as u64;
        }
        Ok(answers)
    }

    fn finish<T: Serialize>(self, name: &str, found: &T) -> Result<(), StageError> {
        self.task.finish(format_args!("{} fine-tunes", self.done));
        let json = serde_json::to_vec_pretty(found).unwrap_or_default();
        Ok(write_atomically(&self.run.file(name), &json)?)
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Fine-tunes `samples` random assignments at length (without a teacher), and shortly with a quarter, half, once, twice and four
/// times the run's steps, and writes ablate-short.json. Answers are kept; a second call makes none again.
///
/// # Errors
/// [`StageError`].
pub fn ablate_short(run: &RunFolder, workshop: &Workshop, samples: usize) -> Result<Vec<ShortLength>, StageError> {
    let config = run.config();
    let usual = config.short.steps_on(workshop.data.train.len());
    let lengths = [usual.div_ceil(4), usual.div_ceil(2), usual, usual * 2, usual * 4];
    let mut fits = Fits::draw(run, workshop, samples, lengths.len() + 1)?;
    let long = fits.ask(&config.finetune, config.seed, "ablate-long.jsonl", "long")?;
    let long: Vec<f64> = long.iter().map(|answer| answer.accuracy).collect();
    let mut found = Vec::new();
    for steps in lengths {
        let fit = FitConfig { steps: Some(steps), ..config.short.clone() };
        let file = format!("ablate-short-{steps}.jsonl");
        let answers = fits.ask(&fit, config.seed, &file, &format!("{steps} steps"))?;
        let accuracies: Vec<f64> = answers.iter().map(|answer| answer.accuracy).collect();
        found.push(ShortLength {
            steps,
            rank_correlation: rank_correlation(&accuracies, &long),
            accuracy: mean(accuracies.iter().copied()),
            seconds: mean(answers.iter().map(|answer| answer.seconds)),
        });
    }
    fits.finish("ablate-short.json", &found)?;
    Ok(found)
}

/// Fine-tunes `samples` random assignments shortly and at length (without a teacher), without the sinusoidal regulariser and with
/// it at each of `strengths`, over `seeds` seeds of the fine-tune, and writes ablate-sinusoidal.json. Answers are kept; a
/// second call makes none again.
///
/// # Errors
/// [`StageError`].
pub fn ablate_sinusoidal(
    run: &RunFolder,
    workshop: &Workshop,
    strengths: &[f64],
    samples: usize,
    seeds: usize,
) -> Result<Vec<SinusoidalEffect>, StageError> {
    let config = run.config();
    let folder = run.file(files::ABLATE_SINUSOIDAL);
    std::fs::create_dir_all(&folder).map_err(|source| RunError::Io { action: "create", path: folder, source })?;
    let strengths: Vec<f64> = std::iter::once(0.0).chain(strengths.iter().copied().filter(|&at| at > 0.0)).collect();
    let mut fits = Fits::draw(run, workshop, samples, 2 * strengths.len() * seeds)?;
    let mut found = Vec::new();
    for (name, base) in [("short", &config.short), ("long", &config.finetune)] {
        let mut without = Vec::new();
        for &strength in &strengths {
            let fit = FitConfig { sinusoidal: Sinusoidal { strength, ..base.sinusoidal }, ..base.clone() };
            let mut accuracies = Vec::new();
            for seed in (config.seed..).take(seeds) {
                let file = format!("{}/{name}-{strength}-{seed}.jsonl", files::ABLATE_SINUSOIDAL);
                let answers = fits.ask(&fit, seed, &file, &format!("{name}, strength {strength}, seed {seed}"))?;
                accuracies.push(mean(answers.iter().map(|answer| answer.accuracy * 100.0)));
            }
            if without.is_empty() {
                without.clone_from(&accuracies);
            }
            let gains: Vec<f64> = accuracies.iter().zip(&without).map(|(with, without)| with - without).collect();
            found.push(SinusoidalEffect {
                fine_tune: name.to_owned(),
                strength,
                accuracy_percent: Spread::of(&accuracies),
                gain_points: Spread::of(&gains),
            });
        }
    }
    fits.finish("ablate-sinusoidal.json", &found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Devices;
    use crate::progress::Progress;
    use crate::run::RunConfig;
    use crate::train::{Model, checkpoint};

    #[test]
    fn the_same_fine_tunes_are_compared_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let fit = FitConfig { steps: Some(4), batch: 16, ..FitConfig::default() };
        let config = RunConfig { short: fit.clone(), finetune: fit, ..RunConfig::quick() };
        let run = RunFolder::create(&folder.path().join("run"), config).unwrap();
        let workshop = Workshop::open(&run, Devices::parse("cpu").unwrap(), Progress::silent()).unwrap();
        let float = Model::new(workshop.graph.clone(), 1, workshop.devices.first()).unwrap();
        checkpoint::save(&run.file(files::FLOAT), &float, None).unwrap();

        let effects = ablate_sinusoidal(&run, &workshop, &[100.0], 2, 2).unwrap();
        let rows: Vec<_> = effects.iter().map(|effect| (effect.fine_tune.as_str(), effect.strength)).collect();
        assert_eq!(rows, [("short", 0.0), ("short", 100.0), ("long", 0.0), ("long", 100.0)]);
        for effect in &effects {
            assert_eq!(effect.gain_points == Spread::of(&[0.0, 0.0]), effect.strength == 0.0, "{effect:?}");
        }
        let answers = run.file(files::ABLATE_SINUSOIDAL).join("long-100-1.jsonl");
        let before = std::fs::read(&answers).unwrap();
        assert_eq!(ablate_sinusoidal(&run, &workshop, &[100.0], 2, 2).unwrap(), effects);
        assert_eq!(std::fs::read(&answers).unwrap(), before, "answers are recalled");

        let lengths = ablate_short(&run, &workshop, 2).unwrap();
        assert_eq!(lengths.iter().map(|length| length.steps).collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
        assert!(run.file("ablate-short.json").exists() && run.file("ablate-sinusoidal.json").exists());
    }
}
