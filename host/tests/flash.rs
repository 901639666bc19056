//! Flashing a chip in this process, with the power cut at every moment: what is left is an old model, a new one, or none,
//! and the board can always be flashed again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use releq::device::fault::Loopback;
use releq::device::link::{Link, Patience};
use releq::device::probe::ProbeError;
use releq::device::probe::memory::MemoryChip;
use releq::device::probe::program::{Outcome, piece_of_model, program};
use releq::device::{Board, DeviceError, board};
use releq_firmware::random::Random;
use releq_firmware::server::ServerMemory;
use releq_firmware::testing;
use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::wire;

const PATIENCE: Patience = Patience { timeout: Duration::from_millis(1), attempts: 3 };

fn network(seed: u64) -> Vec<u8> {
    testing::random_network(seed, testing::Limits::default())
}

/// A chip with the flash of that board, in small sectors so that a model takes several.
fn chip(board: &Board) -> MemoryChip {
    MemoryChip::new(board.stored.address - 0x1000..board.stored.address + 0x1_0000, 1024)
}

/// What a board with that flash says: the answer to some input, or why it has no model.
fn answer(chip: &MemoryChip, board: &Board) -> Result<Vec<i32>, DeviceError> {
    let stored = AlignedCopy::new(chip.flash_from(board.stored.address));
    let mut arena = AlignedCopy::new(&vec![0; 1 << 16]);
    let memory = ServerMemory { slot: &mut [], stored: &stored, arena: &mut arena };
    let mut link = Link::new(Loopback::with_memory(memory), PATIENCE);
    let loaded = link.use_stored()?;
    Ok(link.infer(&input(loaded.input as usize))?.0)
}

fn input(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(1).fill(&mut bytes, u8::MAX);
    bytes
}

fn expected(model: &[u8]) -> Vec<i32> {
    let model = AlignedCopy::new(model);
    let blob = Blob::new_checked(&model).unwrap();
    testing::run(&blob, &input(blob.header().input.bytes() as usize))
}

#[test]
fn a_power_cut_leaves_no_model_or_a_whole_one_and_the_board_can_be_flashed_again() {
    let board = board::by_name("nucleo-f446re").unwrap();
    // Models of several sectors.
    let mut models = (0..200).map(network).filter(|model| model.len() > 3000);
    let (old, new) = (models.next().unwrap(), models.next().unwrap());
    let mut before = chip(&board);
    program(&mut before, &[piece_of_model(&board, &old)]).unwrap();
    assert_eq!(answer(&before, &board).unwrap(), expected(&old));
    let mut whole = before.clone();
    assert_eq!(program(&mut whole, &[piece_of_model(&board, &new)]).unwrap(), Outcome::Written);
    let steps = whole.steps - before.steps;
    assert!(steps > 5, "{steps} steps are too few to cut anything in the middle");
    let mut without_model = 0;
    for cut in 0..steps {
        let mut chip = before.clone();
        chip.cut_after(Some(cut));
        let error = program(&mut chip, &[piece_of_model(&board, &new)]).unwrap_err();
        assert!(error.to_string().contains("lost its power"), "{error}");
        match answer(&chip, &board) {
            Ok(logits) => assert!(cut == 0 && logits == expected(&old), "a model after {cut} of {steps} steps"),
            Err(DeviceError::Refused(error @ wire::DeviceError::Stored(_))) => {
                assert!(error.to_string().contains("no valid model"), "{error}");
                without_model += 1;
            }
            Err(error) => panic!("after {cut} of {steps} steps: {error}"),
        }
        chip.cut_after(None);
        program(&mut chip, &[piece_of_model(&board, &new)]).unwrap();
        assert_eq!(answer(&chip, &board).unwrap(), expected(&new));
    }
    assert_eq!(without_model, steps - 1);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let board = board::by_name("nrf52840-dk").unwrap();
    let (mut chip, model) = (chip(&board), network(3));
    assert_eq!(program(&mut chip, &[piece_of_model(&board, &model)]).unwrap(), Outcome::Written);
    let steps = chip.steps;
    assert_eq!(program(&mut chip, &[piece_of_model(&board, &model)]).unwrap(), Outcome::AlreadyThere);
    assert_eq!(chip.steps, steps);
}

#[test]
fn flash_that_does_not_keep_what_is_written_is_noticed() {
    let board = board::by_name("nrf52840-dk").unwrap();
    let (mut chip, model) = (chip(&board), network(3));
    let place = model.iter().rposition(|&byte| byte != 0).unwrap();
    let stuck = board.stored.address + place as u64;
    chip.stuck = Some(stuck);
    let error = program(&mut chip, &[piece_of_model(&board, &model)]).unwrap_err();
    assert!(matches!(error, ProbeError::Verify { address, found: 0, .. } if address == stuck), "{error}");
    assert!(error.to_string().contains("flash again"), "{error}");
}
