//! The link to a board in this process: loading, inference, faults, and boards that do not answer.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::ControlFlow;
use std::time::Duration;

use releq::device::DeviceError;
use releq::device::fault::{Fault, FaultyTransport, Loopback};
use releq::device::link::{Link, Patience, Transport};
use releq_firmware::random::Random;
use releq_firmware::server::ServerMemory;
use releq_firmware::testing;
use releq_shared::blob::{AlignedCopy, Blob, BlobError};
use releq_shared::wire;

const IMPATIENT: Patience = Patience { timeout: Duration::from_millis(1), attempts: 30 };

/// Memory that starts at a multiple of 16, for the slot and for the arena.
fn memory(bytes: usize) -> AlignedCopy {
    AlignedCopy::new(&vec![0; bytes])
}

fn small_network(seed: u64) -> Vec<u8> {
    testing::random_network(seed, testing::Limits::default())
}

fn input(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes, u8::MAX);
    bytes
}

#[test]
fn a_board_answers_as_the_engine_does() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    assert_eq!(link.hello().unwrap().board, "loopback");
    for seed in 0..20 {
        let model = AlignedCopy::new(&small_network(seed));
        let blob = Blob::new_checked(&model).unwrap();
        let loaded = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(u64::from(loaded.input), blob.header().input.bytes());
        let data = input(loaded.input as usize, seed);
        let (logits, _) = link.infer(&data).unwrap();
        assert_eq!(logits, testing::run(&blob, &data), "network {seed}");
        assert_eq!(link.profile().unwrap().len(), usize::from(loaded.ops));
        assert_eq!(link.memory().unwrap().arena_used, loaded.arena);
    }
}

/// Every exchange under 1% faults a piece, of all kinds and in both directions: right, or an error; never a wrong answer.
#[test]
fn faults_on_the_link_never_make_an_answer_wrong() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let model = AlignedCopy::new(&small_network(3));
    let blob = Blob::new_checked(&model).unwrap();
    let mut line = FaultyTransport::new(Loopback::new(&mut slot, &mut arena), 0.01, 5);
    let mut link = Link::new(&mut line, IMPATIENT);
    link.hello().unwrap();
    let loaded = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
    for seed in 0..10_000 {
        let data = input(loaded.input as usize, seed);
        let (logits, _) = link.infer(&data).unwrap();
        assert_eq!(logits, testing::run(&blob, &data), "exchange {seed}");
    }
    let statistics = link.statistics;
    drop(link);
    println!("{statistics:?}, faults {:?} of {:?}", line.faults, Fault::ALL);
    assert!(statistics.repeats > 50 && statistics.damaged > 10 && statistics.stale > 10, "{statistics:?}");
    assert!(line.faults.iter().all(|&count| count > 15), "were there faults of all kinds? {:?}", line.faults);
}

/// A line so bad that some requests are never answered: those are errors, all others are right.
#[test]
fn a_line_of_faults_gives_right_answers_or_errors() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let model = AlignedCopy::new(&small_network(3));
    let blob = Blob::new_checked(&model).unwrap();
    let mut board = Loopback::new(&mut slot, &mut arena);
    let loaded = Link::new(&mut board, IMPATIENT).load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
    let patience = Patience { timeout: Duration::from_micros(200), attempts: 2 };
    let mut link = Link::new(FaultyTransport::new(&mut board, 0.3, 7), patience);
    // A new host says hello first, until it is heard.
    let heard = (0..100).any(|_| link.hello().is_ok());
    assert!(heard);
    let (mut right, mut unanswered) = (0, 0);
    for seed in 0..2000 {
        let data = input(loaded.input as usize, seed);
        match link.infer(&data) {
            Ok((logits, _)) => {
                assert_eq!(logits, testing::run(&blob, &data), "exchange {seed}");
                right += 1;
            }
            Err(DeviceError::NoAnswer { .. }) => unanswered += 1,
            Err(error) => panic!("exchange {seed}: {error}"),
        }
    }
    assert!(right > 200 && unanswered > 200, "{right} right, {unanswered} unanswered");
}

