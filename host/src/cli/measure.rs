//! `releq measure`: models on boards.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use releq_shared::blob::{AlignedCopy, Blob};

use super::board_choice::BoardsChoice;
use super::measured::{self, Measured};
use super::table;
use crate::data::{self, Dataset};
use crate::device::firmware::LogLevel;
use crate::device::{Board, DeviceError};
use crate::network::Shape;
use crate::progress::Progress;
use crate::run::{Accuracies, RunFolder, RunResult};
use crate::stages::{self, MeasureOptions, StageError, Supply, files};

/// Run models on boards: accuracy, instructions a layer, memory, agreement with the host
///
/// Builds a board's firmware, boots it (in QEMU for the qemu-… boards, else by flashing it through the board's debug probe), loads
/// the model over the link and streams test images to it. With --run and one board the results are added to the run's result.json.
/// Several boards and models make one table, a line each.
#[derive(Args, Debug)]
pub(super) struct MeasureArgs {
    /// The run whose model.rlq to measure
    #[arg(long, required_unless_present = "model", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Blobs to measure, of any run; several with commas between them, or by repeating the option
    #[arg(long, value_delimiter = ',')]
    model: Vec<PathBuf>,
    #[command(flatten)]
    boards: BoardsChoice,
    /// The most test images to run
    #[arg(long, default_value = "1000")]
    samples: NonZeroUsize,
    /// Current of the board while it runs, measured by you: gives the energy of an inference
    #[arg(long, requires = "volts", value_parser = positive)]
    milliamps: Option<f64>,
    /// Voltage of its supply
    #[arg(long, requires = "milliamps", value_parser = positive)]
    volts: Option<f64>,
    /// Print JSON instead of a table: an object, or for several boards or models an array of them
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV instead of a table, a line for each board and model
    #[arg(long)]
    csv: bool,
    /// Show the board's log
    #[arg(long, short)]
    verbose: bool,
    /// How much the board's firmware logs; shows the log, too
    #[arg(long, value_enum)]
    log_level: Option<LogLevel>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("give a number above zero, such as 3.3".to_owned()),
    }
}

pub(super) fn run(args: &MeasureArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let boards = args.boards.or_virtual()?;
    let supply = args.milliamps.zip(args.volts).map(|(milliamps, volts)| Supply { milliamps, volts });
    let options = MeasureOptions {
        samples: args.samples.get(),
        verbose: args.verbose || args.log_level.is_some(),
        log: args.log_level.unwrap_or_default(),
        supply,
    };
    let mut run = args.run.as_deref().map(RunFolder::open).transpose()?;
    let paths = match &run {
        Some(run) => vec![run.require(files::MODEL, "pack")?],
        None => args.model.clone(),
    };
    let single = paths.len() * boards.len() == 1;
    let mut all = Vec::new();
    for path in &paths {
        let model = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let aligned = AlignedCopy::new(&model);
        let blob = Blob::new_checked(&aligned).with_context(|| format!("{} is no sound model", path.display()))?;
        let data = images_for(&blob, run.as_ref(), progress)?;
        for board in &boards {
            let run = if single { run.as_mut() } else { None };
            match measure(board, &model, &data, options, run, progress) {
                Ok(accuracies_and_device) => all.push(outcome(path, board, &blob, Ok(accuracies_and_device))),
                // In a table of several the others still count.
                Err(StageError::Device(error @ DeviceError::DoesNotFit { .. })) if !single => {
                    all.push(outcome(path, board, &blob, Err(error.to_string())));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    match all.as_slice() {
        [one] if args.json => println!("{}", serde_json::to_string_pretty(one)?),
        several if args.json => println!("{}", serde_json::to_string_pretty(several)?),
        any if args.csv => print!("{}", measured::csv(any)),
        [one] => {
            if let Some(device) = &one.result.device {
                table::print_device(device, one.result.accuracy.device);
            }
        }
        several => print!("{}", measured::side_by_side(several)),
    }
    Ok(())
}

/// The images that a model was made for.
fn images_for(blob: &Blob<'_>, run: Option<&RunFolder>, progress: Progress) -> anyhow::Result<Dataset> {
    let dataset = blob.header().dataset;
    let embedded = run.is_some_and(|run| run.config().embedded_data);
    let location = if embedded { data::Location::Embedded } else { data::locate(dataset)? };
    let input = blob.header().input;
    let [height, width, channels] = [input.height, input.width, input.channels].map(usize::from);
    let input = Shape { channels, height, width };
    Ok(data::load_for(dataset, &location, blob.header().provenance.seed, input, progress)?)
}

type OnDevice = (f64, crate::run::DeviceResult);

fn measure(
    board: &Board,
    model: &[u8],
    data: &Dataset,
    options: MeasureOptions,
    run: Option<&mut RunFolder>,
    progress: Progress,
) -> Result<OnDevice, StageError> {
    let measured = match run {
        Some(run) => stages::measure(run, board, model, &data.test, options, progress)?,
        None => stages::measure_on(board, model, &data.test, options, progress)?.0,
    };
    Ok((measured.accuracy, measured.result))
}

fn outcome(path: &Path, board: &Board, blob: &Blob<'_>, outcome: Result<OnDevice, String>) -> Measured {
    let (on_device, refused) = match outcome {
        Ok(on_device) => (Some(on_device), None),
        Err(refused) => (None, Some(refused)),
    };
    let (accuracy, device) = on_device.unzip();
    let header = blob.header();
    Measured {
        model: path.to_owned(),
        board: board.name.clone(),
        refused,
        result: RunResult {
            network: header.network.to_owned(),
            dataset: header.dataset.to_owned(),
            seed: header.provenance.seed,
            bits: blob.ops().filter_map(|op| Some(op.weights()?.bits.get())).collect(),
            blob_bytes: Some(blob.as_bytes().len() as u64),
            accuracy: Accuracies { device: accuracy, ..Default::default() },
            device,
            ..RunResult::default()
        },
    }
}
