//! On virtual boards: every answer equals the host's, bit for bit, and nothing that is sent brings a board down.
//!
//! These tests install what they lack (a Cortex-M target, QEMU), or fail and say which command to run; none is skipped.
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Mutex;

use releq::device::firmware::{self, Firmware};
use releq::device::link::Patience;
use releq::device::qemu::Qemu;
use releq::device::{Board, DeviceError, Link, Placement, board, toolchain};
use releq::progress::Progress;
use releq_firmware::engine::required_arena_on;
use releq_firmware::random::Random;
use releq_firmware::testing;
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob, BlobError};
use releq_shared::wire::{self, LoadedReply};

/// The images built so far: boards of one target would build theirs in turns otherwise.
static IMAGES: Mutex<BTreeMap<String, Firmware>> = Mutex::new(BTreeMap::new());

/// Runs the whole suite on each board.
macro_rules! suite {
    ($($module:ident: $board:literal),* $(,)?) => {
        const BOARDS: &[&str] = &[$($board),*];

        $(mod $module {
            #[test]
            fn agrees_with_the_host() {
                super::agrees_with_the_host($board);
            }

            #[test]
            fn refuses_unsound_models_and_lives_on() {
                super::refuses_unsound_models_and_lives_on($board);
            }

            #[test]
            fn runs_the_model_in_its_flash_and_says_if_there_is_none() {
                super::runs_the_model_in_its_flash_and_says_if_there_is_none($board);
            }

            #[test]
            fn can_be_started_again() {
                super::can_be_started_again($board);
            }

            #[test]
            fn repeats_its_counts_exactly_and_reports_memory() {
                super::repeats_its_counts_exactly_and_reports_memory($board);
            }

            #[test]
            fn sends_its_log() {
                super::sends_its_log($board);
            }
        })*
    };
}

suite! {
    cortex_m0: "qemu-microbit",
    cortex_m3: "qemu-mps2-an385",
    cortex_m4: "qemu-mps2-an386",
    cortex_m7: "qemu-mps2-an500",
    cortex_m33: "qemu-mps2-an505",
    cortex_m55: "qemu-mps3-an547",
}

#[test]
fn every_virtual_board_is_tested() {
    let emulated = board::all().unwrap().into_iter().filter(|board| board.emulated().is_ok());
    let names: Vec<String> = emulated.map(|board| board.name).collect();
    let untested: Vec<&String> = names.iter().filter(|name| !BOARDS.contains(&name.as_str())).collect();
    assert!(untested.is_empty(), "add {untested:?} to the list in this file");
}

/// A booted board.
struct Booted {
    board: Board,
    link: Link<Qemu>,
}

fn start(board: &Board, stored: Option<&[u8]>, on_log: impl FnMut(&str) + 'static) -> Link<Qemu> {
    let mut images = IMAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !images.contains_key(&board.name) {
        let image = firmware::build(board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
        images.insert(board.name.clone(), image);
    }
    let image = &images[&board.name];
    let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Qemu::start(&qemu, board, &image.elf, stored).unwrap();
    Link::new(emulator, Patience::default()).with_logs(&image.bytes, on_log)
}

impl Booted {
    fn new(name: &str) -> Self {
        let board = board::by_name(name).unwrap();
        let mut booted = Self { link: start(&board, None, |line| println!("board: {line}")), board };
        assert_eq!(booted.link.hello().unwrap().board, name);
        booted
    }

    /// Loads a model over the link, or, where RAM has no room for it, boots the board again with the model in its flash.
    fn load(&mut self, model: &[u8]) -> Result<LoadedReply, DeviceError> {
        if model.len() as u64 <= self.board.model_bytes {
            self.link.load(model, &mut |_| ControlFlow::Continue(()))
        } else {
            self.flash(model)
        }
    }

    fn flash(&mut self, model: &[u8]) -> Result<LoadedReply, DeviceError> {
        self.link = start(&self.board, Some(model), |line| println!("board: {line}"));
        self.link.hello()?;
        self.link.use_stored()
    }

    /// Runs a loaded model on some inputs and compares with the host.
    fn assert_agrees(&mut self, model: &[u8], loaded: LoadedReply, inputs: u64, what: &str) {
        let model = AlignedCopy::new(model);
        let blob = Blob::new_checked(&model).unwrap();
        let name = &self.board.name;
        for seed in 0..inputs {
            let data = input(loaded.input as usize, seed);
            let (logits, ticks) = self.link.infer(&data).unwrap();
            assert_eq!(logits, testing::run(&blob, &data), "{name}, {what}, input {seed}");
            assert!(ticks > 0, "{name}, {what}: the counter stands still");
        }
    }

    fn lenet(&self, bits: [u8; 4]) -> Vec<u8> {
        testing::lenet(bits.map(|bits| Bitwidth::new(bits).unwrap()), self.board.class(), 1)
    }
}

fn input(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes, u8::MAX);
    bytes
}

