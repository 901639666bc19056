//! The engine in somebody's own firmware: the examples in `boards/examples/` run a model as the host does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use releq::device::cargo::cargo_build;
use releq::device::{board, toolchain};
use releq::progress::Progress;
use releq_firmware::{CoreClass, testing};
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob};

const TARGET: &str = "thumbv7em-none-eabihf";

/// A model, its file, and what the host says to the examples' input: logits and class.
struct Expected {
    file: PathBuf,
    text: String,
}

/// Random weights in every bitwidth that a fast kernel differs for, after `seed`.
fn expected(folder: &Path, seed: u64) -> Expected {
    let bits = [1, 2, 3, 1].map(|bits| Bitwidth::new(bits).unwrap());
    let model = AlignedCopy::new(&testing::lenet(bits, CoreClass::ArmV7em, seed));
    let file = folder.join(format!("lenet-{seed}.rlq"));
    std::fs::write(&file, &*model).unwrap();
    let blob = Blob::new_checked(&model).unwrap();
    let input: Vec<u8> = (0..blob.header().input.elements()).map(|i| (i * 7 % 251) as u8).collect();
    let logits = testing::run(&blob, &input);
    let class = logits.iter().position(|logit| logit == logits.iter().max().unwrap()).unwrap();
    Expected { file, text: format!("logits Ok({logits:?})\nclass Ok({class})\n") }
}

/// What a program says through semihosting, before it ends the emulator itself; an error if it does not within a minute.
fn run_in_qemu(elf: &Path) -> Output {
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(qemu);
    command.args(["-machine", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "null"]);
    command.args(["-semihosting", "-kernel"]).arg(elf).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{} has not ended within a minute", elf.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn said(elf: &Path) -> String {
    let output = run_in_qemu(elf);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Builds the Rust example around a model; the program, or what the compiler says.
fn rust_example(model: &Path) -> Result<PathBuf, String> {
    let toolchain = toolchain::ensure_target(TARGET, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let root = board::source_root().unwrap();
    let target_dir = root.join("target/firmware/examples");
    let mut command = cargo_build(&toolchain);
    command.current_dir(root.join("boards/examples/rust")).args(["--quiet", "--release", "--target-dir"]);
    let output = command.arg(&target_dir).env("MODEL", model).output().unwrap();
    let elf = target_dir.join(TARGET).join("release/releq-example");
    if output.status.success() { Ok(elf) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// All builds of the example share a place: one test does them one behind the other.
#[test]
fn the_rust_example_answers_as_the_host_and_a_damaged_model_does_not_compile() {
    let folder = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        let expected = expected(folder.path(), seed);
        let elf = rust_example(&expected.file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(said(&elf), expected.text, "seed {seed}");
    }
    let damaged = folder.path().join("damaged.rlq");
    let mut bytes = std::fs::read(folder.path().join("lenet-1.rlq")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let refused = rust_example(&damaged).unwrap_err();
    assert!(refused.contains("the blob is damaged"), "{refused}");
}
