//! `releq import`: a trained network from elsewhere.

use std::path::PathBuf;

use clap::Args;

use super::described::{self, Described};
use crate::compute::Devices;
use crate::network::{Weights, onnx};
use crate::progress::Progress;
use crate::run::RunConfig;
use crate::stages::{self, Import, Normalisation};

/// Start a run from a trained network: an ONNX file, or a description and safetensors weights
///
/// Makes the run's folder with the network's description (network.toml) and its weights (float.safetensors), evaluates it on
/// the validation images, and needs the original files no more. What is not supported in a file is listed in full.
/// docs/networks.md has the format of descriptions, the names of weights and the ONNX operators.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// An ONNX file of a plain CNN, in float
    #[arg(long, conflicts_with_all = ["network", "weights"], required_unless_present = "network")]
    onnx: Option<PathBuf>,
    /// The network: a description (.toml), or one of `releq networks`
    #[arg(long, requires = "weights")]
    network: Option<String>,
    /// Its weights, a safetensors file with LAYER.weight and so on
    #[arg(long, requires = "network")]
    weights: Option<PathBuf>,
    /// The data set, one of `releq data`, or folder:PATH (docs/data.md) [default: by the network's input]
    #[arg(long)]
    dataset: Option<String>,
    /// The network was trained on (pixel / 255 - MEAN) / STD: its mean, one number or one a channel
    #[arg(long, value_delimiter = ',', requires = "std")]
    mean: Vec<f32>,
    /// As --mean, the deviation; without both, the network takes pixels as releq's own training gives them
    #[arg(long, value_delimiter = ',', requires = "mean")]
    std: Vec<f32>,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    out: PathBuf,
    /// Where tensors live: cpu, cuda:0 or metal
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let normalisation =
        (!args.mean.is_empty()).then(|| Normalisation { mean: args.mean.clone(), std: args.std.clone() });
    let (graph, weights) = match (&args.onnx, &args.network, &args.weights) {
        (Some(path), ..) => {
            let imported = onnx::read(path)?;
            for note in &imported.notes {
                progress.say(format_args!("{:>12} {note}", "note"));
            }
            (imported.graph, imported.weights)
        }
        (None, Some(network), Some(weights)) => {
            let Described { graph, .. } = described::read(network)?;
            (graph, Weights::read_safetensors(weights)?)
        }
        _ => anyhow::bail!("name an ONNX file with --onnx, or --network and --weights"),
    };
    if normalisation.is_none() {
        progress.say(format_args!(
            "{:>12} no --mean and --std: the network is taken to know its pixels as releq's own training gives them",
            "note"
        ));
    }
    let dataset = crate::data::resolved(&described::dataset_for(&graph, args.dataset.as_deref())?)?;
    let mut config = RunConfig::of(stages::files::NETWORK, &dataset);
    config.seed = args.seed.unwrap_or(config.seed);
    let import = Import { graph, weights, normalisation };
    stages::import(&args.out, config, import, Devices::parse(&args.device)?, progress)?;
    println!("next: releq search --run {}", args.out.display());
    Ok(())
}
