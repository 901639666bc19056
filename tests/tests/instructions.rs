//! Images contain no instruction that their core lacks: QEMU would run it, the real core would fault.
#![allow(clippy::unwrap_used, missing_docs)]

use releq::device::{board, firmware};
use releq::progress::Progress;
use releq_tests::thumb::{Core, function_at, instructions};

/// The image of a board, and what of it `core` lacks.
fn lacking(name: &str, core: Core) -> (usize, Vec<String>) {
    let board = board::by_name(name).unwrap();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}")).bytes;
    let all = instructions(&image);
    let lacking = all.iter().filter_map(|instruction| {
        let why = instruction.lacking_on(core)?;
        Some(format!("{:#x} in {}: {why}", instruction.address, function_at(&image, instruction.address)))
    });
    (all.len(), lacking.collect())
}

#[test]
fn cortex_m0_has_every_instruction_of_its_image() {
    let (all, lacking) = lacking("qemu-microbit", Core::ArmV6m);
    assert!(all > 5000, "only {all} instructions found");
    assert!(lacking.is_empty(), "{} of {all}: {lacking:#?}", lacking.len());
}

#[test]
fn cortex_m3_has_every_instruction_of_its_image() {
    let (all, lacking) = lacking("qemu-mps2-an385", Core::ArmV7m);
    assert!(all > 5000, "only {all} instructions found");
    assert!(lacking.is_empty(), "{} of {all}: {lacking:#?}", lacking.len());
}

#[test]
fn an_image_for_cortex_m4_would_be_caught() {
    let (all, on_m3) = lacking("qemu-mps2-an386", Core::ArmV7m);
    assert!(on_m3.len() > 50, "{} of {all}", on_m3.len());
    for kernel in ["dsp_conv", "dsp_dense", "dsp_spread"] {
        assert!(on_m3.iter().any(|found| found.contains(kernel)), "nothing in {kernel}: {on_m3:#?}");
    }
}
