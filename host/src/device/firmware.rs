//! Builds a board's firmware image.

use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};
use releq_firmware::engine::required_arena_on;
use releq_firmware::needs::Needs;
use releq_shared::blob::Blob;

use super::board::source_root;
use super::cargo::cargo_build;
use super::flash::FlashReport;
use super::placement::check_arena;
use super::toolchain::ensure_target;
use super::{Board, DeviceError};
use crate::progress::Progress;

/// A built image.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// The ELF file.
    pub elf: PathBuf,
    /// Its contents, for the decoder of logs.
    pub bytes: Vec<u8>,
    /// What its flash is used for.
    pub flash: FlashReport,
}

impl Firmware {
    /// Bytes from the image's start to its end, as the image counts them itself; 0 if its symbols do not tell.
    #[must_use]
    pub fn flash_used(&self) -> u64 {
        let file = object::File::parse(&*self.bytes).ok();
        let address = |name: &str| Some(file.as_ref()?.symbol_by_name(name)?.address());
        let end = || (address("__sidata")? + address("__edata")?).checked_sub(address("__sdata")?);
        let used = end().zip(address("__vector_table")).and_then(|(end, start)| end.checked_sub(start));
        used.unwrap_or_default()
    }
}

impl ImageLine {
    /// The UART, or the usual one.
    #[must_use]
    pub const fn uart_if(by_uart: bool) -> Self {
        if by_uart { Self::Uart } else { Self::Usual }
    }
}

/// How much an image says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Nothing, not even why it starts again.
    Off,
    /// Why it starts again.
    Error,
    /// And what may lead to that.
    Warn,
    /// And that it is up.
    #[default]
    Info,
    /// And each model that it accepts or refuses.
    Debug,
    /// And each inference.
    Trace,
}

impl LogLevel {
    /// As defmt names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What an image is built with besides what it always has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// How much it says.
    pub log: LogLevel,
    /// What it is for.
    pub purpose: Purpose,
    /// How it is reached.
    pub line: ImageLine,
}

/// How an image is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageLine {
    /// As is usual on its board: by the debug probe, or by the emulator's semihosting.
    #[default]
    Usual,
    /// By the UART of a real board.
    Uart,
}

/// What an image is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To serve a host.
    #[default]
    Serve,
    /// To serve, and to fail when it is asked to: for tests of what catches failures.
    Fail,
    /// To compare its core's kernels with the portable ones and to say how that went: for tests of the kernels.
    TestItself,
}

impl Purpose {
    /// The feature of the image's crate for it.
    const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Serve => None,
            Self::Fail => Some("provoke"),
            Self::TestItself => Some("self-test"),
        }
    }
}

impl ImageOptions {
    /// Where images of this kind are built: apart from others, so that building the one does not undo the other.
    fn folder(self) -> String {
        // A line needs no folder of its own: only the last crate depends on it.
        let Self { log, purpose, line: _ } = self;
        let log = if log == LogLevel::default() { String::new() } else { format!("/log-{}", log.name()) };
        let purpose = purpose.feature().map_or_else(String::new, |feature| format!("/{feature}"));
        format!("target/firmware{log}{purpose}")
    }
}

/// Builds the image of a board; what is up to date is not built again.
///
/// # Errors
/// [`DeviceError`]: a tool is missing, or the compiler's words.
pub fn build(board: &Board, progress: Progress) -> Result<Firmware, DeviceError> {
    build_with(board, ImageOptions::default(), progress)
}

/// [`build`] with other options than the usual ones.
///
/// # Errors
/// As [`build`].
pub fn build_with(board: &Board, options: ImageOptions, progress: Progress) -> Result<Firmware, DeviceError> {
    build_image(board, options, None, progress)
}

/// Builds an image of a board that carries `model` and nothing that this model does not need.
///
/// # Errors
/// As [`build`]; [`DeviceError::DoesNotFit`] if the board's arena is too small for the model.
pub fn build_for(
    board: &Board,
    model: &Blob<'_>,
    options: ImageOptions,
    progress: Progress,
) -> Result<Firmware, DeviceError> {
    check_arena(board, model)?;
    build_image(board, options, Some(model), progress)
}

