//! `releq train`, `search`, `finetune` and `pack`: the steps of a run, one by one.

use std::path::PathBuf;

use clap::Args;

use super::new_run::NewRun;
use crate::compute::Devices;
use crate::pack::layouts::USUAL_PERCENT_AT_MOST;
use crate::pack::{CoreClass, Target};
use crate::progress::Progress;
use crate::run::RunFolder;
use crate::search::Assignment;
use crate::stages::{self, Workshop, percent};

/// Start a run: train a float network
///
/// Makes the run's folder with its config.toml, and float.safetensors in it. Settings that have no option here are in
/// config.toml: write one by hand, or take another run's, and pass it as --config.
#[derive(Args, Debug)]
pub(super) struct TrainArgs {
    #[command(flatten)]
    new: NewRun,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    out: PathBuf,
    /// Where tensors live: cpu, cuda:0 or metal; several GPUs (cuda:0,cuda:1) share a search
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// A run that exists.
#[derive(Args, Debug)]
pub(super) struct Existing {
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    pub(super) run: PathBuf,
    /// Where tensors live: cpu, cuda:0 or metal; several GPUs (cuda:0,cuda:1) share a search
    #[arg(long, default_value = "cpu")]
    pub(super) device: String,
}

impl Existing {
    pub(super) fn open(&self) -> anyhow::Result<(RunFolder, Workshop)> {
        let run = RunFolder::open(&self.run)?;
        let workshop = Workshop::open(&run, Devices::parse(&self.device)?, Progress::new())?;
        Ok((run, workshop))
    }
}

/// Search a bitwidth for each layer of a trained network
///
/// Reinforcement learning as in ReLeQ: an LSTM agent walks the layers and picks bitwidths; each assignment is judged by a
/// short fine-tune. Ctrl-C stops after the present batch; the same command goes on from there. Writes search.json.
/// All settings are in the run's config.toml, [search]; options here change the most used of them.
#[derive(Args, Debug)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    existing: Existing,
    #[command(flatten)]
    options: super::search_options::SearchOptions,
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

/// Train the float network on as long as the quantised one was, for a fair comparison
///
/// A long fine-tune is further training. This continues the float network by the settings of [finetune] without quantisation,
/// and measures on the validation and test images what quantisation costs against it. Writes reference.safetensors.
#[derive(Args, Debug)]
pub(super) struct ReferenceArgs {
    #[command(flatten)]
    existing: Existing,
}

/// Pack the fine-tuned network into a blob
///
/// Writes model.rlq and runs it over the test images on the host's integer engine, which is the device's own.
#[derive(Args, Debug)]
pub(super) struct PackArgs {
    #[command(flatten)]
    existing: Existing,
    /// The board whose kernels the weights are laid out for, as `releq bench kernels` measured them; other boards run
    /// the blob too, slower
    #[arg(long, default_value = "qemu-mps2-an386")]
    board: String,
    /// For no board in particular: plain bit streams, the least bytes and fast nowhere
    #[arg(long, conflicts_with = "board")]
    portable: bool,
    /// What all weights may take beyond their bare bits, in percent: more room, faster layouts where rows are short
    #[arg(long, value_name = "PERCENT", default_value_t = USUAL_PERCENT_AT_MOST)]
    weight_overhead: u32,
}

pub(super) fn train(args: &TrainArgs) -> anyhow::Result<()> {
    let mut run = args.new.start(&args.out, args.seed)?;
    let workshop = Workshop::open(&run, Devices::parse(&args.device)?, Progress::new())?;
    stages::train(&mut run, &workshop)?;
    println!("next: releq search --run {}", args.out.display());
    Ok(())
}

pub(super) fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    args.options.prepare_for(&mut run, &workshop)?;
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

pub(super) fn reference(args: &ReferenceArgs) -> anyhow::Result<()> {
    let (mut run, workshop) = args.existing.open()?;
    Ok(stages::reference(&mut run, &workshop)?)
}

pub(super) fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let class = match args.portable {
        true => CoreClass::Portable,
        false => crate::device::board::by_name(&args.board)?.class(),
    };
    let (mut run, workshop) = args.existing.open()?;
    stages::pack(&mut run, &workshop, Target { class, percent_at_most: args.weight_overhead })?;
    let model = run.file(stages::files::MODEL);
    println!("next: releq inspect {0}, or releq measure --run {1}", model.display(), args.existing.run.display());
    Ok(())
}
