//! The `releq` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = releq::cli::Cli::parse();
    releq::interrupt::install();
    match releq::cli::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A reader that closed early, as `| head` does, is no error of ours.
            let closed = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
            if closed.into_iter().any(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {error:#}");
            ExitCode::from(if releq::interrupt::requested() { 130 } else { 1 })
        }
    }
}
