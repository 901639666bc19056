//! `releq bench`: what it refuses, what its JSON has, and that the recorded costs still say which layout is cheaper.
#![allow(clippy::unwrap_used, missing_docs)]

use clap::Parser;
use releq::bench::{Bench, KernelCase, random_network};
use releq::cli::Cli;
use releq::device::board;
use releq::pack::costs::CostTable;
use releq::progress::Progress;
use releq_shared::layout::Layout;

const BOARD: &str = "qemu-mps2-an386";

fn refusal(arguments: &[&str]) -> String {
    match Cli::try_parse_from([&["releq", "bench"], arguments].concat()) {
        Ok(cli) => format!("{:#}", releq::cli::run(&cli).unwrap_err()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_bench_of_nothing_is_refused_with_what_to_name() {
    assert!(refusal(&[]).contains("kernels"));
    let error = refusal(&["model"]);
    assert!(error.contains("--model") && error.contains("--network"), "{error}");
    assert!(refusal(&["model", "--network", "lenet"]).contains("--bits"));
    let error = refusal(&["model", "--network", "lenet", "--bits", "1,1"]);
    assert!(error.contains("conv1, conv2, fc1, fc2"), "{error}");
    let error = refusal(&["model", "--network", "lenett", "--bits", "1"]);
    assert!(error.contains("did you mean \"lenet\""), "{error}");
    assert!(refusal(&["model", "--model", "/nowhere/model.rlq"]).contains("/nowhere/model.rlq"));
    assert!(refusal(&["kernels", "--quick", "--save"]).contains("cannot be used with"));
    assert!(refusal(&["kernels", "--board", "qemu-mps2-an38"]).contains("did you mean"));
}

#[test]
fn costs_are_measured_by_layer_and_tell_layouts_apart() {
    let board = board::by_name(BOARD).unwrap();
    let class = board.class();
    let mut bench = Bench::new(board, Progress::silent(), false).unwrap_or_else(|error| panic!("{error}"));

    let model = random_network("simplenet", &"1,2,3,4,5".parse().unwrap(), class, 1).unwrap();
    let cost = bench.model(&model, 2, 1).unwrap();
    assert!(cost.agrees_with_host);
    let json = serde_json::to_value(&cost).unwrap();
    assert_eq!((json["board"].as_str(), json["core"].as_str()), (Some(BOARD), Some("cortex-m4f")));
    assert_eq!((json["network"].as_str(), json["unit"].as_str()), (Some("simplenet"), Some("instructions")));
    for number in ["instructions_per_inference", "arena_bytes", "stack_bytes", "weight_bytes"] {
        assert!(json[number].as_u64().unwrap() > 0, "{number}");
    }
    assert!((0.0..0.07).contains(&json["weight_overhead"].as_f64().unwrap()), "{json}");
    let layers = json["layers"].as_array().unwrap();
    assert_eq!(layers.iter().filter_map(|layer| layer["bits"].as_u64()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    for layer in layers.iter().filter(|layer| !layer["bits"].is_null()) {
        let [instructions, macs] = ["instructions", "macs"].map(|number| layer[number].as_f64().unwrap());
        assert!(macs > 0.0 && layer["layout"].is_string() && layer["kind"].is_string(), "{layer}");
        assert!((layer["per_mac"].as_f64().unwrap() - instructions / macs).abs() < 1e-9, "{layer}");
    }
    let sum: u64 = layers.iter().map(|layer| layer["instructions"].as_u64().unwrap()).sum();
    let whole = cost.instructions_per_inference;
    assert!(sum <= whole && whole < sum + sum / 20, "{sum} in the layers, {whole} in all");

    // Where the table has a layout a quarter ahead of the bitstream, the board has it ahead.
    let recorded = CostTable::recorded(class).unwrap();
    let mut compared = 0;
    for case in KernelCase::all(true).into_iter().filter(|case| case.layout != Layout::Bitstream) {
        let cost = |layout| recorded.per_mac(case.kind, case.bits, layout).unwrap();
        if 1.25 * cost(case.layout) < cost(Layout::Bitstream) {
            let plain = KernelCase { layout: Layout::Bitstream, ..case };
            let [fast, plain] = [case, plain].map(|case| bench.kernel(case).unwrap());
            assert!(
                fast.per_mac < plain.per_mac,
                "{fast:?} {plain:?}: record the costs anew, `releq bench kernels --save`"
            );
            compared += 1;
        }
    }
    assert!(compared >= 16, "only {compared} fast kernels");
}
