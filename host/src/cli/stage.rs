//! `releq train`, `search`, `finetune` and `pack`: the steps of a run, one by one.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::device;
use crate::progress::Progress;
use crate::run::{RunConfig, RunFolder};
use crate::search::Assignment;
use crate::stages::{self, Workshop, percent};

/// Start a run: train a float network
///
/// Makes the run's folder with its config.toml, and float.safetensors in it. Settings that have no option here are in
/// config.toml: write one by hand, or take another run's, and pass it as --config.
#[derive(Args, Debug)]
pub(super) struct TrainArgs {
    /// The network, one of `releq networks`
    #[arg(long)]
    network: Option<String>,
    /// The data set, one of `releq data` [default: the network's usual one]
    #[arg(long)]
    dataset: Option<String>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<f64>,
    /// Largest learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Take all settings from this config.toml; options given here come on top
    #[arg(long)]
    config: Option<PathBuf>,
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    out: PathBuf,
    /// Where tensors live: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// A run that exists.
#[derive(Args, Debug)]
pub(super) struct Existing {
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    pub(super) run: PathBuf,
    /// Where tensors live: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(super) device: String,
}

impl Existing {
    pub(super) fn open(&self) -> anyhow::Result<(RunFolder, Workshop)> {
        let run = RunFolder::open(&self.run)?;
        let workshop = Workshop::open(&run, device::parse(&self.device)?, Progress::new())?;
        Ok((run, workshop))
    }
}

/// Search a bitwidth for each layer of a trained network
///
/// Reinforcement learning as in ReLeQ: an LSTM agent walks the layers and picks bitwidths; each assignment is judged by a
/// short fine-tune. Ctrl-C stops after the present batch; the same command goes on from there. Writes search.json.
/// Settings are in the run's config.toml, [search].
#[derive(Args, Debug)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    existing: Existing,
}

/// Fine-tune the search's choice at length, with 8-bit activations
///
/// Writes finetuned.safetensors and measures float and quantised accuracy on the test images.
#[derive(Args, Debug)]
pub(super) struct FinetuneArgs {
    #[command(flatten)]
    existing: Existing,
    /// Bits of each layer, as in 2,1,1,3, in place of the search's choice
    #[arg(long)]
    bits: Option<Assignment>,
}

/// Pack the fine-tuned network into a blob
///
/// Writes model.rlq and runs it over the test images on the host's integer engine, which is the device's own.
#[derive(Args, Debug)]
pub(super) struct PackArgs {
    #[command(flatten)]
    existing: Existing,
    /// The board whose kernels the weights are laid out for; others run the blob too, slower
    #[arg(long, default_value = "qemu-mps2-an386")]
    board: String,
}

pub(super) fn train(args: &TrainArgs) -> anyhow::Result<()> {
    let mut config = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            RunConfig::from_toml(&text).map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?
        }
        // A run that is there goes on with its own settings.
        None if args.out.join("config.toml").exists() => RunFolder::open(&args.out)?.config().clone(),
        None => RunConfig::default(),
    };
    if let Some(network) = &args.network {
        config.network.clone_from(network);
        if args.dataset.is_none() && args.config.is_none() {
            config.dataset = crate::network::zoo::usual_dataset(network).to_owned();
        }
    }
    if let Some(dataset) = &args.dataset {
        config.dataset.clone_from(dataset);
    }
    config.train.epochs = args.epochs.unwrap_or(config.train.epochs);
    config.train.lr = args.lr.unwrap_or(config.train.lr);
    config.seed = args.seed.unwrap_or(config.seed);
    crate::network::zoo::by_name(&config.network)?;
    crate::data::locate(&config.dataset)?;
    let mut run = RunFolder::create(&args.out, config)?;
    let workshop = Workshop::open(&run, device::parse(&args.device)?, Progress::new())?;
    stages::train(&mut run, &workshop)?;
    println!("next: releq search --run {}", args.out.display());
    Ok(())
}

pub(super) fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    let outcome = stages::search(&mut run, &workshop)?;
    println!("{:<12}{:>10}{:>12}{:>10}  within the bound", "bits", "mean", "accuracy", "reward");
    for found in outcome.evaluated.iter().take(10) {
        let accepted = if found.accepted { "yes" } else { "no" };
        println!(
            "{:<12}{:>10.2}{:>12}{:>10.3}  {accepted}",
            found.bits,
            found.bits.mean_bits(),
            percent(found.accuracy),
            found.reward
        );
    }
    println!("next: releq finetune --run {}", args.existing.run.display());
    Ok(())
}

pub(super) fn finetune(args: &FinetuneArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    stages::finetune(&mut run, &workshop, args.bits.as_ref())?;
    println!("next: releq pack --run {}", args.existing.run.display());
    Ok(())
}

pub(super) fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let board = crate::device::board::by_name(&args.board)?;
    let (mut run, workshop) = args.existing.open()?;
    stages::pack(&mut run, &workshop, crate::pack::CoreClass::of_core(&board.core, &board.target))?;
    let model = run.file(stages::files::MODEL);
    println!("next: releq inspect {0}, or releq measure --run {1}", model.display(), args.existing.run.display());
    Ok(())
}
