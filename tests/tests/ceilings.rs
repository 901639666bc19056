//! Instruction counts of fixed networks on virtual boards stay below recorded ceilings, and ceilings stay tight.
//!
//! `tests/data/ceilings.toml` has an entry for each board, network and bits. A further one needs three lines (`board`,
//! `network`, `bits`) and is filled in by
//!
//! ```text
//! RELEQ_RECORD=1 cargo test --release -p releq-tests --test ceilings
//! ```
//!
//! which also records all others anew: whoever makes kernels faster runs it and commits the difference.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use releq::bench::{Bench, ModelCost, random_network};
use releq::device::board;
use releq::device::toolchain::{Toolchain, ensure_target};
use releq::progress::Progress;
use serde::Deserialize;

const COMMAND: &str = "RELEQ_RECORD=1 cargo test --release -p releq-tests --test ceilings";
/// Instructions by which the reading of the counter may differ from one run to the next.
const COUNTER_NOISE: u64 = 4;
/// How far below its ceiling a count may lie, in percent, before the ceiling must come down.
const SLACK_PERCENT: u64 = 2;
/// How far above it a count may lie if another compiler made the firmware: the ceiling is another compiler's.
const OTHER_COMPILER_PERCENT: u64 = 15;
/// What weights may take beyond their bare bits.
const WEIGHT_OVERHEAD_AT_MOST: f64 = 0.07;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceilings {
    /// The compiler of the firmware that was measured.
    #[serde(default)]
    compiler: String,
    ceiling: Vec<Ceiling>,
}

/// One network on one board.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceiling {
    board: String,
    network: String,
    bits: String,
    #[serde(default)]
    instructions: Option<u64>,
    #[serde(default)]
    arena_bytes: Option<u64>,
    #[serde(default)]
    weight_overhead: Option<f64>,
    /// By operation: not asserted, but shown beside what was found.
    #[serde(default)]
    layers: BTreeMap<String, u64>,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ceilings.toml")
}

