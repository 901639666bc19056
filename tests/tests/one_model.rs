//! Images for one model: they run it as the host does, take no other, and are small.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::ControlFlow;

use releq::device::firmware::{self, Firmware, ImageOptions};
use releq::device::flash::FlashUse;
use releq::device::link::Patience;
use releq::device::qemu::Qemu;
use releq::device::{Link, board, toolchain};
use releq::progress::Progress;
use releq_firmware::random::Random;
use releq_firmware::testing;
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob};

/// Builds the image, boots it, and compares its answers with the host's.
fn image_that_agrees(name: &str, model: impl FnOnce(&releq::device::Board) -> Vec<u8>) -> Firmware {
    let board = board::by_name(name).unwrap();
    let model = AlignedCopy::new(&model(&board));
    let blob = Blob::new_checked(&model).unwrap();
    let image = firmware::build_for(&board, &blob, ImageOptions::default(), Progress::silent())
        .unwrap_or_else(|error| panic!("{error}"));
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Qemu::start(&qemu, &board, &image.elf, None).unwrap();
    let mut link = Link::new(emulator, Patience::default()).with_logs(&image.bytes, |line| println!("board: {line}"));
    link.hello().unwrap();
    let refused = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(refused.contains("room for 0"), "{refused}");
    let loaded = link.use_stored().unwrap();
    for seed in 0..2 {
        let mut data = vec![0; loaded.input as usize];
        Random::new(seed).fill(&mut data, u8::MAX);
        assert_eq!(link.infer(&data).unwrap().0, testing::run(&blob, &data), "{name}, input {seed}");
    }
    let by_use: u64 = image.flash.uses.iter().map(|share| share.bytes).sum();
    assert_eq!(by_use, image.flash.total(), "every byte has one use");
    assert!(image.flash.bytes_of(FlashUse::Model) >= model.len() as u64);
    image
}

fn lenet(bits: [u8; 4]) -> impl FnOnce(&releq::device::Board) -> Vec<u8> {
    move |board| testing::lenet(bits.map(|bits| Bitwidth::new(bits).unwrap()), board.class(), 1)
}

/// Images of one target share a place: one test builds them all.
#[test]
fn images_for_one_model_run_it_and_are_small() {
    for name in ["qemu-microbit", "qemu-mps2-an385", "qemu-mps2-an386", "qemu-mps2-an505", "qemu-mps3-an547"] {
        let flash = image_that_agrees(name, lenet([1; 4])).flash;
        let bytes = flash.bytes_of(FlashUse::Engine) + flash.bytes_of(FlashUse::Kernels);
        println!("{name}: {bytes} bytes of engine and kernels, {flash:?}");
        assert!(bytes <= 16 * 1024, "{name}: {bytes} bytes of engine and kernels");
    }
    image_that_agrees("qemu-mps2-an386", lenet([2, 3, 5, 8]));
    image_that_agrees("qemu-microbit", lenet([2, 3, 1, 5]));
    // Of all kinds of operation, with and without padding.
    for seed in [3, 11, 24] {
        image_that_agrees("qemu-mps2-an386", |_| testing::random_network(seed, testing::Limits::default()));
    }
}
