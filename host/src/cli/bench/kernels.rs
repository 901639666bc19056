//! `releq bench kernels`: what every kernel costs, by kind of layer, bitwidth and layout.

use clap::Args;
use releq_shared::layout::Layout;
use serde::Serialize;

use crate::bench::{Bench, KernelCase, KernelCost, cost_table};
use crate::device::board::{self, source_root};
use crate::interrupt;
use crate::pack::costs::CostTable;
use crate::progress::Progress;
use crate::run::write_atomically;

const EXAMPLES: &str = "Examples:
  releq bench kernels --quick
  releq bench kernels --board qemu-mps2-an385 --save";

/// Count each kernel's instructions for a multiply-accumulate
///
/// Runs a small layer of every kind in every bitwidth and in every layout that holds it, the portable bitstream included,
/// and marks the cheapest with a star. A layout that is made for other cores runs too, by the portable kernels. `releq
/// pack` chooses layouts by these figures as they were recorded for the board's class of core; with --save they are
/// recorded anew, in the source tree, and count from the next build on.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct KernelsArgs {
    /// The board, one of `releq boards`
    #[arg(long, default_value = "qemu-mps2-an386")]
    board: String,
    /// Bitwidths 1, 2, 4 and 8 only
    #[arg(long)]
    quick: bool,
    /// Record the table of this board's class of core in host/assets/costs
    #[arg(long, conflicts_with = "quick")]
    save: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    board: &'a str,
    core: &'a str,
    unit: &'a str,
    kernels: &'a [KernelCost],
}

pub(super) fn run(args: &KernelsArgs) -> anyhow::Result<()> {
    let progress = Progress::new();
    let board = board::by_name(&args.board)?;
    let mut bench = Bench::new(board.clone(), progress, false)?;
    let Some(unit) = bench.unit()? else { anyhow::bail!("{} has no counter to measure with", board.name) };
    let cases = KernelCase::all(args.quick);
    let mut task = progress.task("kernels", cases.len() as u64);
    let mut costs = Vec::with_capacity(cases.len());
    for case in cases {
        anyhow::ensure!(interrupt::check().is_continue(), "stopped");
        let cost = bench.kernel(case);
        costs.push(cost.map_err(|error| anyhow::anyhow!("{case:?}: {error}"))?);
        task.set(costs.len() as u64, || format!("{} at {} bits", case.kind.name(), case.bits));
    }
    task.finish(format_args!("{} kernels on {}", costs.len(), board.name));
    if args.json {
        let report = Report { board: &board.name, core: &board.core, unit, kernels: &costs };
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&costs, unit, &board);
    }
    if args.save {
        let Some(table) = cost_table(&board, unit, &costs) else {
            anyhow::bail!(
                "{} has no room for some of the layers, so nothing is recorded; take a larger board",
                board.name
            )
        };
        let class = board.class();
        let path = source_root()?.join("host/assets/costs").join(CostTable::file_name(class));
        write_atomically(&path, table.to_toml().as_bytes())?;
        progress.say(format_args!("recorded in {}; build releq again to pack by it", path.display()));
        if CostTable::recorded(class).is_none() {
            progress.say("it is the first of its class: name it in host/src/pack/costs.rs, RECORDED");
        }
    }
    Ok(())
}

fn print(costs: &[KernelCost], unit: &str, board: &board::Board) {
    println!("{unit} a multiply-accumulate on {} ({})", board.name, board.core);
    let names: Vec<String> = Layout::ALL.iter().map(|layout| format!("{:>11} ", format!("{layout:?}"))).collect();
    println!("{:<14}{:>5}{}", "layer", "bits", names.concat());
    for row in costs.chunk_by(|a, b| (a.kind, a.bits) == (b.kind, b.bits)) {
        let best = row.iter().filter_map(|cost| cost.per_mac).fold(f64::INFINITY, f64::min);
        let cells: Vec<String> = Layout::ALL.iter().map(|layout| cell(row, *layout, best)).collect();
        println!("{:<14}{:>5}{}", row[0].kind.name(), row[0].bits, cells.concat());
    }
}

/// A cost, starred if it is the best of its row; a dash where there is none.
fn cell(row: &[KernelCost], layout: Layout, best: f64) -> String {
    let cost = row.iter().find(|cost| cost.layout == layout).map(|cost| cost.per_mac);
    match cost {
        Some(Some(per_mac)) => {
            let star = if per_mac == best { "*" } else { " " };
            format!("{per_mac:>11.2}{star}")
        }
        Some(None) => format!("{:>11} ", "no room"),
        None => format!("{:>11} ", "-"),
    }
}
