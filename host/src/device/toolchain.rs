//! Set-up: the Cortex-M targets and QEMU. What is missing is installed where that is allowed; where it is not, the error
//! says which command to run.
//!
//! A target comes from `rustup target add`. Where rustup's server cannot be reached, Debian's `rustc-web` and
//! `rust-web-src` serve: a compiler with its sources, from which cargo builds `core` for the target.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::DeviceError;
use crate::progress::Progress;

/// How long rustup may try before the other way is taken.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(60);

/// How to build for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain in use has the target.
    Rustup,
    /// Debian's compiler builds `core` itself; rustup's linker is in this folder.
    BuildStd {
        /// The compiler.
        rustc: PathBuf,
        /// The folder of `rust-lld`.
        linker: PathBuf,
    },
}

/// One set-up at a time in this process: tests ask for it from several threads.
static SETTING_UP: Mutex<()> = Mutex::new(());

/// Makes sure that `target` can be built for.
///
/// # Errors
/// [`DeviceError::MissingTool`] with the command to run.
pub fn ensure_target(target: &str, progress: Progress) -> Result<Toolchain, DeviceError> {
    let _one = SETTING_UP.lock();
    let sysroot = output("rustc", &["--print", "sysroot"]).unwrap_or_default();
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    if libraries.join(target).join("lib").is_dir() {
        return Ok(Toolchain::Rustup);
    }
    let build_std = || debian_toolchain(&libraries);
    if let Some(toolchain) = build_std() {
        return Ok(toolchain);
    }
    progress.say(format_args!("the Rust target {target} is missing: rustup target add {target}"));
    if run_within(Command::new("rustup").args(["target", "add", target]), RUSTUP_PATIENCE)
        && libraries.join(target).join("lib").is_dir()
    {
        return Ok(Toolchain::Rustup);
    }
    progress.say("rustup cannot fetch it here; installing Debian's rustc-web and rust-web-src instead");
    install(&["rustc-web", "rust-web-src"], None);
    build_std().ok_or_else(|| DeviceError::MissingTool {
        what: format!("the Rust target {target}"),
        command: format!("rustup target add {target}"),
    })
}

/// Debian's compiler, if it is here with its sources, beside rustup's linker.
fn debian_toolchain(libraries: &Path) -> Option<Toolchain> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    let sysroot = output(rustc.to_str()?, &["--print", "sysroot"])?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    let host = output("rustc", &["-vV"])?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let linker = libraries.join(host).join("bin");
    (sources.is_dir() && linker.join("rust-lld").exists()).then_some(Toolchain::BuildStd { rustc, linker })
}

/// Makes sure that QEMU's Arm emulator is here, and returns its path.
///
/// # Errors
/// [`DeviceError::MissingTool`] with the command to run.
pub fn ensure_qemu(progress: Progress) -> Result<PathBuf, DeviceError> {
    let _one = SETTING_UP.lock();
    const NAME: &str = "qemu-system-arm";
    if let Some(path) = find_program(NAME) {
        return Ok(path);
    }
    progress.say("QEMU's Arm emulator is missing: installing it");
    install(&[NAME], Some("qemu"));
    find_program(NAME).ok_or_else(|| DeviceError::MissingTool {
        what: "QEMU's Arm emulator (qemu-system-arm)".to_owned(),
        command: if cfg!(target_os = "macos") { "brew install qemu" } else { "sudo apt-get install qemu-system-arm" }
            .to_owned(),
    })
}

/// Makes sure that GCC for Arm microcontrollers is here, with newlib, and returns its path. Only the tests and the example in C want it.
///
/// # Errors
/// [`DeviceError::MissingTool`] with the command to run.
pub fn ensure_arm_gcc(progress: Progress) -> Result<PathBuf, DeviceError> {
    let _one = SETTING_UP.lock();
    const NAME: &str = "arm-none-eabi-gcc";
    if let Some(path) = find_program(NAME) {
        return Ok(path);
    }
    progress.say("GCC for Arm microcontrollers is missing: installing it");
    install(&["gcc-arm-none-eabi", "libnewlib-arm-none-eabi"], Some("arm-none-eabi-gcc"));
    find_program(NAME).ok_or_else(|| DeviceError::MissingTool {
        what: format!("GCC for Arm microcontrollers ({NAME})"),
        command: if cfg!(target_os = "macos") {
            "brew install --cask gcc-arm-embedded"
        } else {
            "sudo apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"
        }
        .to_owned(),
    })
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// What a program prints, if it succeeds. `RUSTC` and toolchain overrides that cargo set for this process are kept away.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, for so long at most; whether it succeeded.
fn run_within(command: &mut Command, patience: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                // It had its time; whether it can be ended changes nothing for us.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Installs Debian packages, or a brew formula on macOS, as root or by a sudo that asks for no password. The caller looks
/// whether that helped.
fn install(debian: &[&str], brew: Option<&str>) {
    if cfg!(target_os = "macos") {
        if let Some(formula) = brew {
            let _ = Command::new("brew").args(["install", formula]).status();
        }
        return;
    }
    let root = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    let apt_get = |arguments: &[&str]| {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]);
            sudo
        };
        let command = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let packages: Vec<&str> = ["install", "-y", "-qq"].into_iter().chain(debian.iter().copied()).collect();
    // An old package list is the usual reason for a first failure.
    if !apt_get(&packages) && apt_get(&["update", "-qq"]) {
        apt_get(&packages);
    }
}
