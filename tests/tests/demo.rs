//! The whole job, small: what `releq demo --quick` promises, read back from its result.json.
#![allow(clippy::unwrap_used, missing_docs)]

use clap::Parser;
use releq::cli::{Cli, run};
use serde_json::Value;

fn releq(arguments: &[&str]) -> anyhow::Result<()> {
    run(&Cli::try_parse_from(std::iter::once("releq").chain(arguments.iter().copied()))?)
}

#[test]
fn the_quick_demo_goes_from_digits_to_a_board() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    releq(&["demo", "--quick", "--seed", "3", "--samples", "10", "--out", out]).unwrap();
    let read =
        || -> Value { serde_json::from_slice(&std::fs::read(folder.path().join("run/result.json")).unwrap()).unwrap() };
    let result = read();
    assert_eq!((result["network"].as_str(), result["dataset"].as_str()), (Some("lenet"), Some("mnist")));
    assert_eq!(result["seed"], 3);
    let bits: Vec<f64> = result["bits"].as_array().unwrap().iter().map(|bits| bits.as_f64().unwrap()).collect();
    assert_eq!(bits.len(), 4);
    assert_eq!(result["mean_bits"].as_f64().unwrap(), bits.iter().sum::<f64>() / 4.0);
    assert!(result["weighted_bits"].as_f64().unwrap() >= 1.0);
    let accuracy = |kind: &str| result["accuracy"][kind].as_f64().unwrap();
    assert!(accuracy("float") > 0.9, "{result}");
    assert!(accuracy("integer_host") > 0.9, "{result}");
    assert!((accuracy("fake_quantized") - accuracy("integer_host")).abs() < 0.01, "{result}");
    let device = &result["device"];
    assert_eq!(device["board"], "qemu-mps2-an386");
    assert_eq!((device["samples"].as_u64(), device["agreement"].as_f64()), (Some(10), Some(1.0)));
    assert_eq!(result["accuracy"]["device"], device["host_accuracy_same_samples"]);
    assert_eq!(device["unit"], "instructions");
    assert_eq!(device["layers"].as_array().unwrap().len(), 4);
    assert_eq!(device["layers"][1]["macs"], 1_600_000);
    for number in ["arena_bytes", "stack_bytes", "firmware_flash_bytes", "instructions_per_inference"] {
        assert!(device[number].as_f64().unwrap() > 0.0, "{number}");
    }
    for stage in ["train", "search", "finetune", "measure"] {
        assert!(result["seconds"][stage].as_f64().unwrap() > 0.0, "{stage}");
    }
    let blob = std::fs::metadata(folder.path().join("run/model.rlq")).unwrap().len();
    assert_eq!(result["blob_bytes"].as_u64(), Some(blob));
    for file in ["config.toml", "log.jsonl", "float.safetensors", "finetuned.safetensors", "search.json"] {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let log = std::fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    assert!(log.lines().count() > 8 && log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));

    // The pieces work on the same folder, and what is done is not done again.
    let model = folder.path().join("run/model.rlq");
    releq(&["inspect", model.to_str().unwrap()]).unwrap();
    releq(&["inspect", model.to_str().unwrap(), "--json"]).unwrap();
    releq(&["train", "--out", out]).unwrap();
    releq(&["search", "--run", out]).unwrap();
    releq(&["finetune", "--run", out]).unwrap();
    releq(&["pack", "--run", out]).unwrap();
    assert_eq!(read()["bits"], result["bits"]);

    // Another run is not written over this one.
    let error = releq(&["demo", "--quick", "--seed", "4", "--out", out]).unwrap_err().to_string();
    assert!(error.contains("--fresh") && error.contains("seed"), "{error}");

    // Bits by hand, for one layer too many.
    let error = releq(&["finetune", "--run", out, "--bits", "1,1,1,1,1"]).unwrap_err().to_string();
    assert!(error.contains("conv1, conv2, fc1, fc2") && error.contains("5 bitwidths"), "{error}");
}

#[test]
fn wrong_names_and_missing_files_are_met_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let refused = |arguments: &[&str]| format!("{:#}", releq(arguments).unwrap_err());
    let error = refused(&["train", "--network", "lenett", "--out", out]);
    assert!(error.contains("did you mean \"lenet\""), "{error}");
    let error = refused(&["train", "--dataset", "minst", "--out", out]);
    assert!(error.contains("did you mean \"mnist\""), "{error}");
    let error = refused(&["train", "--network", "simplenet", "--dataset", "mnist", "--out", out]);
    assert!(error.contains("such as cifar10"), "{error}");
    let error = refused(&["demo", "--board", "qemu-mps2-an38", "--out", out]);
    assert!(error.contains("did you mean"), "{error}");
    let error = refused(&["demo", "--device", "tpu", "--out", out]);
    assert!(error.contains("cpu, cuda:0 or metal"), "{error}");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let error = refused(&["search", "--run", empty.to_str().unwrap()]);
    assert!(error.contains("releq train --out"), "{error}");
    let error = refused(&["inspect", "/nowhere/model.rlq"]);
    assert!(error.contains("/nowhere/model.rlq"), "{error}");
    let rubbish = folder.path().join("rubbish.rlq");
    std::fs::write(&rubbish, b"this is no blob, however long it may be").unwrap();
    let error = refused(&["inspect", rubbish.to_str().unwrap()]);
    assert!(error.contains("no model blob"), "{error}");
    let error = refused(&["measure", "--model", rubbish.to_str().unwrap()]);
    assert!(error.contains("no model blob"), "{error}");
    std::fs::write(empty.join("keep.txt"), b"precious").unwrap();
    let error = refused(&["demo", "--quick", "--fresh", "--out", empty.to_str().unwrap()]);
    assert!(error.contains("will not delete"), "{error}");
    assert!(empty.join("keep.txt").exists());
}
