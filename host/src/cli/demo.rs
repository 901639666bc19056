//! `releq demo`: the whole job.

use std::path::PathBuf;

use clap::Args;

use super::table;
use crate::compute::Devices;
use crate::device::board;
use crate::device::firmware::LogLevel;
use crate::progress::Progress;
use crate::run::{RunConfig, RunFolder, RunLock};
use crate::stages::{self, MeasureOptions, Workshop};

/// Do the whole job on LeNet and MNIST: train, search, fine-tune, pack, boot a board, measure
///
/// Full MNIST is used where it is at hand (RELEQ_DATA_DIR, or the cache that `releq data fetch mnist` fills), else the
/// 5,000 digits that come with the program. What is already done in the output folder is not done again, so an
/// interrupted demo goes on.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// A smoke run of under two minutes, on the embedded digits: its figures mean little
    #[arg(long)]
    quick: bool,
    /// The board to measure on, one of `releq boards`
    #[arg(long, default_value = "qemu-mps2-an386")]
    board: String,
    /// The most test images to run on the board [default: 1000, with --quick 40]
    #[arg(long)]
    samples: Option<std::num::NonZeroUsize>,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The run's folder [default: runs/demo, with --quick runs/demo-quick]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where tensors live: cpu, cuda:0 or metal; several GPUs (cuda:0,cuda:1) share a search
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Delete what an earlier demo left in the output folder
    #[arg(long)]
    fresh: bool,
    /// Show the board's log
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let board = board::by_name(&args.board)?;
    let compute = Devices::parse(&args.device)?;
    let config = RunConfig { seed: args.seed, ..if args.quick { RunConfig::quick() } else { RunConfig::default() } };
    let out =
        args.out.clone().unwrap_or_else(|| PathBuf::from(if args.quick { "runs/demo-quick" } else { "runs/demo" }));
    if args.fresh {
        remove_run(&out)?;
    }
    let mut run = RunFolder::create(&out, config)?;
    let workshop = Workshop::open(&run, compute, progress)?;
    stages::train(&mut run, &workshop)?;
    stages::search(&mut run, &workshop)?;
    stages::finetune(&mut run, &workshop, None)?;
    let blob = stages::pack(&mut run, &workshop, board.class())?;
    let samples = args.samples.map_or(if args.quick { 40 } else { 1000 }, std::num::NonZeroUsize::get);
    let options = MeasureOptions { samples, verbose: args.verbose, log: LogLevel::default(), supply: None };
    stages::measure(&mut run, &board, &blob, &workshop.data.test, options, progress)?;
    table::print(&run.result);
    println!("\nresults: {}", run.file("result.json").display());
    Ok(())
}

/// Deletes a run, and nothing that is no run.
fn remove_run(out: &std::path::Path) -> anyhow::Result<()> {
    if !out.exists() {
        return Ok(());
    }
    anyhow::ensure!(
        out.join("config.toml").exists() || out.read_dir()?.next().is_none(),
        "{} holds no run, so --fresh will not delete it; choose another --out",
        out.display()
    );
    // Not while another process works in it.
    let lock = RunLock::take(out)?;
    std::fs::remove_dir_all(out)?;
    drop(lock);
    Ok(())
}