/// The version of the compiler that builds firmware for a board.
fn compiler(board: &str) -> String {
    let board = board::by_name(board).unwrap_or_else(|error| panic!("{error}"));
    let toolchain = ensure_target(&board.target, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let rustc = match toolchain {
        Toolchain::Rustup => PathBuf::from("rustc"),
        Toolchain::BuildStd { rustc, .. } => rustc,
    };
    let version = String::from_utf8(Command::new(rustc).arg("--version").output().unwrap().stdout).unwrap();
    version.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Measures all networks of one board, in one session.
fn measure(name: &str, ceilings: &[&Ceiling]) -> Vec<ModelCost> {
    let board = board::by_name(name).unwrap_or_else(|error| panic!("{error}"));
    let class = board.class();
    let bench = Bench::new(board, Progress::silent(), false);
    let mut bench = bench.unwrap_or_else(|error| panic!("{name}: {error}"));
    let measured = ceilings.iter().map(|ceiling| {
        let model = random_network(&ceiling.network, &ceiling.bits.parse().unwrap(), class, 1).unwrap();
        let cost = bench.model(&model, 2, 1);
        cost.unwrap_or_else(|error| panic!("{} on {name}: {error}", ceiling.network))
    });
    measured.collect()
}

/// What is wrong with a count, if anything.
fn verdict(ceiling: &Ceiling, cost: &ModelCost, same_compiler: bool) -> Option<String> {
    let (Some(instructions), Some(arena), Some(overhead)) =
        (ceiling.instructions, ceiling.arena_bytes, ceiling.weight_overhead)
    else {
        return Some(format!("no figures are recorded; run {COMMAND}"));
    };
    let found = cost.instructions_per_inference;
    let most = if same_compiler { instructions } else { instructions * (100 + OTHER_COMPILER_PERCENT) / 100 };
    let change = (found as f64 / instructions as f64 - 1.0) * 100.0;
    if !cost.agrees_with_host {
        Some("the board's logits differ from the host's".to_owned())
    } else if found > most + COUNTER_NOISE {
        Some(format!(
            "{found} instructions, the ceiling is {instructions} ({change:+.2}%); if that is the price of something, run \
             {COMMAND} and say so in the commit"
        ))
    } else if same_compiler && found * 100 < instructions * (100 - SLACK_PERCENT) {
        Some(format!("{found} instructions, faster than the ceiling of {instructions} ({change:+.2}%): run {COMMAND}"))
    } else if cost.arena_bytes > arena {
        Some(format!("{} bytes of arena, the ceiling is {arena}", cost.arena_bytes))
    } else if cost.weight_overhead > overhead + 1e-4 || cost.weight_overhead > WEIGHT_OVERHEAD_AT_MOST {
        Some(format!(
            "weights take {:.2}% over their bare bits, the ceiling is {:.2}%, and {:.0}% for any",
            cost.weight_overhead * 100.0,
            overhead * 100.0,
            WEIGHT_OVERHEAD_AT_MOST * 100.0
        ))
    } else {
        None
    }
}

/// A verdict with the layers that have changed.
fn report(ceiling: &Ceiling, cost: &ModelCost, verdict: &str) -> String {
    let mut text = format!("{} at {} on {}: {verdict}", ceiling.network, ceiling.bits, ceiling.board);
    for layer in &cost.layers {
        let recorded = ceiling.layers.get(&layer.name).copied().unwrap_or(0);
        if recorded != layer.instructions {
            write!(text, "\n    {:<16}{recorded:>10} ->{:>10}", layer.name, layer.instructions).unwrap();
        }
    }
    text
}

/// The file with new figures; its first comments stay.
fn recorded(old: &str, compiler: &str, entries: &[(&Ceiling, &ModelCost)]) -> String {
    let comments: Vec<&str> = old.lines().take_while(|line| line.starts_with('#')).collect();
    let mut text = format!("{}\ncompiler = {compiler:?}\n", comments.join("\n"));
    for (Ceiling { board, network, bits, .. }, cost) in entries {
        let layers: BTreeMap<&str, u64> =
            cost.layers.iter().map(|layer| (layer.name.as_str(), layer.instructions)).collect();
        let layers: Vec<String> = layers.iter().map(|(name, count)| format!("{name} = {count}")).collect();
        write!(
            text,
            "\n[[ceiling]]\nboard = {board:?}\nnetwork = {network:?}\nbits = {bits:?}\ninstructions = {}\n\
             arena_bytes = {}\nweight_overhead = {:.4}\nlayers = {{ {} }}\n",
            cost.instructions_per_inference,
            cost.arena_bytes,
            cost.weight_overhead,
            layers.join(", ")
        )
        .unwrap();
    }
    text
}

#[test]
fn networks_stay_below_their_recorded_instruction_counts() {
    let text = std::fs::read_to_string(file()).unwrap();
    let ceilings: Ceilings = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file().display()));
    let mut by_board: BTreeMap<&str, Vec<&Ceiling>> = BTreeMap::new();
    for ceiling in &ceilings.ceiling {
        by_board.entry(&ceiling.board).or_default().push(ceiling);
    }
    let compiler = compiler(&ceilings.ceiling[0].board);
    let costs: BTreeMap<&str, Vec<ModelCost>> = std::thread::scope(|scope| {
        let runs: Vec<_> = by_board.iter().map(|(&name, list)| (name, scope.spawn(|| measure(name, list)))).collect();
        runs.into_iter().map(|(name, run)| (name, run.join().unwrap())).collect()
    });
    let entries: Vec<(&Ceiling, &ModelCost)> = ceilings
        .ceiling
        .iter()
        .map(|ceiling| {
            let place =
                by_board[ceiling.board.as_str()].iter().position(|other| std::ptr::eq(*other, ceiling)).unwrap();
            (ceiling, &costs[ceiling.board.as_str()][place])
        })
        .collect();
    if std::env::var_os("RELEQ_RECORD").is_some() {
        assert!(entries.iter().all(|(_, cost)| cost.agrees_with_host), "a board's logits differ from the host's");
        std::fs::write(file(), recorded(&text, &compiler, &entries)).unwrap();
        return;
    }
    let same_compiler = compiler == ceilings.compiler;
    if !same_compiler {
        println!("ceilings are of {}, firmware is built by {compiler}: compared roughly", ceilings.compiler);
    }
    let problems: Vec<String> = entries
        .iter()
        .filter_map(|(ceiling, cost)| Some(report(ceiling, cost, &verdict(ceiling, cost, same_compiler)?)))
        .collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn slower_and_much_faster_both_miss_the_ceiling() {
    let ceiling = Ceiling {
        board: "board".to_owned(),
        network: "lenet".to_owned(),
        bits: "1".to_owned(),
        instructions: Some(1_000_000),
        arena_bytes: Some(4000),
        weight_overhead: Some(0.01),
        layers: BTreeMap::new(),
    };
    let cost = |instructions, arena_bytes, weight_overhead| ModelCost {
        network: "lenet".to_owned(),
        bits: vec![1],
        board: "board".to_owned(),
        core: "core".to_owned(),
        unit: "instructions".to_owned(),
        inputs: 1,
        agrees_with_host: true,
        instructions_per_inference: instructions,
        macs: 1,
        per_mac: 1.0,
        layers: Vec::new(),
        arena_bytes,
        stack_bytes: 0,
        blob_bytes: 0,
        weight_bytes: 0,
        weight_overhead,
        firmware_flash_bytes: 0,
    };
    let says = |cost: &ModelCost, words: &str| {
        verdict(&ceiling, cost, true).unwrap_or_else(|| panic!("{words}: accepted")).contains(words)
    };
    assert_eq!(verdict(&ceiling, &cost(1_000_000, 4000, 0.01), true), None);
    assert_eq!(verdict(&ceiling, &cost(980_000, 3000, 0.0), true), None);
    assert!(says(&cost(1_000_005, 4000, 0.01), "the ceiling is 1000000"));
    assert!(says(&cost(979_999, 4000, 0.01), "RELEQ_RECORD=1"));
    assert!(says(&cost(1_000_000, 4001, 0.01), "arena"));
    assert!(says(&cost(1_000_000, 4000, 0.02), "2.00% over"));
    assert!(says(&ModelCost { agrees_with_host: false, ..cost(1_000_000, 4000, 0.01) }, "differ"));
    // Another compiler's firmware is compared roughly.
    assert_eq!(verdict(&ceiling, &cost(900_000, 4000, 0.01), false), None);
    assert_eq!(verdict(&ceiling, &cost(1_100_000, 4000, 0.01), false), None);
    assert!(verdict(&ceiling, &cost(1_200_000, 4000, 0.01), false).is_some());
}
