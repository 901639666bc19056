//! `releq bench`: measurements of this machine and of boards.

mod train;

use clap::{Args, Subcommand};

/// Measure: training steps on this machine
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Train(train::TrainBenchArgs),
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.bench {
        Bench::Train(args) => train::run(args),
    }
}
