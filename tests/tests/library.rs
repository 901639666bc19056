//! The engine in somebody's own firmware: the examples in `boards/examples/` run a model as the host does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use releq::device::cargo::cargo_build;
use releq::device::{board, firmware, toolchain};
use releq::progress::Progress;
use releq_firmware::{CoreClass, required_arena_on, testing};
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob};

const TARGET: &str = "thumbv7em-none-eabihf";

/// A model, its file, and what the host says to the examples' input: logits and class.
struct Expected {
    file: PathBuf,
    text: String,
}

/// Random weights in every bitwidth that a fast kernel differs for, after `seed`.
fn expected(folder: &Path, class: CoreClass, seed: u64) -> Expected {
    let bits = [1, 2, 3, 1].map(|bits| Bitwidth::new(bits).unwrap());
    let model = AlignedCopy::new(&testing::lenet(bits, class, seed));
    let file = folder.join(format!("lenet-{seed}.rlq"));
    std::fs::write(&file, &*model).unwrap();
    let blob = Blob::new_checked(&model).unwrap();
    let input: Vec<u8> = (0..blob.header().input.elements()).map(|i| (i * 7 % 251) as u8).collect();
    let logits = testing::run(&blob, &input);
    let class = logits.iter().position(|logit| logit == logits.iter().max().unwrap()).unwrap();
    Expected { file, text: format!("logits Ok({logits:?})\nclass Ok({class})\n") }
}

/// What a program says through semihosting, before it ends the emulator itself; an error if it does not within a minute.
fn run_in_qemu(elf: &Path, machine: &str) -> Output {
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(qemu);
    command.args(["-machine", machine, "-display", "none", "-monitor", "none", "-serial", "null"]);
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

fn said(elf: &Path, machine: &str) -> String {
    let output = run_in_qemu(elf, machine);
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
        let expected = expected(folder.path(), CoreClass::ArmV7em, seed);
        let elf = rust_example(&expected.file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(said(&elf, "mps2-an386"), expected.text, "seed {seed}");
    }
    let damaged = folder.path().join("damaged.rlq");
    let mut bytes = std::fs::read(folder.path().join("lenet-1.rlq")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let refused = rust_example(&damaged).unwrap_err();
    assert!(refused.contains("the blob is damaged"), "{refused}");
}

/// The header in the sources is what cbindgen makes of them; on a difference the new text is left in `target/releq.h`.
#[test]
fn the_c_header_is_current() {
    let root = board::source_root().unwrap();
    let config = cbindgen::Config::from_file(root.join("firmware/c/cbindgen.toml")).unwrap();
    let source = root.join("firmware/c/src/lib.rs");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let kept = std::fs::read(root.join(firmware::C_HEADER)).unwrap_or_default();
    if made != kept {
        std::fs::write(root.join("target/releq.h"), made).unwrap();
        panic!("{} is not current: copy target/releq.h there", firmware::C_HEADER);
    }
}

/// A core that the C library is built for: the board that stands for it, what gcc is told, and a machine that runs its code.
struct CCore {
    board: &'static str,
    gcc: &'static [&'static str],
    machine: &'static str,
}

/// The memory of all these machines is the same. A Cortex-M3 runs what was made for a Cortex-M0.
const C_CORES: [CCore; 3] = [
    CCore {
        board: "qemu-mps2-an386",
        gcc: &["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
        machine: "mps2-an386",
    },
    CCore { board: "qemu-mps2-an385", gcc: &["-mcpu=cortex-m3"], machine: "mps2-an385" },
    CCore { board: "qemu-microbit", gcc: &["-mcpu=cortex-m0"], machine: "mps2-an385" },
];

/// Builds the C example around a model, with so many bytes of arena.
fn c_example(folder: &Path, core: &CCore, model: &Path, arena: usize) -> PathBuf {
    let gcc = toolchain::ensure_arm_gcc(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let sources = board::source_root().unwrap().join("boards/examples/c");
    let elf = folder.join("example.elf");
    let mut command = Command::new(gcc);
    command.args(core.gcc).args(["-mthumb", "-Os", "-Wall", "-Wextra"]);
    command.args(["-Werror", "-ffunction-sections", "-Wl,--gc-sections", "--specs=rdimon.specs"]);
    command.arg(format!("-DMODEL=\"{}\"", model.display())).arg(format!("-DARENA_BYTES={arena}"));
    command.arg("-I").arg(folder).arg("-T").arg(sources.join("link.ld"));
    command.arg(sources.join("main.c")).arg(sources.join("startup.c")).arg(folder.join("libreleq.a"));
    let output = command.arg("-o").arg(&elf).output().unwrap();
    assert!(output.status.success(), "{}: {}", core.board, String::from_utf8_lossy(&output.stderr));
    elf
}

#[test]
fn the_c_example_answers_as_the_host_and_says_what_is_wrong() {
    for core in &C_CORES {
        let folder = tempfile::tempdir().unwrap();
        let board = board::by_name(core.board).unwrap();
        firmware::build_c_library(&board, folder.path(), Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
        let expected = expected(folder.path(), board.class(), 3);
        let try_it = |model: &Path, arena| said(&c_example(folder.path(), core, model, arena), core.machine);
        assert_eq!(try_it(&expected.file, 32_768), expected.text, "{}", core.board);
        let refused = try_it(&expected.file, 64);
        let bytes = std::fs::read(&expected.file).unwrap();
        let copy = AlignedCopy::new(&bytes);
        let needed = required_arena_on(&Blob::new_checked(&copy).unwrap(), board.class());
        let small = refused.contains("the arena is too small") && refused.contains(&format!("of {needed} bytes"));
        assert!(small, "{}: {refused}", core.board);
        let damaged = folder.path().join("damaged.rlq");
        std::fs::write(&damaged, &bytes[..bytes.len() - 16]).unwrap();
        let refused = try_it(&damaged, 32_768);
        assert!(refused.contains("the model is damaged"), "{}: {refused}", core.board);
    }
}
