//! `releq study`: the whole method over several seeds.

use std::path::PathBuf;

use clap::Args;

use super::new_run::NewRun;
use super::search_options::SearchOptions;
use crate::compute::Devices;
use crate::device::board;
use crate::pack::Target;
use crate::pack::layouts::USUAL_PERCENT_AT_MOST;
use crate::progress::Progress;
use crate::run::write_atomically;
use crate::stages::{self, Study, Workshop};

/// Train, search, fine-tune and pack over several seeds, and tell what quantisation cost in one table
///
/// Each seed is a run of its own (seed-1, seed-2, ...) with its own float network, split of the images, agent and fine-tunes.
/// What is lost counts on the test images against a float network of the same total training, which each run trains too.
/// What is done is not done again: a study that was stopped goes on. Writes study.json and study.md.
#[derive(Args, Debug)]
pub(super) struct StudyArgs {
    #[command(flatten)]
    new: NewRun,
    /// How many seeds
    #[arg(long, default_value = "3")]
    seeds: std::num::NonZeroU64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// The board whose kernels the weights are laid out for
    #[arg(long, default_value = "qemu-mps2-an386")]
    board: String,
    /// The folder of the runs [default: studies/NETWORK]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where tensors live: cpu, cuda:0 or metal; several GPUs (cuda:0,cuda:1) share a search
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    search: SearchOptions,
}

pub(super) fn run(args: &StudyArgs) -> anyhow::Result<()> {
    let board = board::by_name(&args.board)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("studies").join(args.new.name()));
    let progress = Progress::new();
    let mut results = Vec::new();
    for seed in args.first_seed..args.first_seed + args.seeds.get() {
        progress.say(format_args!("{:>12} {seed}", "seed"));
        let mut run = args.new.start(&out.join(format!("seed-{seed}")), Some(seed))?;
        let workshop = Workshop::open(&run, Devices::parse(&args.device)?, progress)?;
        args.search.prepare_for(&mut run, &workshop)?;
        stages::train(&mut run, &workshop)?;
        stages::search(&mut run, &workshop)?;
        // First the float network of the same training: the fine-tune is to keep the accuracy of that one.
        stages::reference(&mut run, &workshop)?;
        stages::finetune(&mut run, &workshop, None)?;
        stages::pack(&mut run, &workshop, Target { class: board.class(), percent_at_most: USUAL_PERCENT_AT_MOST })?;
        results.push(run.result);
        // After every seed, so that there is a table of what is done.
        let study = Study::of(&results);
        write_atomically(&out.join("study.json"), serde_json::to_string_pretty(&study)?.as_bytes())?;
        write_atomically(&out.join("study.md"), study.markdown().as_bytes())?;
    }
    let study = Study::of(&results);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&study)?);
    } else {
        println!("\n{study}\ntable: {}", out.join("study.md").display());
    }
    Ok(())
}
