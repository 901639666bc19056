//! On virtual boards: every answer equals the host's, bit for bit, and nothing that is sent brings a board down.
//!
//! These tests install what they lack (a Cortex-M target, QEMU), or fail and say which command to run; none is skipped.
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::rc::Rc;

use releq::device::qemu::Qemu;
use releq::device::{DeviceError, Link, board};
use releq::progress::Progress;
use releq::stages;
use releq_firmware::kernels::CoreClass;
use releq_firmware::random::Random;
use releq_firmware::testing;
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob, BlobError};
use releq_shared::wire;

fn boot(name: &str) -> (Link<Qemu>, CoreClass) {
    let board = board::by_name(name).unwrap();
    let link = stages::boot(&board, Progress::silent(), |line| println!("board: {line}"));
    let mut link = link.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(link.hello().unwrap().board, name);
    (link, CoreClass::of_core(&board.core, &board.target))
}

fn input(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes, u8::MAX);
    bytes
}

/// Loads a model, runs it on some inputs, and compares with the host.
fn assert_agrees(link: &mut Link<Qemu>, model: &[u8], inputs: u64, what: &str) {
    let model = AlignedCopy::new(model);
    let blob = Blob::new_checked(&model).unwrap();
    let loaded = link.load(&model, &mut |_| ()).unwrap();
    for seed in 0..inputs {
        let data = input(loaded.input as usize, seed);
        let (logits, ticks) = link.infer(&data).unwrap();
        assert_eq!(logits, testing::run(&blob, &data), "{what}, input {seed}");
        assert!(ticks > 0, "{what}: the counter stands still");
    }
}

/// LeNet in each bitwidth and layout of the board's core, and networks of all kinds.
fn board_agrees_with_the_host(name: &str) {
    let (mut link, class) = boot(name);
    for bits in [[1, 1, 1, 1], [2, 3, 2, 4], [5, 8, 5, 8]] {
        let bits = bits.map(|bits| Bitwidth::new(bits).unwrap());
        assert_agrees(&mut link, &testing::lenet(bits, class, 1), 2, &format!("{name}, lenet at {bits:?}"));
    }
    for seed in 0..40 {
        let model = testing::random_network(seed, testing::Limits::default());
        assert_agrees(&mut link, &model, 2, &format!("{name}, random network {seed}"));
    }
}

#[test]
fn cortex_m4_agrees_with_the_host() {
    board_agrees_with_the_host("qemu-mps2-an386");
}

#[test]
fn cortex_m3_agrees_with_the_host() {
    board_agrees_with_the_host("qemu-mps2-an385");
}

#[test]
fn cortex_m7_agrees_with_the_host() {
    board_agrees_with_the_host("qemu-mps2-an500");
}

#[test]
fn unsound_models_are_refused_and_the_board_lives_on() {
    let (mut link, class) = boot("qemu-mps2-an386");
    let sound = testing::lenet([Bitwidth::MIN; 4], class, 1);
    let mut refused = |model: &[u8]| match link.load(model, &mut |_| ()) {
        Err(DeviceError::Refused(wire::DeviceError::Blob(error))) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&sound[..sound.len() - 16]), BlobError::LengthMismatch { .. }));
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 0x10;
    assert!(matches!(refused(&flipped), BlobError::BadChecksum { .. }));
    let mut version = sound.clone();
    version[4] = 77;
    assert_eq!(refused(&version), BlobError::UnsupportedVersion { found: 77 });
    // Hostile: changed and sealed again, so that only the checks stand in the way.
    let mut random = Random::new(9);
    for seed in 0..30 {
        let mut hostile = AlignedCopy::new(&testing::random_network(seed, testing::Limits::default()));
        let place = 20 + random.within(0..=(hostile.len() - 21) as u32) as usize;
        hostile[place] ^= 1 << random.within(0..=7);
        hostile.seal();
        let loaded = link.load(&hostile, &mut |_| ());
        if let Ok(loaded) = loaded {
            link.infer(&input(loaded.input as usize, seed)).unwrap();
        }
    }
    let too_large = vec![0; 2 << 20];
    let error = link.load(&too_large, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DeviceError::Refused(wire::DeviceError::ModelTooLarge { .. })), "{error}");
    assert_agrees(&mut link, &sound, 1, "after all that");
}

#[test]
fn a_board_that_is_started_again_can_be_loaded_again() {
    let (mut link, class) = boot("qemu-mps2-an386");
    let model = testing::lenet([Bitwidth::MIN; 4], class, 1);
    link.load(&model, &mut |_| ()).unwrap();
    link.reset().unwrap();
    link.hello().unwrap();
    let error = link.infer(&[0; 784]).unwrap_err();
    assert!(error.to_string().contains("no valid model"), "{error}");
    assert_agrees(&mut link, &model, 1, "after a reset");
}

#[test]
fn instruction_counts_repeat_exactly_and_memory_is_reported() {
    let (mut link, class) = boot("qemu-mps2-an386");
    link.load(&testing::lenet([Bitwidth::MIN; 4], class, 1), &mut |_| ()).unwrap();
    let data = input(784, 1);
    let (_, first) = link.infer(&data).unwrap();
    let profile = link.profile().unwrap();
    let (_, second) = link.infer(&data).unwrap();
    assert!(first.abs_diff(second) <= 2, "{first} and {second}: more than the reading of the counter");
    assert_eq!(profile.len(), 4);
    assert!(profile.iter().sum::<u64>() <= first);
    let memory = link.memory().unwrap();
    assert!(memory.stack_used > 500 && memory.stack_used < memory.stack_total, "{memory:?}");
    assert!(memory.flash_used > 10_000 && memory.flash_used < 200_000, "{memory:?}");
}

#[test]
fn the_boards_log_arrives_decoded() {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let board = board::by_name("qemu-mps2-an386").unwrap();
    let link = stages::boot(&board, Progress::silent(), move |line| heard.borrow_mut().push(line.to_owned()));
    let mut link = link.unwrap_or_else(|error| panic!("{error}"));
    link.hello().unwrap();
    let lines = lines.borrow();
    assert!(lines.iter().any(|line| line.contains("qemu-mps2-an386 is up, 25000000 Hz")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("main.rs:")), "file and line: {lines:?}");
}
