//! Blobs made to do harm, on virtual boards: each is refused for the reason that the host names, or answers as on the host, and
//! the board goes on serving. Three kinds of kernels, which read and write memory without looking, meet them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use releq::device::firmware;
use releq::device::link::Patience;
use releq::device::qemu::Qemu;
use releq::device::{DeviceError, Link, board, toolchain};
use releq::progress::Progress;
use releq_firmware::engine::required_arena_on;
use releq_firmware::random::Random;
use releq_firmware::testing::{self, hostile};
use releq_shared::blob::{Blob, BlobError};
use releq_shared::wire;

/// Longer ones are sound, and would only take time.
const MACS_MAX: u64 = 1_000_000;

#[test]
fn a_cortex_m4_meets_a_thousand_hostile_blobs() {
    meet("qemu-mps2-an386", 1000);
}

#[test]
fn a_cortex_m3_meets_hostile_blobs() {
    meet("qemu-mps2-an385", 400);
}

#[test]
fn a_cortex_m55_meets_hostile_blobs() {
    meet("qemu-mps3-an547", 400);
}

/// Whether both refuse for one reason. Sizes near the end of 32 bits saturate there on a board, and beyond it on the host.
fn is_same(board: BlobError, host: BlobError) -> bool {
    let beyond_any_board = |error| matches!(error, BlobError::ArenaTooSmall { needed, .. } if needed > u32::MAX / 2);
    board == host || beyond_any_board(board) && beyond_any_board(host)
}

fn meet(name: &str, count: u64) {
    let board = board::by_name(name).unwrap();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Qemu::start(&qemu, &board, &image.elf, None).unwrap();
    let log = Rc::new(RefCell::new(Vec::new()));
    let heard = log.clone();
    let mut link = Link::new(emulator, Patience::default())
        .with_logs(&image.bytes, move |line| heard.borrow_mut().push(line.to_owned()));
    link.hello().unwrap();
    let (mut refused, mut ran) = (0, 0);
    for seed in 0..count {
        let sound = testing::random_network(seed % 50, testing::Limits::default());
        let hostile = hostile::mutate(&sound, seed);
        let expected = Blob::new_checked(&hostile).and_then(|blob| {
            let (needed, available) = (required_arena_on(&blob, board.class()), board.arena_bytes);
            let too_small = || BlobError::ArenaTooSmall {
                needed: u32::try_from(needed).unwrap_or(u32::MAX),
                available: available as u32,
            };
            if needed as u64 > available { Err(too_small()) } else { Ok(blob) }
        });
        match (expected, link.load(&hostile, &mut |_| ControlFlow::Continue(()))) {
            (Err(expected), Err(DeviceError::Refused(wire::DeviceError::Blob(found)))) => {
                assert!(is_same(found, expected), "{name}, seed {seed}: host {expected:?}, board {found:?}");
                refused += 1;
            }
            (Ok(blob), Ok(loaded)) => {
                if blob.ops().map(|op| op.macs()).sum::<u64>() > MACS_MAX {
                    continue;
                }
                let mut input = vec![0; loaded.input as usize];
                Random::new(seed).fill(&mut input, u8::MAX);
                let (logits, _) = link.infer(&input).unwrap();
                assert_eq!(logits, testing::run(&blob, &input), "{name}, seed {seed}");
                ran += 1;
            }
            (expected, found) => panic!("{name}, seed {seed}: host {:?}, board {found:?}", expected.map(|_| ())),
        }
    }
    println!("{name}: {refused} refused, {ran} ran");
    assert!(refused > count / 2 && ran > count / 10, "{refused} refused, {ran} ran");
    let log = log.borrow();
    let starts = log.iter().filter(|line| line.contains(" is up, ")).count();
    assert_eq!(starts, 1, "the board has started again in between: {log:?}");
}
