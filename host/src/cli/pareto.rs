//! `releq pareto`: what the search had to choose from.

use clap::Args;

use super::stage::Existing;
use crate::stages::{self, Pareto, percent};

/// Show the frontier of cost and accuracy over all assignments that the run has evaluated
///
/// Writes pareto.json, .csv, .svg and .png into the run's folder, and how likely each bitwidth of each layer was over the
/// search's episodes, as probabilities.csv, .svg and .png.
#[derive(Args, Debug)]
pub(super) struct ParetoArgs {
    #[command(flatten)]
    existing: Existing,
    /// First evaluate every assignment of the action set (at most 1,024); goes on where it was stopped
    #[arg(long)]
    exhaustive: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ParetoArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    let pareto = stages::pareto(&mut run, &workshop, args.exhaustive)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&pareto)?);
        return Ok(());
    }
    print(&pareto);
    println!("pictures: {}, {}", run.file("pareto.svg").display(), run.file("probabilities.svg").display());
    Ok(())
}

fn print(pareto: &Pareto) {
    println!(
        "{} on {}: {} assignments{}, validation accuracy after a short fine-tune, float {}",
        pareto.network,
        pareto.dataset,
        pareto.points.len(),
        if pareto.exhaustive { " (all there are)" } else { "" },
        percent(pareto.float_accuracy)
    );
    println!("{:<24}{:>10}{:>15}{:>8}{:>11}  frontier", "bits", "mean bits", "bits a weight", "cost", "accuracy");
    for point in pareto.points.iter().filter(|point| point.frontier || point.chosen) {
        println!(
            "{:<24}{:>10.2}{:>15.2}{:>8.3}{:>11}  {}{}{}",
            point.bits.to_string(),
            point.mean_bits,
            point.weighted_bits,
            point.cost,
            percent(point.accuracy),
            if point.frontier { "yes" } else { "no" },
            if point.accepted { "" } else { ", beyond the bound" },
            if point.chosen { ", the search's choice" } else { "" }
        );
    }
    match (pareto.cheapest(), pareto.chosen()) {
        (Some(cheapest), Some(chosen)) if chosen.cost > cheapest.cost + 1e-12 => println!(
            "the cheapest within the bound is {} ({:.2} bits): the search's choice costs {:.1}% more",
            cheapest.bits,
            cheapest.mean_bits,
            (chosen.cost / cheapest.cost - 1.0) * 100.0
        ),
        (Some(_), Some(_)) => println!("the search's choice is the cheapest within the bound"),
        (None, _) => println!("no assignment is within the bound"),
        (_, None) => println!("this run has not searched yet"),
    }
}
