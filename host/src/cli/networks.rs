//! `releq networks`: the zoo.

use clap::Args;
use serde::Serialize;

use crate::network::{describe, zoo};

/// List the networks of the zoo with their layers, weights and multiply-accumulates
#[derive(Args, Debug)]
pub(super) struct NetworksArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Print the description of one network, to start one of your own from
    #[arg(long, value_name = "NETWORK", conflicts_with = "json")]
    export: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    usual_dataset: &'static str,
    weights: usize,
    macs: usize,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    out_channels: usize,
    in_channels: usize,
    kernel: (usize, usize),
    weights: usize,
    macs: usize,
}

pub(super) fn run(args: &NetworksArgs) -> anyhow::Result<()> {
    if let Some(name) = &args.export {
        print!("{}", describe::to_toml(&zoo::by_name(name)?));
        return Ok(());
    }
    let mut entries = Vec::new();
    for name in zoo::NAMES {
        let layers: Vec<Layer> = zoo::by_name(name)?
            .weight_layers()
            .into_iter()
            .map(|layer| Layer {
                name: layer.name,
                out_channels: layer.out_channels,
                in_channels: layer.in_channels,
                kernel: layer.kernel,
                weights: layer.weights,
                macs: layer.macs,
            })
            .collect();
        let weights = layers.iter().map(|layer| layer.weights).sum();
        let macs = layers.iter().map(|layer| layer.macs).sum();
        entries.push(Entry { name, usual_dataset: zoo::usual_dataset(name), weights, macs, layers });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
        return Ok(());
    }
    println!("{:<12}{:<10}{:>8}{:>12}{:>14}", "network", "data", "layers", "weights", "MACs");
    for Entry { name, usual_dataset, weights, macs, layers } in &entries {
        println!("{name:<12}{usual_dataset:<10}{:>8}{weights:>12}{macs:>14}", layers.len());
    }
    Ok(())
}