fn build_image(
    board: &Board,
    options: ImageOptions,
    model: Option<&Blob<'_>>,
    progress: Progress,
) -> Result<Firmware, DeviceError> {
    if options.line == ImageLine::Uart && board.chip()?.uart.is_none() {
        return Err(DeviceError::NoUart { board: board.name.clone() });
    }
    let toolchain = ensure_target(&board.target, progress)?;
    let root = source_root()?;
    let target_dir = root.join(options.folder()).join(if model.is_some() { "one-model" } else { "" });
    let images = target_dir.join("images");
    std::fs::create_dir_all(&images).map_err(|source| DeviceError::Io { path: images.clone(), source })?;
    // Boards of one target share all but the last crate, and the place of the image: one build at a time, in all
    // processes, until the image is copied away. The lock ends with the file.
    let lock_path = images.join("lock");
    let lock = std::fs::File::create(&lock_path).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|source| DeviceError::Io { path: lock_path, source })?;
    let mut command = cargo_build(&toolchain);
    command.current_dir(&root).args(["--quiet", "--package", "releq-boards", "--profile", "firmware"]);
    command.args(["--target", &board.target]).arg("--target-dir").arg(&target_dir);
    command.env("RELEQ_BOARD", &board.folder).env("DEFMT_LOG", options.log.name());
    if options.line == ImageLine::Uart {
        command.env("RELEQ_LINE", "uart");
    }
    if let Some(feature) = options.purpose.feature() {
        command.args(["--features", feature]);
    }
    let mut flags = reproducible(&root);
    if let Some(cpu) = &board.target_cpu {
        flags.push(format!("-Ctarget-cpu={cpu}"));
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let wrong =
        |error: &dyn std::fmt::Display| DeviceError::Build { board: board.name.clone(), output: error.to_string() };
    if let Some(model) = model {
        let path = images.join("model.rlq");
        crate::run::write_atomically(&path, model.as_bytes()).map_err(|error| wrong(&error))?;
        command.env("RELEQ_NEEDS", Needs::of(model, board.class()).bits().to_string()).env("RELEQ_MODEL", path);
        command.env("RELEQ_ARENA_BYTES", required_arena_on(model, board.class()).to_string());
    }
    run_build(&mut command, board)?;
    let built = target_dir.join(&board.target).join("firmware/releq-boards");
    let bytes = std::fs::read(&built).map_err(|source| DeviceError::Io { path: built, source })?;
    let line = if options.line == ImageLine::Uart { "-uart" } else { "" };
    let elf = images.join(format!("{}{line}.elf", board.name));
    crate::run::write_atomically(&elf, &bytes).map_err(|error| wrong(&error))?;
    let flash = FlashReport::of(&bytes).map_err(|error| wrong(&error))?;
    Ok(Firmware { elf, bytes, flash })
}

/// Flags by which an image is the same bytes wherever the sources and cargo's packages lie. (`.ci/check-reproducible` builds one
/// twice.)
fn reproducible(root: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from);
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".cargo")));
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let packages = cargo.map(|cargo| remap(&cargo, "/cargo"));
    std::iter::once(remap(root, "/releq")).chain(packages).collect()
}

/// The C interface's header, which belongs to the library that [`build_c_library`] makes.
pub const C_HEADER: &str = "firmware/c/releq.h";

/// Builds the engine as a static library for programs in C on a board's core, and puts `libreleq.a` and `releq.h` into `out`.
///
/// # Errors
/// [`DeviceError`]: a tool is missing, the compiler's words, or `out` cannot be written.
pub fn build_c_library(board: &Board, out: &Path, progress: Progress) -> Result<(), DeviceError> {
    let toolchain = ensure_target(&board.target, progress)?;
    let root = source_root()?;
    // Apart for each processor: what depends on it is built with its flags.
    let target_dir = root.join("target/firmware/c").join(board.target_cpu.as_deref().unwrap_or("any"));
    let mut command = cargo_build(&toolchain);
    command.current_dir(root.join("firmware/c")).args(["--quiet", "--release", "--target", &board.target]);
    command.arg("--target-dir").arg(&target_dir);
    if let Some(cpu) = &board.target_cpu {
        command.env("RUSTFLAGS", format!("-C target-cpu={cpu}"));
    }
    run_build(&mut command, board)?;
    std::fs::create_dir_all(out).map_err(|source| DeviceError::Io { path: out.to_owned(), source })?;
    let library = target_dir.join(&board.target).join("release/libreleq.a");
    for (from, name) in [(library, "libreleq.a"), (root.join(C_HEADER), "releq.h")] {
        std::fs::copy(&from, out.join(name)).map_err(|source| DeviceError::Io { path: from, source })?;
    }
    Ok(())
}

/// Runs a build; the compiler's last words if it fails.
fn run_build(command: &mut Command, board: &Board) -> Result<(), DeviceError> {
    let output = command.output().map_err(|source| DeviceError::Io { path: PathBuf::from("cargo"), source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(30)..].join("\n");
    Err(DeviceError::Build { board: board.name.clone(), output: last })
}
