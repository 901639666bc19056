//! The engine against the oracle, and against blobs that were made to break it.

extern crate std;

use alloc::vec;
use alloc::vec::Vec;

use releq_shared::blob::{AlignedCopy, Blob, BlobError, Op};

use super::{Engine, Observer, required_arena};
use crate::testing::{Limits, Random, oracle, random_network, run};

/// An input of a network, extremes included.
fn random_input(blob: &Blob<'_>, random: &mut Random) -> Vec<u8> {
    let mut input = vec![0; blob.header().input.elements() as usize];
    random.fill(&mut input, u8::MAX);
    input
}

#[test]
fn the_engine_computes_what_the_format_says() {
    for seed in 0..4000 {
        let bytes = AlignedCopy::new(&random_network(seed, Limits::default()));
        let blob = Blob::new_checked(&bytes).unwrap();
        let mut random = Random::new(!seed);
        for _ in 0..3 {
            let input = random_input(&blob, &mut random);
            assert_eq!(
                run(&blob, &input),
                oracle::run(&blob, &input),
                "seed {seed}: {:#?}",
                blob.ops().collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn wide_layers_are_computed_as_narrow_ones_are() {
    let limits = Limits { ops: 2, side: 6, channels: 70, kernel: 3 };
    for seed in 0..300 {
        let bytes = AlignedCopy::new(&random_network(seed, limits));
        let blob = Blob::new_checked(&bytes).unwrap();
        let input = random_input(&blob, &mut Random::new(!seed));
        assert_eq!(
            run(&blob, &input),
            oracle::run(&blob, &input),
            "seed {seed}: {:#?}",
            blob.ops().collect::<Vec<_>>()
        );
    }
}

/// Steps that an engine would take, so that a test can leave out networks that are valid but endless.
fn work(op: &Op<'_>) -> u64 {
    match op {
        Op::Conv2d(conv) => {
            let window = conv.pool.map_or(1, |pool| u64::from(pool.size[0]) * u64::from(pool.size[1]));
            conv.output.elements() * window * u64::from(conv.columns())
        }
        Op::Dense(dense) => dense.input.elements() * dense.output.elements(),
        Op::Pool(pool) => pool.output.elements() * u64::from(pool.size[0]) * u64::from(pool.size[1]),
        Op::Add(add) => add.output.elements(),
    }
}

#[test]
fn no_accepted_blob_makes_the_engine_panic() {
    let mut random = Random::new(7);
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..400 {
        let bytes = random_network(seed, Limits { ops: 3, side: 6, channels: 5, kernel: 3 });
        for _ in 0..100 {
            let mut mutated = AlignedCopy::new(&bytes);
            for _ in 0..random.within(1..=3) {
                // Most mutations go to the header, where the shapes are.
                let last = if random.one_in(3) { mutated.len() - 1 } else { 200.min(mutated.len() - 1) };
                let at = random.within(16..=last as u32) as usize;
                mutated[at] = match random.within(0..=3) {
                    0 => random.byte(),
                    1 => mutated[at] ^ 1 << random.within(0..=7),
                    2 => mutated[at].wrapping_add(1),
                    _ => mutated[at].wrapping_sub(1),
                };
            }
            mutated.seal();
            match Blob::new_checked(&mutated) {
                Err(_) => refused += 1,
                Ok(blob) if required_arena(&blob) > 1 << 20 || blob.ops().any(|op| work(&op) > 1 << 20) => {}
                Ok(blob) => {
                    let input = random_input(&blob, &mut random);
                    assert_eq!(run(&blob, &input), oracle::run(&blob, &input));
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 4000 && refused > 4000, "{accepted} accepted, {refused} refused: the test does not bite");
}

#[test]
fn an_arena_that_is_too_small_or_askew_is_refused() {
    let bytes = AlignedCopy::new(&random_network(1, Limits::default()));
    let blob = Blob::new_checked(&bytes).unwrap();
    let needed = required_arena(&blob);
    let mut words = vec![0u128; needed / 16 + 2];
    let arena: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let expected = BlobError::ArenaTooSmall { needed: needed as u32, available: needed as u32 - 1 };
    assert_eq!(Engine::new(blob, &mut arena[..needed - 1]).err(), Some(expected));
    assert_eq!(Engine::new(blob, &mut arena[4..]).err(), Some(BlobError::ArenaMisaligned { remainder: 4 }));
    assert!(Engine::new(blob, &mut arena[..needed]).is_ok());
}

#[test]
fn an_observer_sees_each_operation_begin_and_end_in_order() {
    #[derive(Default)]
    struct Calls(Vec<(usize, bool)>);
    impl Observer for Calls {
        fn before_op(&mut self, index: usize) {
            self.0.push((index, false));
        }
        fn after_op(&mut self, index: usize) {
            self.0.push((index, true));
        }
    }
    let bytes = AlignedCopy::new(&random_network(3, Limits::default()));
    let blob = Blob::new_checked(&bytes).unwrap();
    let mut words = vec![0u128; required_arena(&blob).div_ceil(16)];
    let mut calls = Calls::default();
    Engine::new(blob, bytemuck::cast_slice_mut(&mut words)).unwrap().run(&mut calls);
    let expected: Vec<_> = (0..blob.ops().count()).flat_map(|index| [(index, false), (index, true)]).collect();
    assert_eq!(calls.0, expected);
}

#[test]
fn a_dropped_engine_leaves_slot_and_arena_to_the_next_model() {
    let mut slot = AlignedCopy::new(&vec![0; 1 << 16]);
    let mut words = vec![0u128; 1 << 12];
    let arena: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    for seed in 0..5 {
        let bytes = random_network(seed, Limits::default());
        slot[..bytes.len()].copy_from_slice(&bytes);
        let blob = Blob::new_checked(&slot[..bytes.len()]).unwrap();
        let input = random_input(&blob, &mut Random::new(seed));
        let mut engine = Engine::new(blob, &mut *arena).unwrap();
        engine.input_mut().copy_from_slice(&input);
        engine.run(&mut ());
        assert_eq!(engine.output(), oracle::run(&blob, &input));
    }
}
