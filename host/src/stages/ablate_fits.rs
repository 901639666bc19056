//! What parts of the fine-tunes are worth: the same random assignments, fine-tuned by settings that differ in one respect.

use serde::{Deserialize, Serialize};

use super::{Spread, StageError, Workshop, files, oracle};
use crate::progress::Task;
use crate::run::{RunError, RunFolder, write_atomically};
use crate::search::ablation::rank_correlation;
use crate::search::{self, Assignment, Evaluation};
use crate::train::{FitConfig, Model};

/// Assignments that are fine-tuned side by side.
const AT_ONCE: usize = 2;

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

/// A fine-tune's settings with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct FitVariant {
    /// What is different.
    pub name: String,
    /// Makes the difference.
    pub settings: FitConfig,
}

/// A respect in which fine-tunes are varied.
#[derive(Clone, Debug, PartialEq)]
pub enum FitRespect {
    /// The sinusoidal regulariser at these strengths.
    Sinusoidal(Vec<f64>),
    /// What else a fine-tune's recipe can have: distillation, bits that fall gradually, batch
    /// norms measured anew, steps that learn faster or slower, weight decay.
    Recipe,
}

impl FitRespect {
    /// The fine-tunes that show what this respect is worth, each with one setting that `base` does not have.
    #[must_use]
    pub fn variants(&self, base: &FitConfig) -> Vec<FitVariant> {
        let vary = |name: String, change: &dyn Fn(&mut FitConfig)| {
            let mut settings = base.clone();
            change(&mut settings);
            FitVariant { name, settings }
        };
        let all = match self {
            Self::Sinusoidal(strengths) => strengths
                .iter()
                .map(|&strength| vary(format!("sinusoidal {strength}"), &|fit| fit.sinusoidal.strength = strength))
                .collect(),
            Self::Recipe => vec![
                vary("distillation 0".to_owned(), &|fit| fit.distillation.weight = 0.0),
                vary("distillation 0.5".to_owned(), &|fit| fit.distillation.weight = 0.5),
                vary("gradual 0.3".to_owned(), &|fit| fit.gradual = 0.3),
                vary("norm-batches 50".to_owned(), &|fit| fit.norm_batches = 50),
                vary("step-lr 1".to_owned(), &|fit| fit.step_lr = 1.0),
                vary("step-lr 3".to_owned(), &|fit| fit.step_lr = 3.0),
                vary("weight-decay 0.001".to_owned(), &|fit| fit.weight_decay = 1e-3),
            ],
        };
        all.into_iter().filter(|variant| variant.settings != *base).collect()
    }
}

/// What one change does in one kind of fine-tune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitEffect {
    /// The kind of fine-tune.
    pub fine_tune: Kind,
    /// The change; the first row of each kind is the run's own recipe.
    pub name: String,
    /// Validation accuracy in percent, the mean over the assignments: over seeds.
    pub accuracy_percent: Spread,
    /// Points gained on the same assignments, seeds and images by the run's own recipe, the mean over the assignments: over
    /// seeds.
    pub gain_points: Spread,
    /// Mean seconds of one fine-tune.
    pub seconds: f64,
}

/// A kind of fine-tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// As the search's, from the float network, which also teaches those that distil.
    Short,
    /// As that of the search's choice: the float reference teaches those that distil.
    Long,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Short => "short",
            Self::Long => "long",
        })
    }
}

/// Fine-tunes of assignments drawn once, whose answers are kept in files of the run's folder.
struct Fits<'a> {
    run: &'a RunFolder,
    workshop: &'a Workshop,
    drawn: Vec<Assignment>,
    /// Teaches long fine-tunes that distil.
    reference: Option<Model>,
    task: Task,
    done: u64,
}