#[test]
fn a_host_that_comes_back_finds_the_board_whatever_the_last_one_left_behind() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let model = AlignedCopy::new(&small_network(3));
    let blob = Blob::new_checked(&model).unwrap();
    let mut board = Loopback::new(&mut slot, &mut arena);
    for round in 0..50 {
        // The last host died in the middle of a frame, with an answer still on the line.
        let mut link = Link::new(&mut board, IMPATIENT);
        link.hello().unwrap();
        let loaded = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
        let data = input(loaded.input as usize, round);
        assert_eq!(link.infer(&data).unwrap().0, testing::run(&blob, &data));
        drop(link);
        board.send(&[&[0, 9, 1], &data[..data.len().min(round as usize)]].concat()).unwrap();
    }
}

#[test]
fn a_board_that_started_again_is_reported_as_such() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut board = Loopback::new(&mut slot, &mut arena);
    let mut link = Link::new(&mut board, IMPATIENT);
    let loaded = link.load(&small_network(1), &mut |_| ControlFlow::Continue(())).unwrap();
    let data = input(loaded.input as usize, 1);
    link.infer(&data).unwrap();
    link.transport_mut().start_again();
    let error = link.infer(&data).unwrap_err();
    assert!(matches!(error, DeviceError::Restarted { .. }), "{error}");
    assert!(error.to_string().contains("started again in the middle"), "{error}");
    // Said once; then it is a board without a model.
    assert!(matches!(link.infer(&data), Err(DeviceError::Refused(wire::DeviceError::NoModel))));
}

#[test]
fn an_image_that_is_not_built_to_fail_refuses_to() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    let error = link.provoke(wire::Provocation::Panic).unwrap_err();
    assert!(matches!(error, DeviceError::Refused(wire::DeviceError::NotInThisImage)), "{error}");
}

/// Loading over a slow line can be stopped, which leaves the board without a model and ready for one.
#[test]
fn loading_tells_what_has_arrived_and_can_be_stopped() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    let model = (0..).map(small_network).find(|model| model.len() > 2000).unwrap();
    let mut arrived = Vec::new();
    let stopped = link.load(&model, &mut |bytes| {
        arrived.push(bytes);
        if bytes < model.len() / 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(stopped, Err(DeviceError::Stopped)), "{stopped:?}");
    assert!(arrived.len() > 1 && arrived.is_sorted() && arrived[arrived.len() - 1] < model.len(), "{arrived:?}");
    assert!(link.infer(&[0]).is_err(), "half a model runs nothing");
    link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn unsound_models_are_refused_with_the_reason_and_sound_ones_still_load() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    link.hello().unwrap();
    let model = small_network(1);
    let mut refused = |model: &[u8]| match link.load(model, &mut |_| ControlFlow::Continue(())) {
        Err(DeviceError::Refused(wire::DeviceError::Blob(error))) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&model[..model.len() - 4]), BlobError::LengthMismatch { .. }));
    let mut flipped = model.clone();
    flipped[model.len() / 2] ^= 1;
    assert!(matches!(refused(&flipped), BlobError::BadChecksum { .. }));
    let mut other_version = model.clone();
    other_version[4] = 9;
    assert_eq!(refused(&other_version), BlobError::UnsupportedVersion { found: 9 });
    let error = link.infer(&[0; 4]).unwrap_err();
    assert!(error.to_string().contains("no valid model"), "{error}");
    link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn a_model_in_flash_is_used_where_it_lies() {
    let mut arena = memory(1 << 16);
    let model = AlignedCopy::new(&small_network(2));
    let blob = Blob::new_checked(&model).unwrap();
    // Behind the blob flash is erased.
    let stored = AlignedCopy::new(&[&model[..], &[0xFF; 100]].concat());
    let board = Loopback::with_memory(ServerMemory { slot: &mut [], stored: &stored, arena: &mut arena });
    let mut link = Link::new(board, IMPATIENT);
    assert!(link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string().contains("room for 0"));
    let loaded = link.use_stored().unwrap();
    let data = input(loaded.input as usize, 1);
    assert_eq!(link.infer(&data).unwrap().0, testing::run(&blob, &data));
}

