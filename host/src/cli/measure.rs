//! `releq measure`: a model on a board.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use releq_shared::blob::{AlignedCopy, Blob};

use super::board_choice::BoardChoice;
use super::table;
use crate::data;
use crate::progress::Progress;
use crate::run::{RunFolder, RunResult};
use crate::stages::{self, MeasureOptions, files};

/// Run a model on a board: accuracy, instructions a layer, memory, agreement with the host
///
/// Builds the board's firmware, boots it (in QEMU for the qemu-… boards, else by flashing it through the board's debug probe),
/// loads the model over the link and streams test images to it. With --run the results are added to the run's result.json.
#[derive(Args, Debug)]
pub(super) struct MeasureArgs {
    /// The run whose model.rlq to measure
    #[arg(long, required_unless_present = "model", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// A blob to measure, of any run
    #[arg(long)]
    model: Option<PathBuf>,
    #[command(flatten)]
    board: BoardChoice,
    /// The most test images to run
    #[arg(long, default_value = "1000")]
    samples: std::num::NonZeroUsize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Show the board's log
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: &MeasureArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let board = args.board.or_virtual()?;
    let options = MeasureOptions { samples: args.samples.get(), verbose: args.verbose };
    let mut run = args.run.as_deref().map(RunFolder::open).transpose()?;
    let path = match (&run, &args.model) {
        (Some(run), _) => run.require(files::MODEL, "pack")?,
        (None, Some(model)) => model.clone(),
        (None, None) => anyhow::bail!("name a run with --run or a blob with --model"),
    };
    let model = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let aligned = AlignedCopy::new(&model);
    let blob = Blob::new_checked(&aligned).with_context(|| format!("{} is no sound model", path.display()))?;
    let dataset = blob.header().dataset.to_owned();
    let embedded = run.as_ref().is_some_and(|run| run.config().embedded_data);
    let location = if embedded { data::Location::Embedded } else { data::locate(&dataset)? };
    let input = blob.header().input;
    let [height, width, channels] = [input.height, input.width, input.channels].map(|size| size as usize);
    let input = crate::network::Shape { channels, height, width };
    let data = data::load_for(&dataset, &location, blob.header().provenance.seed, input, progress)?;
    let measured = match &mut run {
        Some(run) => stages::measure(run, &board, &model, &data.test, options, progress)?,
        None => stages::measure_on(&board, &model, &data.test, options, progress)?.0,
    };
    if args.json {
        let accuracy = crate::run::Accuracies { device: Some(measured.accuracy), ..Default::default() };
        let result = RunResult {
            network: blob.header().network.to_owned(),
            dataset,
            seed: blob.header().provenance.seed,
            bits: blob.ops().filter_map(|op| Some(op.weights()?.bits.get())).collect(),
            blob_bytes: Some(model.len() as u64),
            accuracy,
            device: Some(measured.result),
            ..RunResult::default()
        };
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        table::print_device(&measured.result, Some(measured.accuracy));
    }
    Ok(())
}