impl<'a> Fits<'a> {
    /// Draws `samples` assignments, each to be fine-tuned in `fits` ways, of which these are long.
    fn draw<'b>(
        run: &'a mut RunFolder,
        workshop: &'a Workshop,
        samples: usize,
        fits: usize,
        mut long: impl Iterator<Item = &'b FitConfig>,
    ) -> Result<Self, StageError> {
        let reference = match long.any(|fit| fit.distillation.weight > 0.0) {
            true => Some(super::reference::load(run, workshop)?),
            false => None,
        };
        let site = oracle::open(run, workshop)?;
        let drawn = search::draw(&site.search, &site.layers, run.config().seed, samples)?;
        let task = workshop.progress.task("ablate", (fits * drawn.len()) as u64);
        Ok(Self { run, workshop, drawn, reference, task, done: 0 })
    }

    /// Fine-tunes all of them, or recalls from `file` what came of it.
    fn ask(
        &mut self,
        kind: Kind,
        fit: &FitConfig,
        seed: u64,
        file: &str,
        text: &str,
    ) -> Result<Vec<Evaluation>, StageError> {
        let taught = kind == Kind::Long && fit.distillation.weight > 0.0;
        let reference = self.reference.as_ref().filter(|_| taught);
        let mut oracle = oracle::with_fit(self.run, self.workshop, fit, seed, reference, file)?;
        let answers = oracle::ask(&mut oracle, &self.drawn, AT_ONCE, &mut |done, _| {
            self.task.set(self.done + done as u64, || text.to_owned());
        })?;
        self.done += answers.len() as u64;
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

/// Fine-tunes `samples` random assignments at length, and shortly with a quarter, half, once, twice and four
/// times the run's steps, and writes ablate-short.json. Answers are kept; a second call makes none again.
///
/// # Errors
/// [`StageError`].
pub fn ablate_short(run: &mut RunFolder, workshop: &Workshop, samples: usize) -> Result<Vec<ShortLength>, StageError> {
    let config = run.config().clone();
    let usual = config.short.steps_on(workshop.data.train.len());
    let lengths = [usual.div_ceil(4), usual.div_ceil(2), usual, usual * 2, usual * 4];
    let mut fits = Fits::draw(run, workshop, samples, lengths.len() + 1, std::iter::once(&config.finetune))?;
    let long = fits.ask(Kind::Long, &config.finetune, config.seed, "ablate-long.jsonl", "long")?;
    let long: Vec<f64> = long.iter().map(|answer| answer.accuracy).collect();
    let mut found = Vec::new();
    for steps in lengths {
        let fit = FitConfig { steps: Some(steps), ..config.short.clone() };
        let file = format!("ablate-short-{steps}.jsonl");
        let answers = fits.ask(Kind::Short, &fit, config.seed, &file, &format!("{steps} steps"))?;
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

/// Fine-tunes `samples` random assignments by the run's recipe and by those that differ from it in `respects`, shortly and at
/// length, over `seeds` seeds of the fine-tune, and writes
/// ablate-fits.json. Answers are kept; a second call makes none again.
///
/// # Errors
/// [`StageError`].
pub fn ablate_fits(
    run: &mut RunFolder,
    workshop: &Workshop,
    respects: &[FitRespect],
    samples: usize,
    seeds: usize,
) -> Result<Vec<FitEffect>, StageError> {
    let config = run.config().clone();
    let folder = run.file(files::ABLATE_FITS);
    std::fs::create_dir_all(&folder).map_err(|source| RunError::Io { action: "create", path: folder, source })?;
    let variants = |base: &FitConfig| {
        let mut all = vec![FitVariant { name: "the run's recipe".to_owned(), settings: base.clone() }];
        all.extend(respects.iter().flat_map(|respect| respect.variants(base)));
        all
    };
    let kinds = [(Kind::Short, variants(&config.short)), (Kind::Long, variants(&config.finetune))];
    let count: usize = kinds.iter().map(|(_, variants)| variants.len()).sum();
    let long = kinds[1].1.iter().map(|variant| &variant.settings);
    let mut fits = Fits::draw(run, workshop, samples, count * seeds, long)?;
    let mut found = Vec::new();
    for (kind, variants) in kinds {
        let mut own = Vec::new();
        for FitVariant { name, settings } in variants {
            let (mut accuracies, mut seconds) = (Vec::new(), Vec::new());
            for seed in (config.seed..).take(seeds) {
                let file = format!("{}/{kind}-{}-{seed}.jsonl", files::ABLATE_FITS, name.replace([' ', '\''], "-"));
                let answers = fits.ask(kind, &settings, seed, &file, &format!("{kind}, {name}, seed {seed}"))?;
                accuracies.push(mean(answers.iter().map(|answer| answer.accuracy * 100.0)));
                seconds.push(mean(answers.iter().map(|answer| answer.seconds)));
            }
            if own.is_empty() {
                own.clone_from(&accuracies);
            }
            let gains: Vec<f64> = accuracies.iter().zip(&own).map(|(varied, own)| varied - own).collect();
            found.push(FitEffect {
                fine_tune: kind,
                name,
                accuracy_percent: Spread::of(&accuracies),
                gain_points: Spread::of(&gains),
                seconds: mean(seconds.iter().copied()),
            });
        }
    }
    fits.finish("ablate-fits.json", &found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Devices;
    use crate::progress::Progress;
    use crate::run::RunConfig;
    use crate::train::{Distillation, checkpoint};

    #[test]
    fn the_same_fine_tunes_are_compared_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let short = FitConfig { steps: Some(4), batch: 16, ..FitConfig::default() };
        let finetune = FitConfig { distillation: Distillation { weight: 0.5, temperature: 2.0 }, ..short.clone() };
        let config = RunConfig { short, finetune, ..RunConfig::quick() };
        let mut run = RunFolder::create(&folder.path().join("run"), config).unwrap();
        let workshop = Workshop::open(&run, Devices::parse("cpu").unwrap(), Progress::silent()).unwrap();
        let float = Model::new(workshop.graph.clone(), 1, workshop.devices.first()).unwrap();
        checkpoint::save(&run.file(files::FLOAT), &float, None).unwrap();

        let respects = [FitRespect::Sinusoidal(vec![100.0])];
        let effects = ablate_fits(&mut run, &workshop, &respects, 2, 2).unwrap();
        let rows: Vec<_> = effects.iter().map(|effect| (effect.fine_tune, effect.name.as_str())).collect();
        let (own, varied) = ("the run's recipe", "sinusoidal 100");
        assert_eq!(rows, [(Kind::Short, own), (Kind::Short, varied), (Kind::Long, own), (Kind::Long, varied)]);
        for effect in &effects {
            assert_eq!(effect.gain_points == Spread::of(&[0.0, 0.0]), effect.name == own, "{effect:?}");
        }
        let answers = run.file(files::ABLATE_FITS).join("long-sinusoidal-100-1.jsonl");
        let before = std::fs::read(&answers).unwrap();
        assert_eq!(ablate_fits(&mut run, &workshop, &respects, 2, 2).unwrap(), effects);
        assert_eq!(std::fs::read(&answers).unwrap(), before, "answers are recalled");

        let lengths = ablate_short(&mut run, &workshop, 2).unwrap();
        assert_eq!(lengths.iter().map(|length| length.steps).collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
        assert!(run.file("ablate-short.json").exists() && run.file("ablate-fits.json").exists());
    }

    #[test]
    fn every_variant_of_a_recipe_differs_in_one_setting() {
        let base = RunConfig::default().finetune;
        let variants = FitRespect::Recipe.variants(&base);
        let base = serde_json::to_value(&base).unwrap();
        assert!(variants.len() >= 5, "{variants:?}");
        for variant in variants {
            let settings = serde_json::to_value(&variant.settings).unwrap();
            let keys = settings.as_object().unwrap().iter();
            assert_eq!(keys.filter(|&(key, value)| base[key] != *value).count(), 1, "{}", variant.name);
        }
    }
}
