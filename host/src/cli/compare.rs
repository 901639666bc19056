//! `releq compare`: does the search earn its keep?

use clap::Args;

use super::stage::Existing;
use crate::stages::{self, Comparison};

/// Compare the search with uniform bits, random search and greedy search, with as many fine-tunes each
///
/// All methods start from the run's float network, ask the same oracle (a short fine-tune, then the validation images) and
/// are judged by the run's reward. Says so when the search does not win. Writes compare.json into the run's folder.
#[derive(Args, Debug)]
pub(super) struct CompareArgs {
    #[command(flatten)]
    existing: Existing,
    /// How many times, each with another seed of the agent and of chance
    #[arg(long, default_value = "3")]
    seeds: std::num::NonZeroUsize,
    /// Also try every assignment, however many fine-tunes that takes (at most 1,024)
    #[arg(long)]
    exhaustive: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    let comparison = stages::compare(&mut run, &workshop, args.seeds.get(), args.exhaustive)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print(&comparison);
    }
    Ok(())
}

fn print(comparison: &Comparison) {
    let budgets: Vec<String> = comparison.budgets.iter().map(ToString::to_string).collect();
    println!(
        "{} on {}: validation accuracy after a short fine-tune, float {}; fine-tunes by seed: {}",
        comparison.network,
        comparison.dataset,
        stages::percent(comparison.float_accuracy),
        budgets.join(", ")
    );
    println!(
        "{:<12}{:>16}{:>16}{:>18}{:>14}  best of each seed",
        "method", "mean bits", "bits a weight", "points lost", "reward"
    );
    for method in &comparison.methods {
        let bits: Vec<String> = method.found.iter().map(|found| found.bits.to_string()).collect();
        println!(
            "{:<12}{:>16}{:>16}{:>18}{:>14.3}  {}",
            method.method,
            method.mean_bits.to_string(),
            method.weighted_bits.to_string(),
            method.loss_points.to_string(),
            method.reward.mean,
            bits.join("  ")
        );
    }
    match comparison.winner() {
        Some(winner) if winner.method == "releq" => println!("the search has the highest reward"),
        Some(winner) => println!("the search did not win: {} has the highest reward", winner.method),
        None => {}
    }
}
