//! `releq flash`: firmware and model onto a board on the desk.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use releq_shared::blob::{AlignedCopy, Blob};

use super::board_choice::BoardChoice;
use crate::device::firmware::{self, ImageLine, ImageOptions};
use crate::device::link::Patience;
use crate::device::placement::check_flash;
use crate::device::probe::{Probe, Rtt, attach};
use crate::device::{Link, start};
use crate::progress::Progress;
use crate::run::RunFolder;
use crate::stages::files;

const EXAMPLES: &str = "Examples:
  releq flash --board nucleo-f446re --run runs/mine
  releq flash --chip STM32L476RGTx --model model.rlq
  releq flash --board nrf52840-dk --model other.rlq --model-only
  releq flash --board nucleo-f446re --run runs/mine --uart && releq measure --run runs/mine --port /dev/ttyACM0";

/// Write firmware and a model into a real board's flash, through its debug probe
///
/// Both are read back after they are written. The model has a part of flash for itself, so another one can be flashed
/// without the firmware (--model-only). What is there already is not written again. At the end the board is started and
/// asked whether it accepts the model; with --uart the question is left to `releq measure --port`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct FlashArgs {
    #[command(flatten)]
    board: BoardChoice,
    /// The run whose model.rlq to flash
    #[arg(long, conflicts_with = "model")]
    run: Option<PathBuf>,
    /// The blob to flash, of any run; without one only the firmware is flashed
    #[arg(long)]
    model: Option<PathBuf>,
    /// Leave the firmware as it is
    #[arg(long)]
    model_only: bool,
    /// Flash the firmware whose link is the board's UART, for `releq measure --port`, in place of the one whose link is the probe
    #[arg(long)]
    uart: bool,
    /// Unlock a locked chip, which erases all of it
    #[arg(long)]
    unlock: bool,
    /// Show the board's log
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: &FlashArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let mut board =
        args.board.named()?.context("name a board of `releq boards` with --board, or a chip with --chip")?;
    if let crate::device::board::Kind::Real(chip) = &mut board.kind {
        chip.probe.unlock = args.unlock;
    }
    board.chip()?;
    let path = match &args.run {
        Some(run) => Some(RunFolder::open(run)?.require(files::MODEL, "pack")?),
        None => args.model.clone(),
    };
    let model = path.as_ref().map(|path| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let model = AlignedCopy::new(&bytes);
        let blob = Blob::new_checked(&model).with_context(|| format!("{} is no sound model", path.display()))?;
        check_flash(&board, &blob)?;
        anyhow::Ok(bytes)
    });
    let model = model.transpose()?;
    anyhow::ensure!(model.is_some() || !args.model_only, "name the model to flash with --model or --run");
    let line = ImageLine::uart_if(args.uart);
    let image = firmware::build_with(&board, ImageOptions { line, ..ImageOptions::default() }, progress)?;
    let mut probe = attach(&board)?;
    let written = (!args.model_only).then_some(&image);
    start::flash(&mut probe, &board, written, model.as_deref(), progress)?;
    if let (true, Some(uart)) = (args.uart, &board.chip()?.uart) {
        probe.reset_and_halt()?;
        probe.run()?;
        println!(
            "  {} runs, and answers on {} at {} bits a second: releq measure --port …",
            board.name, uart.pins, uart.baud
        );
        return Ok(());
    }
    let rtt = Rtt::start(probe, &image.bytes)?;
    let mut link = Link::new(rtt, Patience::default()).with_logs(&image.bytes, start::show_log(args.verbose));
    let hello = link.hello()?;
    println!("  {} is up: {}, firmware {}", board.name, hello.core, hello.version);
    if model.is_some() {
        let loaded = link.use_stored()?;
        println!("  it accepts the model: {} operations, {} bytes of working memory", loaded.ops, loaded.arena);
    }
    Ok(())
}
