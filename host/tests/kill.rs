//! Processes that are killed without warning lose no more than what was in hand: a run that was killed again and again ends
//! with the same bits as one that was left alone. And one process at a time works in a run's folder.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A network of 270 weights, so that an epoch takes a fraction of a second.
const NETWORK: &str = r#"
name = "tiny"
input = [1, 28, 28]
[[layer]]
op = "conv"
channels = 4
kernel = 5
stride = 3
[[layer]]
op = "batch-norm"
[[layer]]
op = "relu"
[[layer]]
op = "max-pool"
kernel = 2
[[layer]]
op = "flatten"
[[layer]]
op = "dense"
outputs = 10
"#;

/// Six epochs of the embedded digits each; everything that carries something from step to step is on.
const SETTINGS: &str = r#"
network = "tiny.toml"
embedded_data = true
seed = 4
candidates = 1
[train]
epochs = 6.0
batch = 100
[train.augmentation]
shift = 2
[short]
steps = 3
batch = 50
[finetune]
epochs = 6.0
batch = 100
gradual = 0.5
norm_batches = 2
[finetune.distillation]
weight = 0.5
[finetune.sinusoidal]
strength = 0.001
[search]
episodes = 24
batch = 4
"#;

fn command(stage: &str, run: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_releq"));
    let folder_option = if stage == "train" { "--out" } else { "--run" };
    command.arg(stage).arg(folder_option).arg(run).stdout(Stdio::null());
    if stage == "train" {
        command.arg("--config").arg(run.with_file_name("settings.toml"));
    }
    command
}

fn settings(folder: &Path) {
    std::fs::write(folder.join("tiny.toml"), NETWORK).unwrap();
    std::fs::write(folder.join("settings.toml"), SETTINGS).unwrap();
}

fn whole(stage: &str, run: &Path) -> Output {
    let output = command(stage, run).output().unwrap();
    assert!(output.status.success(), "{stage}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Ends a process as `kill -9` does.
fn kill(mut child: Child) -> Output {
    child.kill().unwrap();
    child.wait_with_output().unwrap()
}

/// A file's length and number: what is appended changes the one, what is written anew and renamed the other.
fn version(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.len(), metadata.ino()))
}

/// Runs a stage, and kills it some moments after each change of `watched` (a file, or any in a folder), until it ends by
/// itself. Returns how often it was killed, and what all the processes said.
fn with_kills(stage: &str, run: &Path, watched: impl Fn() -> Option<PathBuf>, at_most: usize) -> (usize, String) {
    let (mut kills, mut said) = (0, String::new());
    loop {
        let before = watched().and_then(|path| version(&path));
        let mut child = command(stage, run).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        // Later each time: at the change itself, and then well after it.
        let patience = Duration::from_millis(3 * kills as u64);
        let mut changed = None;
        let output = loop {
            if let Some(status) = child.try_wait().unwrap() {
                let output = child.wait_with_output().unwrap();
                said += &String::from_utf8_lossy(&output.stderr);
                assert!(status.success(), "{stage}: {said}");
                return (kills, said);
            }
            if changed.is_none() && watched().and_then(|path| version(&path)) != before {
                changed = Some(Instant::now());
            }
            if kills < at_most && changed.is_some_and(|since| since.elapsed() >= patience) {
                break kill(child);
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{stage} hangs");
            std::thread::sleep(Duration::from_millis(1));
        };
        kills += 1;
        said += &String::from_utf8_lossy(&output.stderr);
    }
}

/// A file's JSON and what follows it. The header of safetensors has its metadata in any order.
fn contents(path: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "json") {
        return (serde_json::from_slice(&bytes).unwrap(), Vec::new());
    }
    let (len, rest) = bytes.split_first_chunk().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*len) as usize);
    assert!(tensors.len() > 1000, "{}", path.display());
    (serde_json::from_slice(header).unwrap(), tensors.to_vec())
}

/// The file of the unfinished long fine-tune, if there is one.
fn unfinished_finetune(run: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(run.join("tried")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "unfinished"))
}

#[test]
fn a_run_that_is_killed_at_every_turn_ends_as_one_that_was_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    settings(folder.path());
    let [calm, killed] = ["calm", "killed"].map(|name| folder.path().join(name));
    let mut report = String::new();
    for (stage, outcome, watched, goes_on) in [
        ("train", "float.safetensors", "float.unfinished", "goes on after"),
        ("search", "search.json", "evaluations.jsonl", "were fine-tuned before"),
        ("reference", "reference.safetensors", "reference.unfinished", "goes on after"),
        ("finetune", "finetuned.safetensors", "tried", "goes on after"),
    ] {
        whole(stage, &calm);
        let at = killed.join(watched);
        let watch = || if watched == "tried" { unfinished_finetune(&killed) } else { Some(at.clone()) };
        let (kills, said) = with_kills(stage, &killed, watch, 6);
        assert!(kills >= 2, "{stage} was killed {kills} times only: {said}");
        assert!(said.contains(goes_on), "{stage} began anew each time: {said}");
        let [left_alone, ended] = [&calm, &killed].map(|run| contents(&run.join(outcome)));
        assert!(left_alone == ended, "{stage}: {outcome} differs after {kills} kills");
        report += &format!("{stage}: killed {kills} times\n");
    }
    for leftover in ["float.unfinished", "reference.unfinished", "tried"] {
        assert!(!killed.join(leftover).exists(), "{leftover}");
    }
    println!("{report}");
}

#[test]
fn one_process_at_a_time_has_a_run_and_a_dead_one_has_none() {
    let folder = tempfile::tempdir().unwrap();
    settings(folder.path());
    std::fs::write(folder.path().join("settings.toml"), SETTINGS.replace("epochs = 6.0", "epochs = 100000.0")).unwrap();
    let run = folder.path().join("run");
    let first = command("train", &run).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !run.join("config.toml").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    let said = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for stage in ["train", "search"] {
        let second = said(command(stage, &run).output().unwrap());
        assert!(second.contains(&format!("in use by process {} (releq train", first.id())), "{stage}: {second}");
    }
    kill(first);
    let third = said(command("search", &run).output().unwrap());
    assert!(third.contains("float.safetensors is missing"), "{third}");
}