/// LeNet in each bitwidth and layout of the board's core, and networks of all kinds.
fn agrees_with_the_host(name: &str) {
    let mut booted = Booted::new(name);
    for bits in [[1, 1, 1, 1], [2, 3, 2, 4], [5, 8, 5, 8]] {
        let model = AlignedCopy::new(&booted.lenet(bits));
        match Placement::choose(&booted.board, &Blob::new_checked(&model).unwrap()) {
            Ok(_) => {
                let loaded = booted.load(&model).unwrap();
                booted.assert_agrees(&model, loaded, 2, &format!("lenet at {bits:?}"));
            }
            // Nothing but the largest on the smallest board may be too large.
            Err(error) => assert!(name == "qemu-microbit" && bits[0] == 5, "{error}"),
        }
    }
    let small = testing::Limits::default();
    // Windows of several hundred weights, of channels that do not come in fours.
    let wide = testing::Limits { ops: 2, side: 12, channels: 40, ..small };
    let mut ran = 0;
    for (seed, limits) in (0..40).map(|seed| (seed, small)).chain((40..60).map(|seed| (seed, wide))) {
        let model = AlignedCopy::new(&testing::random_network(seed, limits));
        let blob = Blob::new_checked(&model).unwrap();
        let needed = required_arena_on(&blob, booted.board.class());
        let available = booted.board.arena_bytes as u32;
        let loaded = booted.load(&model);
        if needed as u32 > available {
            let too_small = BlobError::ArenaTooSmall { needed: needed as u32, available };
            assert_eq!(refusal(loaded), too_small, "{name}, random network {seed}");
        } else {
            booted.assert_agrees(&model, loaded.unwrap(), 2, &format!("random network {seed}"));
            ran += 1;
        }
    }
    // The smallest board has no room for the wide ones.
    assert!(ran >= if name == "qemu-microbit" { 35 } else { 55 }, "{name} had room for {ran} of 60 networks");
}

