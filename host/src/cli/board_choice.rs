//! Which board a command is for: one of `boards/`, or a bare chip that probe-rs knows.

use clap::Args;

use crate::device::chip::{self, ChipOptions};
use crate::device::probe::ProbeChoice;
use crate::device::serial::{self, PortChoice};
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

/// A serial port in place of a debug probe.
#[derive(Args, Clone, Debug)]
struct PortArgs {
    /// Reach a real board by this serial port, as in /dev/ttyACM0 or COM3, and not by a debug probe. Nothing is flashed: the
    /// board runs an image built with --uart already, or firmware of yours that serves releq's requests (docs/boards.md).
    /// Without --board it is asked for its name
    #[arg(long, conflicts_with_all = ["chip", "probe"])]
    port: Option<String>,
    /// Bits a second on --port [default: as board.toml says, mostly 115200]
    #[arg(long, requires = "port")]
    baud: Option<u32>,
}

impl PortArgs {
    /// The board that is reached: the one that was named, or the one at the port, or none.
    fn reach(&self, named: Option<Board>) -> anyhow::Result<Option<Board>> {
        let Some(path) = self.port.clone() else { return Ok(named) };
        let port = PortChoice { path, baud: self.baud };
        let board = match named {
            Some(board) => board,
            None => board::by_name(&serial::who(&port)?)?,
        };
        Ok(Some(board.on_port(port)?))
    }
}

/// A board or a chip, behind its probe or on a serial port.
#[derive(Args, Clone, Debug)]
pub(super) struct ReachedBoard {
    #[command(flatten)]
    choice: BoardChoice,
    #[command(flatten)]
    port: PortArgs,
}

impl ReachedBoard {
    /// The board that was named, the one at the port, or a virtual Cortex-M4.
    pub(super) fn or_virtual(&self) -> anyhow::Result<Board> {
        match self.port.reach(self.choice.named()?)? {
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
    #[command(flatten)]
    port: PortArgs,
}

impl BoardsChoice {
    /// The boards that were named, or a virtual Cortex-M4.
    pub(super) fn or_virtual(&self) -> anyhow::Result<Vec<Board>> {
        if let Some(chip) = self.on_desk.chip()? {
            return Ok(vec![chip]);
        }
        if let [] | [_] = self.board.as_slice() {
            let named = self.board.first().map(|name| board::by_name(name)).transpose()?;
            if let Some(reached) = self.port.reach(named)? {
                return Ok(vec![self.on_desk.on_probe(reached)]);
            }
            return Ok(vec![board::by_name(VIRTUAL)?]);
        }
        anyhow::ensure!(self.port.port.is_none(), "a --port has one board at its end; name one with --board");
        self.board.iter().map(|name| Ok(self.on_desk.on_probe(board::by_name(name)?))).collect()
    }
}
