//! What is left when the program is killed: nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The emulators that a process has started.
fn emulators_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|&process: &u32| parent_and_name(process) == Some((parent, true))).collect()
}

/// The parent of a process, and whether it is an emulator that still runs.
fn parent_and_name(process: u32) -> Option<(u32, bool)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, name.contains("(qemu-system-arm") && state != "Z"))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(300) {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} has not happened in five minutes");
}

#[test]
fn an_emulator_ends_with_the_program_that_started_it_even_if_that_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_releq"));
    command.args(["bench", "kernels", "--board", "qemu-mps2-an386"]);
    let mut program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let emulator = wait_for("a board's start", || {
        assert!(program.try_wait().unwrap().is_none(), "releq has ended before it was killed");
        emulators_of(program.id()).first().copied()
    });
    // That is SIGKILL: nothing of the program gets to run any more.
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for("the emulator's end", || parent_and_name(emulator).is_none_or(|(_, runs)| !runs).then_some(()));
}
