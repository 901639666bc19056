//! Names the class of core that the crate is built for, since `target_feature = "dsp"` and its kin are not visible to
//! `cfg` on the stable toolchain. The kernels' one switch reads `core_class`.

#[path = "src/kernels/class_name.rs"]
mod class_name;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/kernels/class_name.rs");
    println!("cargo::rustc-check-cfg=cfg(core_class, values(\"armv6m\", \"armv7m\", \"armv7em\", \"armv81m-mve\"))");
    let target = std::env::var("TARGET").unwrap_or_default();
    // `-C target-cpu=...`, with or without the space.
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let core = flags.split('\x1f').find_map(|flag| flag.trim_start_matches("-C").strip_prefix("target-cpu="));
    if let Some(class) = class_name::class_name(&target, core) {
        println!("cargo::rustc-cfg=core_class=\"{class}\"");
    }
}
