//! Takes the model into the program, and tells the linker of the board's memory.

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=MODEL");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    releq_firmware::build::model("model", std::env::var("MODEL").unwrap_or_else(|_| "model.rlq".into()))
}