#[test]
fn flash_without_a_sound_model_is_said_to_have_none() {
    let model = small_network(2);
    let mut damaged = model.clone();
    damaged[model.len() / 2] ^= 1;
    for stored in [&[][..], &[0; 64], &[0xFF; 64], &model[..model.len() - 4], &damaged] {
        let (stored, mut arena) = (AlignedCopy::new(stored), memory(1 << 16));
        let board = Loopback::with_memory(ServerMemory { slot: &mut [], stored: &stored, arena: &mut arena });
        let error = Link::new(board, IMPATIENT).use_stored().unwrap_err();
        assert!(matches!(error, DeviceError::Refused(wire::DeviceError::Stored(_))), "{error}");
        assert!(error.to_string().contains("no valid model"), "{error}");
    }
    let (stored, mut arena) = (AlignedCopy::new(&model), memory(16));
    let board = Loopback::with_memory(ServerMemory { slot: &mut [], stored: &stored, arena: &mut arena });
    let error = Link::new(board, IMPATIENT).use_stored().unwrap_err().to_string();
    assert!(error.contains("working memory, there are 16"), "{error}");
}

#[test]
fn models_that_do_not_fit_are_refused_with_both_numbers() {
    let model = small_network(1);
    let (mut slot, mut arena) = (memory(model.len() - 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    let error = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains(&format!("{} bytes", model.len())), "{error}");
    let (mut slot, mut arena) = (memory(1 << 16), memory(16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    let error = link.load(&model, &mut |_| ControlFlow::Continue(())).unwrap_err();
    let too_small =
        DeviceError::Refused(wire::DeviceError::Blob(BlobError::ArenaTooSmall { needed: 0, available: 16 }));
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&too_small));
    assert!(error.to_string().contains("working memory, there are 16"), "{error}");
}

#[test]
fn wrong_requests_are_answered_with_what_is_wrong() {
    let (mut slot, mut arena) = (memory(1 << 16), memory(1 << 16));
    let mut link = Link::new(Loopback::new(&mut slot, &mut arena), IMPATIENT);
    let loaded = link.load(&small_network(1), &mut |_| ControlFlow::Continue(())).unwrap();
    let error = link.profile().unwrap_err().to_string();
    assert!(error.contains("not run the model yet"), "{error}");
    let error = link.infer(&vec![0; loaded.input as usize + 1]).unwrap_err().to_string();
    assert!(error.contains(&format!("the model takes {}", loaded.input)), "{error}");
}

/// A line on which nobody answers.
struct Silent;

impl Transport for Silent {
    fn send(&mut self, _bytes: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        std::thread::sleep(timeout);
        Ok(Vec::new())
    }
}

#[test]
fn a_board_that_never_answers_is_reported_with_advice() {
    let patience = Patience { timeout: Duration::from_millis(5), attempts: 3 };
    let error = Link::new(Silent, patience).hello().unwrap_err();
    assert!(matches!(error, DeviceError::NoAnswer { attempts: 3, .. }));
    assert!(error.to_string().contains("is it running releq's firmware"), "{error}");
}

/// A line that answers with noise.
struct Babbling(Random);

impl Transport for Babbling {
    fn send(&mut self, _bytes: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn receive(&mut self, _timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        let mut bytes = vec![0; 300];
        self.0.fill(&mut bytes, u8::MAX);
        Ok(bytes)
    }
}

#[test]
fn noise_is_no_answer() {
    let patience = Patience { timeout: Duration::from_millis(20), attempts: 2 };
    let mut link = Link::new(Babbling(Random::new(1)), patience);
    assert!(matches!(link.hello(), Err(DeviceError::NoAnswer { .. })));
    assert!(link.statistics.damaged > 0);
}
