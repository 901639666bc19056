//! Which board a command is for: one of `boards/`, or a bare chip that probe-rs knows.

use clap::Args;

use crate::device::chip::{self, ChipOptions};
use crate::device::probe::ProbeChoice;
use crate::device::{Board, board};

/// The board of commands that run without one.
const VIRTUAL: &str = "qemu-mps2-an386";

/// What a chip's name does not tell.
#[derive(Args, Clone, Debug)]
pub(super) struct ChipArgs {
    /// The chip's core, as in cortex-m23, where it is not the usual one of its architecture
    #[arg(long, value_name = "CORE")]
    core: Option<String>,
    /// The chip's clock after a reset, in hertz, for estimates in milliseconds
    #[arg(long, value_name = "HERTZ")]
    clock_hz: Option<u32>,
}

impl ChipArgs {
    pub(super) fn options(&self) -> ChipOptions {
        ChipOptions { core: self.core.clone(), clock_hz: self.clock_hz.unwrap_or_default() }
    }
}

/// A board or a chip.
#[derive(Args, Clone, Debug)]
pub(super) struct BoardChoice {
    /// The board, one of `releq boards`
    #[arg(long)]
    board: Option<String>,
    /// In place of a board, a chip that probe-rs knows, as in STM32L476RGTx
    #[arg(long, conflicts_with = "board")]
    chip: Option<String>,
    #[command(flatten)]
    chip_args: ChipArgs,
    /// The serial number of the debug probe, where several are plugged in
    #[arg(long, value_name = "SERIAL")]
    probe: Option<String>,
}

impl BoardChoice {
    /// The board that was named, if one was.
    pub(super) fn named(&self) -> anyhow::Result<Option<Board>> {
        let options = self.chip_args.options();
        let board = match (&self.board, &self.chip) {
            (Some(name), _) => board::by_name(name)?,
            (None, Some(chip)) => chip::board(chip, &options)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(board.on_probe(ProbeChoice { serial: self.probe.clone(), unlock: false })))
    }

    /// The board that was named, or a virtual Cortex-M4.
    pub(super) fn or_virtual(&self) -> anyhow::Result<Board> {
        match self.named()? {
            Some(board) => Ok(board),
            None => Ok(board::by_name(VIRTUAL)?),
        }
    }
}