/// Why a board does not accept a model.
fn refusal(loaded: Result<LoadedReply, DeviceError>) -> BlobError {
    match loaded {
        Err(DeviceError::Refused(wire::DeviceError::Blob(error) | wire::DeviceError::Stored(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn refuses_unsound_models_and_lives_on(name: &str) {
    let mut booted = Booted::new(name);
    let sound = booted.lenet([1; 4]);
    match refusal(booted.load(&sound[..sound.len() - 16])) {
        BlobError::LengthMismatch { .. } if booted.board.model_bytes > 0 => {}
        // In flash there is no telling where a file ended: what follows belongs to the blob.
        BlobError::BadChecksum { .. } if booted.board.model_bytes == 0 => {}
        error => panic!("{error:?}"),
    }
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 0x10;
    assert!(matches!(refusal(booted.load(&flipped)), BlobError::BadChecksum { .. }));
    let mut version = sound.clone();
    version[4] = 77;
    assert_eq!(refusal(booted.load(&version)), BlobError::UnsupportedVersion { found: 77 });
    // Hostile: changed and sealed again, so that only the checks stand in the way.
    let mut random = Random::new(9);
    for seed in 0..30 {
        let mut hostile = AlignedCopy::new(&testing::random_network(seed, testing::Limits::default()));
        let place = 20 + random.within(0..=(hostile.len() - 21) as u32) as usize;
        hostile[place] ^= 1 << random.within(0..=7);
        hostile.seal();
        match booted.load(&hostile) {
            Ok(loaded) => drop(booted.link.infer(&input(loaded.input as usize, seed)).unwrap()),
            Err(DeviceError::Refused(_)) => {}
            Err(error) => panic!("{name}, hostile {seed}: {error}"),
        }
    }
    let error = booted.link.load(&vec![0; 2 << 20], &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, DeviceError::Refused(wire::DeviceError::ModelTooLarge { .. })), "{error}");
    let loaded = booted.load(&sound).unwrap();
    booted.assert_agrees(&sound, loaded, 1, "after all that");
}

fn runs_the_model_in_its_flash_and_says_if_there_is_none(name: &str) {
    let mut booted = Booted::new(name);
    let error = booted.link.use_stored().unwrap_err();
    assert!(matches!(error, DeviceError::Refused(wire::DeviceError::Stored(BlobError::BadMagic { .. }))), "{error}");
    assert!(error.to_string().contains("no valid model"), "{error}");
    let error = booted.link.infer(&[0; 784]).unwrap_err();
    assert!(error.to_string().contains("no valid model"), "{error}");
    let model = booted.lenet([1; 4]);
    let mut damaged = model.clone();
    damaged[model.len() / 3] ^= 2;
    let error = booted.flash(&damaged).unwrap_err().to_string();
    assert!(error.contains("no valid model") && error.contains("damaged"), "{error}");
    let mut endless = model.clone();
    endless[8..12].fill(0xFF);
    assert!(matches!(refusal(booted.flash(&endless)), BlobError::LengthMismatch { .. }));
    let loaded = booted.flash(&model).unwrap();
    booted.assert_agrees(&model, loaded, 2, "from flash");
}

fn can_be_started_again(name: &str) {
    let mut booted = Booted::new(name);
    let model = booted.lenet([1; 4]);
    booted.load(&model).unwrap();
    booted.link.reset().unwrap();
    booted.link.hello().unwrap();
    let error = booted.link.infer(&[0; 784]).unwrap_err();
    assert!(error.to_string().contains("no valid model"), "{error}");
    // What is in flash is still there.
    let loaded = if booted.board.model_bytes > 0 { booted.load(&model) } else { booted.link.use_stored() };
    booted.assert_agrees(&model, loaded.unwrap(), 1, "after a reset");
}

fn repeats_its_counts_exactly_and_reports_memory(name: &str) {
    let mut booted = Booted::new(name);
    let model = booted.lenet([1; 4]);
    let loaded = booted.load(&model).unwrap();
    let data = input(784, 1);
    let (_, first) = booted.link.infer(&data).unwrap();
    let profile = booted.link.profile().unwrap();
    let (_, second) = booted.link.infer(&data).unwrap();
    assert!(first.abs_diff(second) <= 2, "{name}: {first} and {second}: more than the reading of the counter");
    assert_eq!(profile.len(), 4);
    assert!(profile.iter().sum::<u64>() <= first);
    let memory = booted.link.memory().unwrap();
    println!("{name}: {first} ticks, {memory:?}");
    assert_eq!(memory.arena_used, loaded.arena);
    assert_eq!(u64::from(memory.arena_total), booted.board.arena_bytes);
    assert!(memory.stack_used > 500 && memory.stack_used < memory.stack_total, "{name}: {memory:?}");
    assert!(memory.flash_used > 10_000 && memory.flash_used < 130_000, "{name}: {memory:?}");
}

fn sends_its_log(name: &str) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let board = board::by_name(name).unwrap();
    let mut link = start(&board, None, move |line| heard.borrow_mut().push(line.to_owned()));
    link.hello().unwrap();
    let lines = lines.borrow();
    let expected = format!("{name} is up, {} Hz", board.clock_hz);
    assert!(lines.iter().any(|line| line.contains(&expected)), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("main.rs:")), "file and line: {lines:?}");
}
