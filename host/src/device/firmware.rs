//! Builds a board's firmware image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use object::{Object, ObjectSection, SectionKind};
use releq_firmware::CoreClass;

use super::board::source_root;
use super::toolchain::{Toolchain, ensure_target};
use super::{Board, DeviceError};
use crate::progress::Progress;

/// A built image.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// The ELF file.
    pub elf: PathBuf,
    /// Its contents, for the decoder of logs.
    pub bytes: Vec<u8>,
    /// Bytes in flash, by section.
    pub flash: BTreeMap<String, u64>,
}

impl Firmware {
    /// Bytes in flash.
    #[must_use]
    pub fn flash_bytes(&self) -> u64 {
        self.flash.values().sum()
    }
}

/// Builds the image of a board; what is up to date is not built again.
///
/// # Errors
/// [`DeviceError`]: a tool is missing, or the compiler's words.
pub fn build(board: &Board, progress: Progress) -> Result<Firmware, DeviceError> {
    let toolchain = ensure_target(&board.target, progress)?;
    let root = source_root()?;
    let target_dir = root.join("target/firmware");
    let images = target_dir.join("images");
    std::fs::create_dir_all(&images).map_err(|source| DeviceError::Io { path: images.clone(), source })?;
    // Boards of one target share all but the last crate, and the place of the image: one build at a time, in all
    // processes, until the image is copied away. The lock ends with the file.
    let lock_path = images.join("lock");
    let lock = std::fs::File::create(&lock_path).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|source| DeviceError::Io { path: lock_path, source })?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&root).args(["build", "--quiet", "--package", "releq-boards", "--profile", "firmware"]);
    command.args(["--target", &board.target]).arg("--target-dir").arg(&target_dir);
    command.env("RELEQ_BOARD", &board.name).env("DEFMT_LOG", "info");
    // Settings meant for the host's build must not reach the board's.
    for variable in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC", "CARGO_BUILD_TARGET", "RUSTDOCFLAGS"]
    {
        command.env_remove(variable);
    }
    // The firmware's build script takes the class of core from here.
    if let Some(cpu) = CoreClass::of_core(&board.core, &board.target).target_cpu() {
        command.env("RUSTFLAGS", format!("-Ctarget-cpu={cpu}"));
    }
    if let Toolchain::BuildStd { rustc, linker } = toolchain {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(linker).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
    }
    let output = command.output().map_err(|source| DeviceError::Io { path: PathBuf::from("cargo"), source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        return Err(DeviceError::Build { board: board.name.clone(), output: last });
    }
    let built = target_dir.join(&board.target).join("firmware/releq-boards");
    let bytes = std::fs::read(&built).map_err(|source| DeviceError::Io { path: built, source })?;
    let elf = images.join(format!("{}.elf", board.name));
    crate::run::write_atomically(&elf, &bytes)
        .map_err(|error| DeviceError::Build { board: board.name.clone(), output: error.to_string() })?;
    let flash = flash_sections(&bytes)
        .map_err(|error| DeviceError::Build { board: board.name.clone(), output: error.to_string() })?;
    Ok(Firmware { elf, bytes, flash })
}

/// The sections that occupy flash: code, constants, and the initial values of data.
fn flash_sections(elf: &[u8]) -> Result<BTreeMap<String, u64>, object::Error> {
    let file = object::File::parse(elf)?;
    let in_flash = file.sections().filter(|section| {
        let kept = matches!(section.kind(), SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::Data);
        kept && section.size() > 0 && section.name().is_ok_and(|name| !name.starts_with(".defmt"))
    });
    in_flash.map(|section| Ok((section.name()?.to_owned(), section.size()))).collect()
}
