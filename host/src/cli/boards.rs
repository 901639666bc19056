//! `releq boards`: what can be measured on, and what fits there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use releq_shared::blob::{AlignedCopy, Blob};
use serde::Serialize;

use super::board_choice::ChipArgs;
use crate::device::board::{self, Kind};
use crate::device::{Board, DeviceError, Placement, chip};

/// List the boards with their cores and memory, and whether a model fits
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BoardsArgs {
    /// Say for each board where this blob goes, or how many bytes it is too large
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<BoardsCommand>,
}

#[derive(Debug, Subcommand)]
enum BoardsCommand {
    New(NewArgs),
}

/// Make a board of your own: a folder in boards/ from what probe-rs knows of its chip
#[derive(Args, Debug)]
struct NewArgs {
    /// The board's name: small letters, digits and -
    name: String,
    /// Its chip, as probe-rs calls it
    #[arg(long)]
    chip: String,
    #[command(flatten)]
    options: ChipArgs,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    board: Board,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Fit>,
}

/// How a model fits a board.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fit {
    Ram,
    Flash,
    Missing { bytes: u64, of: String },
}

impl Fit {
    fn of(board: &Board, blob: &Blob<'_>) -> Result<Self, DeviceError> {
        match Placement::choose(board, blob) {
            Ok(Placement::Ram) => Ok(Self::Ram),
            Ok(Placement::Flash) => Ok(Self::Flash),
            Err(DeviceError::DoesNotFit { what, needed, available, .. }) => {
                Ok(Self::Missing { bytes: needed - available, of: what.to_owned() })
            }
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ram => f.write_str("fits, in RAM or flash"),
            Self::Flash => f.write_str("fits, in flash"),
            Self::Missing { bytes, of } => write!(f, "{bytes} bytes of {of} missing"),
        }
    }
}

pub(super) fn run(args: &BoardsArgs) -> anyhow::Result<()> {
    match &args.command {
        Some(BoardsCommand::New(new)) => make(new),
        None => list(args.model.as_deref(), args.json),
    }
}

fn list(model: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let model = model.map(|path| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok((path, AlignedCopy::new(&bytes)))
    });
    let model = model.transpose()?;
    let blob = model
        .as_ref()
        .map(|(path, bytes)| Blob::new_checked(bytes).with_context(|| format!("{} is no sound model", path.display())));
    let blob = blob.transpose()?;
    let mut entries = Vec::new();
    for board in board::all()? {
        let model = blob.as_ref().map(|blob| Fit::of(&board, blob)).transpose()?;
        entries.push(Entry { board, model });
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
        return Ok(());
    }
    let last = if blob.is_some() { "model" } else { "description" };
    println!("{:<21}{:<15}{:<9}{:>10}{:>9}{:>7}  {last}", "board", "core", "kind", "flash KiB", "RAM KiB", "MHz");
    for Entry { board, model } in entries {
        println!(
            "{:<21}{:<15}{:<9}{:>10}{:>9}{:>7.1}  {}",
            board.name,
            board.core,
            kind(&board),
            board.flash_bytes / 1024,
            board.ram_bytes / 1024,
            f64::from(board.clock_hz) / 1e6,
            model.map_or(board.description, |fit| fit.to_string()),
        );
    }
    Ok(())
}

fn kind(board: &Board) -> &'static str {
    match board.kind {
        Kind::Emulated(_) => "QEMU",
        Kind::Real(_) => "real",
    }
}

fn make(args: &NewArgs) -> anyhow::Result<()> {
    let board = chip::scaffold(&args.name, &args.chip, &args.options.options())?;
    println!("  {}: board.toml and memory.x for {}", board.folder.display(), args.chip);
    println!(
        "  {} ({}), {} KiB of flash, {} KiB of RAM",
        board.core,
        board.target,
        board.flash_bytes / 1024,
        board.ram_bytes / 1024
    );
    println!("  check the clock in board.toml, then: releq flash --board {}", board.name);
    Ok(())
}
