//! Boards that fail, and what the host makes of it: every kind of core says why, over the link, and serves again.
//!
//! The images are built to fail on demand (`boards/src/provoke.rs`); what catches the failure is in every image.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use releq::device::firmware::{self, ImageOptions, Purpose};
use releq::device::link::Patience;
use releq::device::qemu::Qemu;
use releq::device::{DeviceError, Link, board, toolchain};
use releq::progress::Progress;
use releq_firmware::testing;
use releq_shared::wire::Provocation;

/// Runs every test on a core without memory protection, and on one with each kind of it.
macro_rules! each {
    ($($test:ident),* $(,)?) => {
        mod cortex_m0 { $(#[test] fn $test() { super::$test("qemu-microbit"); })* }
        mod cortex_m4 { $(#[test] fn $test() { super::$test("qemu-mps2-an386"); })* }
        mod cortex_m33 { $(#[test] fn $test() { super::$test("qemu-mps2-an505"); })* }
    };
}

each!(
    a_panic_is_reported_with_file_and_line,
    a_hard_fault_is_reported_with_the_registers,
    a_stack_overflow_is_reported_as_such,
    a_start_in_the_middle_is_noticed_and_so_is_a_power_failure,
);

/// A board with the smallest model in its flash.
fn boot(name: &str) -> Link<Qemu> {
    let board = board::by_name(name).unwrap();
    let options = ImageOptions { purpose: Purpose::Fail, ..ImageOptions::default() };
    let image = firmware::build_with(&board, options, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let model = testing::random_network(1, testing::Limits::default());
    let emulator = Qemu::start(&qemu, &board, &image.elf, Some(&model)).unwrap();
    // A watchdog waits long, and the machine that emulates the board may be busy.
    let patience = Patience { timeout: Duration::from_secs(120), attempts: 1 };
    let mut link = Link::new(emulator, patience).with_logs(&image.bytes, |line| println!("board: {line}"));
    link.hello().unwrap();
    link
}

/// What the host says of a failure, after which the board serves again.
fn failure(name: &str, what: Provocation) -> String {
    let mut link = boot(name);
    let error = link.provoke(what).unwrap_err();
    assert!(matches!(error, DeviceError::NoAnswer { .. }), "{error}");
    assert_eq!(link.hello().unwrap().board, name, "it is there again");
    link.use_stored().unwrap();
    error.to_string()
}

fn a_panic_is_reported_with_file_and_line(name: &str) {
    let said = failure(name, Provocation::Panic);
    assert!(said.contains("panic at boards/src/provoke.rs:"), "{said}");
}

fn a_hard_fault_is_reported_with_the_registers(name: &str) {
    let said = failure(name, Provocation::HardFault);
    for part in ["hard fault at pc 0x", "lr 0x", "r0 0x11111111", "r1 0x22222222", "r2 0x33333333", "r3 0x44444444"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("xpsr 0x"), "{said}");
    // An undefined instruction, which no handler of its own took. Armv6-M has no such registers.
    let status = said.contains("cfsr 0x00010000") && said.contains("hfsr 0x40000000");
    assert_eq!(status, name != "qemu-microbit", "{said}");
}

fn a_stack_overflow_is_reported_as_such(name: &str) {
    let said = failure(name, Provocation::StackOverflow);
    assert!(said.contains("stack overflow: more than the "), "{said}");
}

/// On one core only: the watchdog is the same on all, and it waits long.
#[test]
fn a_board_that_hangs_is_started_again() {
    let said = failure("qemu-microbit", Provocation::Hang);
    assert!(said.contains("watchdog: no progress for "), "{said}");
}

fn a_start_in_the_middle_is_noticed_and_so_is_a_power_failure(name: &str) {
    let mut link = boot(name);
    let loaded = link.use_stored().unwrap();
    let input = vec![1; loaded.input as usize];
    link.infer(&input).unwrap();
    link.provoke(Provocation::Panic).unwrap_err();
    let error = link.infer(&input).unwrap_err();
    assert!(matches!(error, DeviceError::Restarted { .. }), "{error}");
    assert!(error.to_string().contains("panic at boards/src/provoke.rs:"), "{error}");
    link.transport_mut().cut_power();
    let error = link.infer(&input).unwrap_err();
    assert!(matches!(error, DeviceError::LinkLost(_)), "{error}");
    assert!(error.to_string().contains("start the command again"), "{error}");
}
