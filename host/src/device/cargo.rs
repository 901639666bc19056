//! Cargo, called for a board's target.

use std::process::Command;

use super::toolchain::Toolchain;

/// `cargo build` for a microcontroller, with nothing set that was meant for the host's build. The caller adds the folder, the target
/// and what to build.
#[must_use]
pub fn cargo_build(toolchain: &Toolchain) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("build");
    // Settings meant for the host's build must not reach the board's.
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC",
        "CARGO_BUILD_TARGET",
        "RUSTDOCFLAGS",
        "RELEQ_NEEDS",
        "RELEQ_MODEL",
        "RELEQ_ARENA_BYTES",
    ] {
        command.env_remove(variable);
    }
    let profiles = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for variable in profiles.filter(|name| name.starts_with("CARGO_PROFILE_") || name == "CARGO_INCREMENTAL") {
        command.env_remove(variable);
    }
    if let Toolchain::BuildStd { rustc, linker } = toolchain {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(linker.clone()).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
    }
    command
}
