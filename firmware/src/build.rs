//! For build scripts of firmware that runs a model of its own (feature `build`, needs the standard library).

extern crate std;

use std::borrow::ToOwned;
use std::format;
use std::path::Path;
use std::string::{String, ToString};
use std::{env, fs, println};

use releq_shared::blob::{AlignedCopy, Blob};

use crate::engine::required_arena_on;
use crate::kernels::CoreClass;
use crate::kernels::class_name::flags_core;

/// Checks the model in `path` whole and writes a module called `name` into `OUT_DIR`, for
/// [`model!`](crate::model!). Called in `build.rs`, where cargo says which core the program is for.
///
/// # Errors
/// What is wrong with the file or the blob, in a sentence; to be passed on by the build script's `main`.
pub fn model(name: &str, path: impl AsRef<Path>) -> Result<(), String> {
    let path = path.as_ref();
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let lacking = |error: std::io::Error| named(&format_args!("{error} (`releq pack` makes a model)"));
    let path = fs::canonicalize(path).map_err(lacking)?;
    println!("cargo::rerun-if-changed={}", path.display());
    let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set: call this in a build script"));
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let target = variable("TARGET")?;
    let class = flags_core(&flags).map_or(CoreClass::of_target(&target), |core| CoreClass::of_core(core, &target));
    let text =
        module(name, &path, &fs::read(&path).map_err(|error| named(&error))?, class).map_err(|error| named(&error))?;
    let out = Path::new(&variable("OUT_DIR")?).join(format!("{name}.rs"));
    fs::write(&out, text).map_err(|error| format!("{}: {error}", out.display()))
}

/// The module's text, for a program on a core of some class.
fn module(name: &str, path: &Path, bytes: &[u8], class: CoreClass) -> Result<String, String> {
    let copy = AlignedCopy::new(bytes);
    let blob = Blob::new_checked(&copy).map_err(|error| error.to_string())?;
    let path = path.to_str().ok_or("the path is not Unicode")?.to_owned();
    let header = blob.header();
    let (len, arena) = (bytes.len(), required_arena_on(&blob, class));
    let (input, logits) = (header.input.elements(), header.output.elements());
    Ok(format!(
        "/// The model, packed by releq.\n\
         pub mod {name} {{\n\
         const _: () = assert!(::releq_firmware::CoreClass::HERE as u8 == {class}, \"built for another core than its model\");\n\
         static ALIGNED: ::releq_firmware::model::Aligned<{len}> = \
         ::releq_firmware::model::Aligned(*include_bytes!({path:?}));\n\
         /// The blob.\n\
         pub static BYTES: &[u8] = &ALIGNED.0;\n\
         /// Bytes of working memory that it needs on this core.\n\
         pub const ARENA_BYTES: usize = {arena};\n\
         /// Bytes of an input.\n\
         pub const INPUT_BYTES: usize = {input};\n\
         /// Logits of an output.\n\
         pub const LOGITS: usize = {logits};\n\
         }}\n",
        class = class as u8,
    ))
}

#[cfg(test)]
mod tests {
    use releq_shared::Bitwidth;

    use super::*;
    use crate::testing;

    #[test]
    fn a_module_states_what_the_model_needs_and_a_damaged_one_is_refused() {
        let class = CoreClass::ArmV7em;
        let mut bytes = testing::lenet([Bitwidth::new(1).unwrap(); 4], class, 1);
        let copy = AlignedCopy::new(&bytes);
        let needed = required_arena_on(&Blob::new_checked(&copy).unwrap(), class);
        let text = module("lenet", Path::new("/lenet.rlq"), &bytes, class).unwrap();
        assert!(text.contains(&format!("ARENA_BYTES: usize = {needed};")), "{text}");
        assert!(text.contains("INPUT_BYTES: usize = 784;") && text.contains("LOGITS: usize = 10;"), "{text}");
        *bytes.last_mut().unwrap() ^= 1;
        let refused = module("lenet", Path::new("/lenet.rlq"), &bytes, class).unwrap_err();
        assert!(refused.contains("damaged"), "{refused}");
    }
}
