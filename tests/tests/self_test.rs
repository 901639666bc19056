//! Every core's kernels against the portable ones, on that core: random layers of odd shapes, in every bitwidth and layout, with the
//! extremes of values (`firmware/src/self_test.rs`).
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use releq::device::firmware::{self, ImageOptions, Purpose};
use releq::device::link::Patience;
use releq::device::qemu::Qemu;
use releq::device::{DeviceError, Link, board, toolchain};
use releq::progress::Progress;

fn agrees_with_the_portable_kernels(name: &str) {
    let board = board::by_name(name).unwrap();
    let options = ImageOptions { purpose: Purpose::TestItself, ..ImageOptions::default() };
    let image = firmware::build_with(&board, options, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Qemu::start(&qemu, &board, &image.elf, None).unwrap();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let mut link = Link::new(emulator, Patience { timeout: Duration::from_secs(300), attempts: 1 })
        .with_logs(&image.bytes, move |line| heard.borrow_mut().push(line.to_owned()));
    // The first byte starts the test; there is no answer, but the emulator ends with the test.
    let error = link.hello().unwrap_err();
    let lines = lines.borrow();
    assert!(matches!(error, DeviceError::LinkLost(_)), "{error}: {lines:?}");
    let passed = lines.iter().any(|line| line.contains("self-test: 4000 layers are as the portable kernels have them"));
    assert!(passed, "{name}: {lines:#?}");
}

macro_rules! each {
    ($($test:ident: $board:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            agrees_with_the_portable_kernels($board);
        })*
    };
}

each! {
    cortex_m0: "qemu-microbit",
    cortex_m3: "qemu-mps2-an385",
    cortex_m4: "qemu-mps2-an386",
    cortex_m7: "qemu-mps2-an500",
    cortex_m33: "qemu-mps2-an505",
    cortex_m55: "qemu-mps3-an547",
}
