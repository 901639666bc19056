//! Which class a core is of, in one place: a module of the crate and of its build script.

/// The name, as in `cfg(core_class = "...")`, of the class that kernels are chosen for: that of `core` ("cortex-m4f", as
/// in a board.toml or after `-C target-cpu=`) if it is known, or else of the cores that a Rust target triple is for.
pub(super) fn class_name(triple: &str, core: Option<&str>) -> Option<&'static str> {
    match core.unwrap_or_default() {
        "cortex-m0" | "cortex-m0plus" | "cortex-m0+" | "cortex-m1" | "cortex-m23" => return Some("armv6m"),
        "cortex-m3" => return Some("armv7m"),
        "cortex-m4" | "cortex-m4f" | "cortex-m7" | "cortex-m7f" | "cortex-m33" => return Some("armv7em"),
        "cortex-m52" | "cortex-m55" | "cortex-m85" => return Some("armv81m-mve"),
        _ => {}
    }
    if triple.starts_with("thumbv7em") || triple.starts_with("thumbv8m.main") {
        Some("armv7em")
    } else if triple.starts_with("thumbv7m") {
        Some("armv7m")
    } else if triple.starts_with("thumbv6m") || triple.starts_with("thumbv8m.base") {
        Some("armv6m")
    } else {
        None
    }
}

/// The core that a compiler's flags name (`-C target-cpu=...`, with or without the space), as `CARGO_ENCODED_RUSTFLAGS` has them.
#[cfg_attr(not(any(test, feature = "build")), allow(dead_code))]
pub(crate) fn flags_core(flags: &str) -> Option<&str> {
    flags.split('\x1f').find_map(|flag| flag.trim_start_matches("-C").strip_prefix("target-cpu="))
}
