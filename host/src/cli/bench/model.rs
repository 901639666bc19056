//! `releq bench model`: a model on a board, layer by layer.

use std::path::PathBuf;

use anyhow::Context;
use clap::{ArgGroup, Args};

use crate::bench::{Bench, ModelCost, random_network};
use crate::cli::board_choice::ReachedBoard;
use crate::pack::Target;
use crate::pack::layouts::USUAL_PERCENT_AT_MOST;
use crate::progress::Progress;
use crate::search::Assignment;

const EXAMPLES: &str = "Examples:
  releq bench model --model runs/demo/model.rlq
  releq bench model --network lenet --bits 1,1,1,1
  releq bench model --network resnet8 --bits 2 --board qemu-mps2-an385 --json";

/// Count a model's instructions, layer by layer
///
/// Runs a blob on a board with a few random inputs and prints instructions (cycles on a real board) of each layer and for
/// each multiply-accumulate, with working memory, stack, and how much the weights take beyond their bare bits.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true).args(["model", "network"]))]
pub(super) struct ModelArgs {
    /// The blob to run
    #[arg(long)]
    model: Option<PathBuf>,
    /// Pack this network of the zoo with random weights instead, as `releq pack` would: one of `releq networks`
    #[arg(long, requires = "bits")]
    network: Option<String>,
    /// Bits of each layer of --network, as in 2,1,1,3, or one number for all
    #[arg(long, conflicts_with = "model")]
    bits: Option<Assignment>,
    /// What all weights of --network may take beyond their bare bits, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = USUAL_PERCENT_AT_MOST)]
    weight_overhead: u32,
    #[command(flatten)]
    board: ReachedBoard,
    /// Random inputs to run; kernels take nearly the same path for every input, so a few tell
    #[arg(long, default_value = "3")]
    inputs: std::num::NonZeroUsize,
    /// Random weights and inputs follow from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Show the board's log
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: &ModelArgs) -> anyhow::Result<()> {
    let board = args.board.or_virtual()?;
    let model = match (&args.model, &args.network, &args.bits) {
        (Some(path), ..) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        (None, Some(network), Some(bits)) => {
            let target = Target { class: board.class(), percent_at_most: args.weight_overhead };
            random_network(network, bits, target, args.seed)?
        }
        _ => anyhow::bail!("name a blob with --model, or a network with --network and --bits"),
    };
    let cost = Bench::new(board, Progress::new(), args.verbose)?.model(&model, args.inputs.get(), args.seed)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&cost)?);
    } else {
        print(&cost);
    }
    anyhow::ensure!(cost.agrees_with_host, "the board's logits differ from the host's: its kernels are wrong");
    Ok(())
}

fn print(cost: &ModelCost) {
    let bits: Vec<String> = cost.bits.iter().map(ToString::to_string).collect();
    println!("{} at {} bits on {} ({})", cost.network, bits.join(","), cost.board, cost.core);
    println!(
        "{:<16}{:<11}{:>5}  {:<11}{:>13}{:>12}{:>9}",
        "layer", "kind", "bits", "layout", cost.unit, "MACs", "per MAC"
    );
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for layer in &cost.layers {
        println!(
            "{:<16}{:<11}{:>5}  {:<11}{:>13}{:>12}{:>9}",
            layer.name,
            layer.kind,
            or_none(layer.bits.map(|bits| bits.to_string())),
            layer.layout.as_deref().unwrap_or("-"),
            layer.instructions,
            layer.macs,
            or_none(layer.per_mac.map(|per_mac| format!("{per_mac:.2}"))),
        );
    }
    println!("{:<45}{:>13}{:>12}{:>9.2}", "an inference", cost.instructions_per_inference, cost.macs, cost.per_mac);
    println!(
        "arena {} bytes, stack {} bytes, model {} bytes, of which weights {} ({:+.1}% over their bare bits)",
        cost.arena_bytes,
        cost.stack_bytes,
        cost.blob_bytes,
        cost.weight_bytes,
        cost.weight_overhead * 100.0
    );
}
