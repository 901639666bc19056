//! `releq firmware`: an image for one board, and for one model if one is named.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use releq_shared::blob::{AlignedCopy, Blob};
use serde::Serialize;

use super::board_choice::BoardChoice;
use crate::device::firmware::{self, ImageLine, ImageOptions};
use crate::device::flash::{FlashReport, FlashUse};
use crate::progress::Progress;

/// Build a firmware image: with --model, one that carries this model and nothing that it does not need
///
/// Without --model it is the image that `releq measure` and `releq flash` use, which serves any model. One with a model answers
/// the same requests, save that it takes no other. Prints what its flash is used for.
#[derive(Args, Debug)]
pub(super) struct FirmwareArgs {
    /// The blob, a `.rlq` file
    #[arg(long)]
    model: Option<PathBuf>,
    /// Build no image but the engine as a library for programs in C: `libreleq.a` and `releq.h` for the board's core, into the
    /// folder that --out names
    #[arg(long, requires = "out", conflicts_with_all = ["model", "json", "uart"])]
    c_library: bool,
    #[command(flatten)]
    board: BoardChoice,
    /// Build the image whose link is the board's UART in place of its debug probe: for `releq measure --port`
    #[arg(long)]
    uart: bool,
    /// Where to put the ELF file, or with --c-library the library and its header
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Built<'a> {
    board: &'a str,
    elf: PathBuf,
    flash_bytes: u64,
    /// Engine and kernels: what a model costs in flash beside its weights, whoever calls it.
    inference_bytes: u64,
    arena_bytes: u64,
    flash: &'a FlashReport,
}

pub(super) fn run(args: &FirmwareArgs) -> anyhow::Result<()> {
    let board = args.board.or_virtual()?;
    if args.c_library {
        let out = args.out.as_deref().context("--c-library needs --out FOLDER")?;
        firmware::build_c_library(&board, out, Progress::new())?;
        println!("  {} and releq.h for {} ({})", out.join("libreleq.a").display(), board.core, board.target);
        return Ok(());
    }
    let line = ImageLine::uart_if(args.uart);
    let options = ImageOptions { line, ..ImageOptions::default() };
    let (image, arena_bytes) = match &args.model {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let model = AlignedCopy::new(&bytes);
            let blob = Blob::new_checked(&model).with_context(|| format!("{} is no sound model", path.display()))?;
            let image = firmware::build_for(&board, &blob, options, Progress::new())?;
            (image, releq_firmware::required_arena_on(&blob, board.class()) as u64)
        }
        None => (firmware::build_with(&board, options, Progress::new())?, board.arena_bytes),
    };
    let elf = match &args.out {
        Some(out) => {
            crate::run::write_atomically(out, &image.bytes)?;
            out.clone()
        }
        None => image.elf.clone(),
    };
    let flash = &image.flash;
    let inference_bytes = flash.bytes_of(FlashUse::Engine) + flash.bytes_of(FlashUse::Kernels);
    if args.json {
        let flash_bytes = flash.total();
        let built = Built { board: &board.name, elf, flash_bytes, inference_bytes, arena_bytes, flash };
        println!("{}", serde_json::to_string_pretty(&built)?);
        return Ok(());
    }
    println!("  {} for {}", elf.display(), board.name);
    for section in &flash.sections {
        println!("    section {:<24}{:>9} bytes", section.name, section.bytes);
    }
    for share in &flash.uses {
        println!("    {:<32}{:>9} bytes", share.used_for.name(), share.bytes);
    }
    println!("    {:<32}{:>9} bytes", "in all", flash.total());
    println!("    {:<32}{:>9} bytes", "engine and kernels", inference_bytes);
    Ok(())
}
