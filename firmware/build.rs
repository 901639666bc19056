//! Names the class of core that the crate is built for, since `target_feature = "dsp"` and its kin are not visible to
//! `cfg` on the stable toolchain. The kernels' one switch reads `core_class`.

#[path = "src/kernels/class_name.rs"]
mod class_name;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RELEQ_NEEDS");
    println!("cargo::rerun-if-changed=src/kernels/class_name.rs");
    println!("cargo::rustc-check-cfg=cfg(core_class, values(\"armv6m\", \"armv7m\", \"armv7em\", \"armv81m-mve\"))");
    let target = std::env::var("TARGET").unwrap_or_default();
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let class = class_name::class_name(&target, class_name::flags_core(&flags));
    if let Some(class) = class {
        println!("cargo::rustc-cfg=core_class=\"{class}\"");
    }
    println!("cargo::rustc-check-cfg=cfg(armv8m)");
    if target.starts_with("thumbv8m") {
        println!("cargo::rustc-cfg=armv8m");
    }
    // The needs of the one model that an image is for; all of them otherwise.
    let needs = std::env::var("RELEQ_NEEDS").ok().filter(|_| class.is_some());
    let needs: u32 = needs.map_or(u32::MAX, |needs| needs.parse().expect("RELEQ_NEEDS is a number"));
    let text = format!("/// What this build has.\npub const HERE: Needs = Needs({needs:#x});\n");
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(std::path::Path::new(&out).join("needs.rs"), text).expect("needs.rs can be written");
}
