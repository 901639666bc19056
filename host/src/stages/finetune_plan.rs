//! Which assignments get a long fine-tune, in which order: of those that the search evaluated, and of neighbours of what can be
//! trusted to keep the bound, which are fine-tuned shortly for it.

use serde::Serialize;

use super::oracle::{self, Site};
use super::{StageError, Workshop};
use crate::run::{RunFolder, Tried};
use crate::search::{self, AccuracyOracle, Assignment, Belief, Evaluated, Trials};

/// Neighbours that are fine-tuned side by side.
const AT_ONCE: usize = 4;

/// Assignments in the order in which they are to be fine-tuned.
pub(super) enum Plan {
    /// One that the user gave.
    Given(Option<Assignment>),
    /// The search's, until the cheapest is known that can be expected to keep the bound.
    Searched(Box<Searched>),
}

/// Long fine-tunes of what a search has found.
pub(super) struct Searched {
    trials: Trials,
    /// Trials that may still be made.
    left: usize,
    /// What is known from short fine-tunes.
    evaluated: Vec<Evaluated>,
    site: Site,
    /// Short fine-tunes before each trial.
    refinements: usize,
}

#[derive(Serialize)]
struct Refined<'a> {
    around: &'a Assignment,
    evaluated: &'a [Evaluated],
}

impl Plan {
    pub(super) fn of(run: &RunFolder, workshop: &Workshop, bits: Option<&Assignment>) -> Result<Self, StageError> {
        if let Some(bits) = bits {
            return Ok(Self::Given(Some(bits.clone())));
        }
        let found = super::search::load(run)?;
        let config = run.config();
        let candidates = search::smoothed(&found.evaluated, found.float_accuracy, config.search.reward);
        let images = workshop.validation.images.len();
        let trials = Trials::new(&candidates, found.float_accuracy, images, config.max_loss_points);
        Ok(Self::Searched(Box::new(Searched {
            trials,
            left: config.candidates.max(1),
            evaluated: found.evaluated,
            site: oracle::open(run, workshop)?,
            // What polishes a search also polishes what is made of it.
            refinements: if config.search.polish { config.search.episodes / 10 } else { 0 },
        })))
    }

    /// The next assignment to fine-tune at length; before that, neighbours of the best so far shortly.
    pub(super) fn next(&mut self, run: &mut RunFolder, workshop: &Workshop) -> Result<Option<Assignment>, StageError> {
        match self {
            Self::Given(bits) => Ok(bits.take()),
            Self::Searched(searched) if searched.left == 0 => Ok(None),
            Self::Searched(searched) => {
                searched.refine(run, workshop)?;
                searched.left -= 1;
                Ok(searched.trials.next().cloned())
            }
        }
    }

    /// Takes note of the points that an assignment has lost, or that it diverged.
    pub(super) fn note(&mut self, bits: &Assignment, loss_points: Option<f64>) {
        if let Self::Searched(searched) = self {
            searched.trials.note(bits, loss_points);
        }
    }

    /// What an assignment is believed to lose by all that was tried.
    pub(super) fn belief(&self, bits: &Assignment) -> Option<Belief> {
        match self {
            Self::Given(_) => None,
            Self::Searched(searched) => searched.trials.belief(bits),
        }
    }

    /// Of the assignments tried the one to take, and whether it can be trusted to keep the bound.
    pub(super) fn chosen(&self, tried: &[Tried], bound_points: f64) -> Option<(Assignment, bool)> {
        match self {
            Self::Given(_) => {
                let only = tried.first().filter(|tried| tried.validation_accuracy.is_some())?;
                Some((only.bits.clone(), only.loss_points.is_some_and(|loss| search::keeps(loss, bound_points))))
            }
            Self::Searched(searched) => searched.trials.chosen().map(|(bits, _, trusted)| (bits.clone(), trusted)),
        }
    }
}

impl Searched {
    /// Fine-tunes cheaper neighbours of the cheapest trusted assignment shortly, as far as they promise to lift the frontier; those
    /// fine-tuned before are recalled.
    fn refine(&mut self, run: &mut RunFolder, workshop: &Workshop) -> Result<(), StageError> {
        if self.refinements == 0 {
            return Ok(());
        }
        let Some(around) = self.trials.trusted().cloned() else { return Ok(()) };
        let Site { oracle, layers, search } = &mut self.site;
        let float = oracle.float_accuracy();
        let wanted = search::refinements(search, layers, float, &self.evaluated, &around, self.refinements)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut task = workshop.progress.task("refine", wanted.len() as u64);
        let answers = oracle::ask(oracle, &wanted, AT_ONCE, &mut |done, _| {
            task.set(done as u64, || format!("around {around}"));
        })?;
        let mut new = search::judged(search, layers, float, &wanted.into_iter().zip(answers).collect())?;
        run.log.write("refine", &Refined { around: &around, evaluated: &new });
        task.finish(format_args!("{} neighbours of {around} fine-tuned shortly", new.len()));
        self.evaluated.append(&mut new);
        self.trials.renew(&search::smoothed(&self.evaluated, float, search.reward), float);
        Ok(())
    }
}
