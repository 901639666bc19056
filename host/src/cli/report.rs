//! `releq report`: a run as one page.

use std::path::PathBuf;

use clap::Args;

use crate::run::{RunFolder, write_atomically};
use crate::stages;

/// Make one page of HTML of all that a run has shown: figures, bits, pictures, the board's measurements, settings
///
/// The page needs no other file and no network. It reads only, so it may be made while the run is still going on.
#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    run: PathBuf,
    /// The page [default: report.html in the run's folder]
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let run = RunFolder::look(&args.run)?;
    let page = stages::report(&run)?;
    let out = args.out.clone().unwrap_or_else(|| run.file("report.html"));
    write_atomically(&out, page.as_bytes())?;
    println!("page: {}", out.display());
    Ok(())
}
