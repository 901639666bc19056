//! The command line: one file a subcommand, each parsed once into plain options and then handed to a stage.

mod ablate;
mod bench;
mod board_choice;
mod boards;
mod compare;
mod data;
mod demo;
mod described;
mod firmware;
mod flash;
mod import;
mod inspect;
mod measure;
mod measured;
mod networks;
mod new_run;
mod pareto;
mod report;
mod search_options;
mod stage;
mod study;
mod table;

use clap::{Parser, Subcommand};

/// Take a neural network to 1-5 bits a weight, layer by layer, and run it on a microcontroller.
///
/// `releq demo` does the whole job on LeNet and MNIST: it trains, searches a bitwidth for each layer by reinforcement
/// learning (ReLeQ), fine-tunes, packs, boots a virtual Cortex-M board and measures on it. The same steps stand alone:
/// train, search, finetune, pack, measure, all on one run folder.
#[derive(Debug, Parser)]
#[command(name = "releq", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Train(stage::TrainArgs),
    Import(import::ImportArgs),
    Search(stage::SearchArgs),
    Finetune(stage::FinetuneArgs),
    Reference(stage::ReferenceArgs),
    Pack(stage::PackArgs),
    Inspect(inspect::InspectArgs),
    Measure(measure::MeasureArgs),
    Compare(compare::CompareArgs),
    Study(study::StudyArgs),
    Pareto(pareto::ParetoArgs),
    Report(report::ReportArgs),
    Ablate(ablate::AblateArgs),
    Bench(bench::BenchArgs),
    Firmware(firmware::FirmwareArgs),
    Flash(flash::FlashArgs),
    Data(data::DataArgs),
    Networks(networks::NetworksArgs),
    Boards(boards::BoardsArgs),
}

/// Runs the command that was asked for.
///
/// # Errors
/// What the command reports; the text says what to do next.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Train(args) => stage::train(args),
        Command::Import(args) => import::run(args),
        Command::Search(args) => stage::search(args),
        Command::Finetune(args) => stage::finetune(args),
        Command::Reference(args) => stage::reference(args),
        Command::Pack(args) => stage::pack(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Study(args) => study::run(args),
        Command::Pareto(args) => pareto::run(args),
        Command::Report(args) => report::run(args),
        Command::Ablate(args) => ablate::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Firmware(args) => firmware::run(args),
        Command::Flash(args) => flash::run(args),
        Command::Data(args) => data::run(args),
        Command::Networks(args) => networks::run(args),
        Command::Boards(args) => boards::run(args),
    }
}
