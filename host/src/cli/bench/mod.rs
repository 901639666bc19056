//! `releq bench`: what models and kernels cost on a board, and training steps on this machine.

mod kernels;
mod model;
mod train;

use clap::{Args, Subcommand};

/// Measure what a model or a kernel costs on a board, and a training step on this machine
///
/// The qemu-… boards count instructions, exactly: the same model gives the same figure on every machine, so a figure can be
/// compared with yesterday's, or with another library's, to the last digit. They are no cycles; a real core takes a little
/// more than one cycle an instruction. Nothing here needs a trained network.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Model(model::ModelArgs),
    Kernels(kernels::KernelsArgs),
    Train(train::TrainBenchArgs),
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.bench {
        Bench::Model(args) => model::run(args),
        Bench::Kernels(args) => kernels::run(args),
        Bench::Train(args) => train::run(args),
    }
}
