//! Real boards' images on chips that QEMU emulates: flashed through a probe, which is QEMU's gdb server, and reached over RTT.
#![allow(clippy::unwrap_used, missing_docs)]

mod gdb;

use std::cell::RefCell;
use std::rc::Rc;

use gdb::GdbProbe;
use releq::device::link::Patience;
use releq::device::probe::program::{Outcome, piece_of_model, pieces_of, program};
use releq::device::probe::{Rtt, cores};
use releq::device::{Board, DeviceError, Link, board, firmware, toolchain};
use releq::progress::Progress;
use releq_firmware::engine::required_arena_on;
use releq_firmware::random::Random;
use releq_firmware::testing;
use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::wire::{self, Counter};

/// A board of `boards/` or of `tests/data/boards/`, and the machine in which QEMU emulates its chip.
const BOARDS: [(&str, &str); 3] = [
    ("tests/data/boards/nrf51822", "microbit"),
    ("tests/data/boards/stm32f100", "stm32vldiscovery"),
    ("boards/stm32f4-discovery", "netduinoplus2"),
];

fn input(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes, u8::MAX);
    bytes
}

/// A random network that a board has room for.
fn model_for(board: &Board) -> AlignedCopy {
    let models = (0..100).map(|seed| AlignedCopy::new(&testing::random_network(seed, testing::Limits::default())));
    let fits = |model: &AlignedCopy| {
        let blob = Blob::new_checked(model).unwrap();
        required_arena_on(&blob, board.class()) as u64 <= board.arena_bytes && model.len() as u64 <= board.stored.bytes
    };
    models.into_iter().find(fits).unwrap()
}

fn flash_and_run(folder: &str, machine: &str) {
    let board = board::read(&board::source_root().unwrap().join(folder)).unwrap_or_else(|error| panic!("{error}"));
    let name = board.name.as_str();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let mut probe = GdbProbe::start(&qemu, machine);
    cores::check(&mut probe, &board).unwrap_or_else(|error| panic!("{name}: {error}"));
    let pieces = pieces_of(&image.bytes).unwrap();
    assert_eq!(program(&mut probe, &pieces).unwrap(), Outcome::Written);
    assert_eq!(program(&mut probe, &pieces).unwrap(), Outcome::AlreadyThere);

    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let rtt = Rtt::start(probe, &image.bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut link = Link::new(rtt, Patience::default())
        .with_logs(&image.bytes, move |line| heard.borrow_mut().push(line.to_owned()));
    let hello = link.hello().unwrap();
    assert_eq!((hello.board.as_str(), hello.counter), (name, Counter::Cycles));
    assert!(lines.borrow().iter().any(|line| line.contains("is up")), "{:?}", lines.borrow());
    let error = link.use_stored().unwrap_err();
    assert!(matches!(error, DeviceError::Refused(wire::DeviceError::Stored(_))), "{error}");

    let model = model_for(&board);
    let blob = Blob::new_checked(&model).unwrap();
    let mut probe = link.into_transport().into_probe();
    program(&mut probe, &[piece_of_model(&board, &model)]).unwrap();
    let mut link = Link::new(Rtt::start(probe, &image.bytes).unwrap(), Patience::default());
    let loaded = link.use_stored().unwrap();
    for seed in 0..3 {
        let data = input(loaded.input as usize, seed);
        let (logits, _) = link.infer(&data).unwrap();
        assert_eq!(logits, testing::run(&blob, &data), "{name}, input {seed}");
    }
    let memory = link.memory().unwrap();
    println!("{name}: {memory:?}");
    assert!(memory.stack_used < memory.stack_total, "{name}: the stack is full: {memory:?}");
    // The board starts again and opens its channel anew.
    link.reset().unwrap();
    link.hello().unwrap();
    assert!(link.infer(&input(loaded.input as usize, 1)).unwrap_err().to_string().contains("no valid model"));
    assert_eq!(link.use_stored().unwrap(), loaded);
}

/// Images of one target share a place: one test builds them all.
#[test]
fn a_real_board_is_flashed_through_its_probe_and_runs_a_model() {
    for (folder, machine) in BOARDS {
        flash_and_run(folder, machine);
    }
}
