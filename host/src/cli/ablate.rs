//! `releq ablate`: what each part of the search and of the fine-tunes is worth.

use clap::{Args, ValueEnum};

use super::stage::Existing;
use crate::search::ablation::Respect;
use crate::stages::{self, Ablations, FitEffect, FitRespect, ShortLength, percent};

/// Measure what each part of the search is worth: LSTM, state, clip, reward; and of the fine-tunes: length, recipe
///
/// Runs the run's search and searches that differ from it in one respect, without polish and over several seeds, from the run's
/// float network and by the same fine-tunes. `short`, `sinusoidal` and `recipe` fine-tune random assignments. All fine-tunes are
/// kept in the run's folder: a second call makes none again. Writes ablate.json, ablate-short.json or ablate-fits.json.
#[derive(Args, Debug)]
pub(super) struct AblateArgs {
    #[command(flatten)]
    existing: Existing,
    /// What to vary; may be repeated [default: lstm, features, clip and reward]
    #[arg(long, value_enum)]
    what: Vec<What>,
    /// How many seeds: of the agent, or of the fine-tunes of `sinusoidal` and `recipe`
    #[arg(long, default_value = "3")]
    seeds: std::num::NonZeroUsize,
    /// Episodes of each search [default: the run's]
    #[arg(long)]
    episodes: Option<std::num::NonZeroUsize>,
    /// Random assignments that `short`, `sinusoidal` and `recipe` fine-tune at length
    #[arg(long, default_value = "12")]
    samples: std::num::NonZeroUsize,
    /// Strengths of the regulariser that `sinusoidal` compares with none
    #[arg(long, value_delimiter = ',', default_value = "0.1,1", value_parser = positive)]
    strengths: Vec<f64>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Without the LSTM
    Lstm,
    /// Each number of the state removed in turn
    Features,
    /// PPO's clip at 0.1, 0.2 and 0.3
    Clip,
    /// The paper's shaped, ratio and difference rewards
    Reward,
    /// How well short fine-tunes of several lengths rank assignments as long ones do
    Short,
    /// What the sinusoidal regulariser does in short and in long fine-tunes
    Sinusoidal,
    /// What else a recipe can have, in short and in long fine-tunes: distillation, gradual bits, batch norms measured anew...
    Recipe,
}

fn positive(text: &str) -> Result<f64, String> {
    let strength: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if strength.is_finite() && strength > 0.0 { Ok(strength) } else { Err("must be above 0".to_owned()) }
}

pub(super) fn run(args: &AblateArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    let respect = |what: &What| match what {
        What::Lstm => Some(Respect::Lstm),
        What::Features => Some(Respect::Features),
        What::Clip => Some(Respect::Clip),
        What::Reward => Some(Respect::Reward),
        What::Short | What::Sinusoidal | What::Recipe => None,
    };
    let respects: Vec<Respect> = match args.what.is_empty() {
        true => Respect::ALL.to_vec(),
        false => args.what.iter().filter_map(respect).collect(),
    };
    if !respects.is_empty() {
        let episodes = args.episodes.map(std::num::NonZeroUsize::get);
        let ablations = stages::ablate(&mut run, &workshop, &respects, args.seeds.get(), episodes)?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&ablations)?);
        } else {
            print(&ablations);
        }
    }
    if args.what.contains(&What::Short) {
        let lengths = stages::ablate_short(&mut run, &workshop, args.samples.get())?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&lengths)?);
        } else {
            print_short(&lengths, args.samples.get());
        }
    }
    let of_fits = |what: &What| match what {
        What::Sinusoidal => Some(FitRespect::Sinusoidal(args.strengths.clone())),
        What::Recipe => Some(FitRespect::Recipe),
        _ => None,
    };
    let of_fits: Vec<FitRespect> = args.what.iter().filter_map(of_fits).collect();
    if !of_fits.is_empty() {
        let (samples, seeds) = (args.samples.get(), args.seeds.get());
        let effects = stages::ablate_fits(&mut run, &workshop, &of_fits, samples, seeds)?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&effects)?);
        } else {
            print_fits(&effects, samples, seeds);
        }
    }
    Ok(())
}

fn print(ablations: &Ablations) {
    println!(
        "{} on {}: {} episodes, {} seeds, no polish; validation accuracy after a short fine-tune, float {}",
        ablations.network,
        ablations.dataset,
        ablations.episodes,
        ablations.seeds,
        percent(ablations.float_accuracy)
    );
    println!(
        "{:<28}{:>14}{:>14}{:>15}{:>15}{:>18}{:>18}",
        "search", "mean bits", "points lost", "reward", "policy reward", "episodes to 95%", "seconds to 95%"
    );
    for variant in &ablations.variants {
        println!(
            "{:<28}{:>14}{:>14}{:>15}{:>15}{:>18}{:>18}",
            variant.name,
            variant.mean_bits.to_string(),
            variant.loss_points.to_string(),
            variant.reward.to_string(),
            variant.policy_reward.to_string(),
            variant.episodes_to_converge.whole(),
            variant.seconds_to_converge.whole()
        );
    }
}

fn print_short(lengths: &[ShortLength], samples: usize) {
    println!("short fine-tunes against the long one, over {samples} random assignments");
    println!("{:>8}{:>20}{:>16}{:>12}", "steps", "rank correlation", "mean accuracy", "seconds");
    for length in lengths {
        let correlation = length.rank_correlation.map_or_else(|| "-".to_owned(), |found| format!("{found:.3}"));
        println!("{:>8}{correlation:>20}{:>16}{:>12.2}", length.steps, percent(length.accuracy), length.seconds);
    }
}

fn print_fits(effects: &[FitEffect], samples: usize, seeds: usize) {
    println!("recipes of fine-tunes, over {samples} random assignments and {seeds} seeds of the fine-tune");
    println!("{:<10}{:<22}{:>16}{:>18}{:>10}", "fine-tune", "recipe", "accuracy, %", "points gained", "seconds");
    for effect in effects {
        println!(
            "{:<10}{:<22}{:>16}{:>18}{:>10.1}",
            effect.fine_tune,
            effect.name,
            effect.accuracy_percent.to_string(),
            effect.gain_points.to_string(),
            effect.seconds
        );
    }
}
