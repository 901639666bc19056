//! `releq boards`: what can be measured on.

use clap::Args;

use crate::device::board;

/// List the boards with their cores and memory
#[derive(Args, Debug)]
pub(super) struct BoardsArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BoardsArgs) -> anyhow::Result<()> {
    let boards = board::all()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&boards)?);
        return Ok(());
    }
    println!("{:<20}{:<13}{:>10}{:>10}{:>9}  description", "board", "core", "flash KiB", "RAM KiB", "MHz");
    for board in boards {
        println!(
            "{:<20}{:<13}{:>10}{:>10}{:>9.0}  {}",
            board.name,
            board.core,
            board.flash_bytes / 1024,
            board.ram_bytes / 1024,
            f64::from(board.clock_hz) / 1e6,
            board.description
        );
    }
    Ok(())
}
