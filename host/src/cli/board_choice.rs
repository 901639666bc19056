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

/// A bare chip in place of a board, and the probe that a real one hangs on.
#[derive(Args, Clone, Debug)]
struct OnDesk {
    /// In place of a board, a chip that probe-rs knows, as in STM32L476RGTx
    #[arg(long, conflicts_with = "board")]
    chip: Option<String>,
    #[command(flatten)]
    chip_args: ChipArgs,
    /// The serial number of the debug probe, where several are plugged in
    #[arg(long, value_name = "SERIAL")]
    probe: Option<String>,
}

impl OnDesk {
    fn on_probe(&self, board: Board) -> Board {
        board.on_probe(ProbeChoice { serial: self.probe.clone(), unlock: false })
    }

    /// The chip, if one was named.
    fn chip(&self) -> anyhow::Result<Option<Board>> {
        let board = self.chip.as_deref().map(|chip| chip::board(chip, &self.chip_args.options())).transpose()?;
        Ok(board.map(|board| self.on_probe(board)))
    }
}

/// A board or a chip.
#[derive(Args, Clone, Debug)]
pub(super) struct BoardChoice {
    /// The board, one of `releq boards`
    #[arg(long)]
    board: Option<String>,
    #[command(flatten)]
    on_desk: OnDesk,
}

impl BoardChoice {
    /// The board that was named, if one was.
    pub(super) fn named(&self) -> anyhow::Result<Option<Board>> {
        match &self.board {
            Some(name) => Ok(Some(self.on_desk.on_probe(board::by_name(name)?))),
            None => self.on_desk.chip(),
        }
    }

    /// The board that was named, or a virtual Cortex-M4.
    pub(super) fn or_virtual(&self) -> anyhow::Result<Board> {
        match self.named()? {
            Some(board) => Ok(board),
            None => Ok(board::by_name(VIRTUAL)?),
        }
    }
}

/// Boards, or a chip.
#[derive(Args, Clone, Debug)]
pub(super) struct BoardsChoice {
    /// The boards, of those that `releq boards` lists; several with commas between them, or by repeating the option
    /// [default: qemu-mps2-an386]
    #[arg(long, value_delimiter = ',')]
    board: Vec<String>,
    #[command(flatten)]
    on_desk: OnDesk,
}

impl BoardsChoice {
    /// The boards that were named, or a virtual Cortex-M4.
    pub(super) fn or_virtual(&self) -> anyhow::Result<Vec<Board>> {
        if let Some(chip) = self.on_desk.chip()? {
            return Ok(vec![chip]);
        }
        if self.board.is_empty() {
            return Ok(vec![board::by_name(VIRTUAL)?]);
        }
        self.board.iter().map(|name| Ok(self.on_desk.on_probe(board::by_name(name)?))).collect()
    }
}
